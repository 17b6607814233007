// Package answers keeps answers, so that a question that was decoded once is not decoded again (docs/adr/0060).
package answers
