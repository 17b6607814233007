// Package rundiff compares what two runs have answered about an item. It reads nothing: callers bring items and outcomes, a page at a time.
package rundiff
