// Package dead shows the records that stages have given up, sends them back to the topics that they came from, and purges them. The letters
// stay on lark.dead.v1; what was done with each stands in the job store.
package dead
