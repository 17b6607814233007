// Package deployments holds the tests of the files in deployments/ at the repository's root: they name settings and metrics
// that the code must really have.
package deployments
