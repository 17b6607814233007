// Package check tells whether a pair of question and answer says only what is known of its clip.
//
// Every number, key, chord, time signature, instrument, genre and name of an answer must be in the facts or follow from them; what follows is listed
// beside each check. A pair that cannot be shown to be true is rejected: losing a true pair costs less than keeping a false one.
package check

import (
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// Kinds of faults.
const (
	Structure  = "structure"
	Length     = "length"
	Language   = "language"
	Phrase     = "phrase"
	Leak       = "leak"
	Number     = "number"
	Key        = "key"
	Chord      = "chord"
	Metre      = "metre"
	Instrument = "instrument"
	Genre      = "genre"
	Name       = "name"
	WrongClip  = "wrong clip"
	Duplicate  = "duplicate"
)

// Fault is why a pair is rejected; the zero value: it is not.
type Fault struct {
	Kind string `json:"kind"`
	// Detail names what is wrong.
	Detail string `json:"detail"`
}

// Found tells whether there is a fault.
func (f Fault) Found() bool { return f.Kind != "" }

// Pair checks a pair against what is known of its clip. Others are clips near it: a pair that is false of its own clip and true of one of them is
// about the wrong clip.
func Pair(known *Known, question, answer string, others []*Known) Fault {
	if f := form(question, answer); f.Found() {
		return f
	}
	f := known.truth(question, answer)
	if !f.Found() {
		return f
	}
	for _, o := range others {
		if o.facts.Clip != known.facts.Clip && o.specific(answer) && !o.truth(question, answer).Found() {
			return Fault{WrongClip, f.Kind + " " + f.Detail + " is true of " + o.facts.Clip}
		}
	}
	return f
}

// truth checks what a pair says.
func (k *Known) truth(question, answer string) Fault {
	for _, check := range []func(string) Fault{k.numbers, k.keys, k.metres, k.chords, k.instruments, k.genres, k.names} {
		if f := check(answer); f.Found() {
			return f
		}
	}
	return k.presumed(question)
}

// presumed checks what a question takes for granted. A question that asks whether something is so may name anything.
func (k *Known) presumed(question string) Fault {
	if whether.MatchString(question) {
		return Fault{}
	}
	for _, check := range []func(string) Fault{k.instruments, k.names} {
		if f := check(question); f.Found() {
			f.Detail += " in the question"
			return f
		}
	}
	return Fault{}
}

// specific tells whether an answer names anything that sets clips apart.
func (k *Known) specific(answer string) bool {
	return numberPattern.MatchString(answer) || keyPattern.MatchString(answer) || chordPattern.MatchString(answer)
}

// Of prepares the facts of a clip.
func Of(f facts.Facts) *Known { return newKnown(f) }
