// Package eval measures how true a model's answers about labelled music are. Beside every figure stand a 95 % interval by bootstrap, what the
// best constant answer scores on the same clips, and what engine/mir scores by signal processing.
//
// A set (set.go) is asked about (ask.go, model.go), answers are read strictly (read.go) and scored by tasks (closed.go for answers out of a
// closed vocabulary, caption.go, choice.go, refusal.go). The same answers serve consistency.go, grounding.go and robust.go. html.go writes the page.
package eval
