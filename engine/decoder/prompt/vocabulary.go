package prompt

import (
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
)

// Vocabulary turns text into tokens and back. It is safe for concurrent use, until the decoder that owns it is closed.
type Vocabulary interface {
	Size() int
	// SpecialAt gives the longest special token whose name text begins with, and the length of that name; 0 if there is none.
	SpecialAt(text string) (id, size int)
	// Normalize prepares the text of a question, as the model was trained on it.
	Normalize(question string) string
	// Plain turns text into ids. No special token comes out.
	Plain(text string) ([]int, error)
	// Stops are the tokens that end every answer, besides the prompt's own stop tokens.
	Stops() []int
	tokenizer.Pieces
}
