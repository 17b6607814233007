// Package survey looks at the items of a run before anything is spent on them: what their headers say, which of them cannot be read, and what earlier jobs
// have left of their windows and answers. It makes no job and does no work of a model.
package survey
