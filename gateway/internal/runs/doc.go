// Package runs works through catalogues: it keeps a bounded number of each run's items in hand as bulk jobs, and settles each item when its job has
// ended. Everything that it knows is in the job store, so that any gateway can go on where another stopped.
package runs
