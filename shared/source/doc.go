// Package source reads audio where it lies: in folders and buckets that the operator has allowed. Nothing outside of them can be reached by
// ".." or by links, and nothing is written.
package source
