// Package schedule answers questions on a model that computes scores for sequences of positions: continuous batching across
// windows and questions, for every backend the same.
package schedule

// Backend computes a model's scores. Its methods are called from one goroutine at a time; after an error of Extend the
// sequences concerned are only freed.
type Backend interface {
	Shape() Shape
	// Open makes seq a new sequence of up to room positions, which follow the positions of the sequence prefix unless prefix is None.
	// The positions of prefix are shared, not copied: prefix must not grow any more, but may be freed before seq.
	Open(seq, prefix, room int) error
	// Extend reads rows as the next positions of their sequences, in the order given, and returns for each of them the
	// scores [Vocab] after its last position if it asks for them, else nil. The scores may be overwritten by the caller, and
	// are valid until the next call.
	Extend(rows []Rows) ([][]float32, error)
	// Free forgets a sequence. Freeing one that is not open does nothing.
	Free(seq int)
	// Used is the number of positions held; 0 when no sequence is open.
	Used() int
	Close() error
}

// None stands for no sequence.
const None = -1

// Shape is what a backend can hold.
type Shape struct {
	Hidden  int // width of a vector
	Vocab   int // number of scores
	Context int // positions of one sequence
	// Positions is how many positions are held at a time, where a shared prefix counts once; Sequences is how many sequences.
	Positions, Sequences int
	// Chunk is the most rows of one Rows. A prompt is read in pieces of this size, so that it does not stall others.
	Chunk int
}

// Rows are the next positions of a sequence: tokens, or vectors [n, Hidden] that stand for tokens.
type Rows struct {
	Seq     int
	Tokens  []int
	Vectors []float32
	Scores  bool
}

// Grammars can hold answers to a form. It is safe for concurrent use, until the Backend is closed.
type Grammars interface {
	// Constrain makes the constraint of one answer that follows schema (engine.SchemaTags).
	Constrain(schema string) (Constraint, error)
}

// Constraint follows one answer and says which tokens may come next.
type Constraint interface {
	// Allows tells whether id may come next.
	Allows(id int) bool
	// Mask sets the scores of all tokens that may not come next to negative infinity.
	Mask(scores []float32) error
	// Accept takes id, which is allowed, as the next token.
	Accept(id int) error
	Close()
}
