package llamacpp

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/native/llama"
	"github.com/larkstream/larkstream/engine/tags"
)

// vocabulary is the tokenizer of a GGUF.
type vocabulary struct {
	*llama.Vocab
	special map[string]int // names of tokens that are no text
	hidden  map[int]bool   // their ids
	stops   []int
	// composes says that text is composed before it becomes tokens.
	composes bool
}

var (
	_ prompt.Vocabulary = (*vocabulary)(nil)
	_ schedule.Grammars = (*vocabulary)(nil)
)

func newVocabulary(m *llama.Model) (*vocabulary, error) {
	v := m.Vocab()
	if v.Type() == llama.VocabNone {
		return nil, errors.New("reading the tokenizer: the GGUF has none, and the bundle names none (llm.tokenizer)")
	}
	pre, _ := m.Meta("tokenizer.ggml.pre")
	out := &vocabulary{Vocab: v, special: map[string]int{}, hidden: map[int]bool{}, composes: pre == "qwen2"}
	for id := range v.Size() {
		entry, err := v.Entry(llama.Token(id))
		if err != nil {
			return nil, err
		}
		if isSpecial(entry) {
			out.special[entry.Text], out.hidden[id] = id, true
		}
		if v.IsEnd(llama.Token(id)) {
			out.stops = append(out.stops, id)
		}
	}
	return out, nil
}

// named is how files spell user-defined tokens that steer the model; others, such as runs of white space, are text.
var named = regexp.MustCompile(`^(<.+>|\[.+\])$`)

func isSpecial(e llama.Entry) bool {
	if e.Attr&llama.AttrUserDefined != 0 {
		return named.MatchString(e.Text)
	}
	return e.Attr&(llama.AttrControl|llama.AttrUnknown) != 0 && e.Text != ""
}

// SpecialAt implements prompt.Vocabulary.
func (v *vocabulary) SpecialAt(text string) (id, size int) {
	for name, nameID := range v.special {
		if len(name) > size && strings.HasPrefix(text, name) {
			id, size = nameID, len(name)
		}
	}
	return id, size
}

// Normalize implements prompt.Vocabulary. Qwen2's tokenizer composes characters (NFC) first, which llama.cpp leaves to its caller.
func (v *vocabulary) Normalize(question string) string {
	if v.composes {
		return norm.NFC.String(question)
	}
	return question
}

// Stops implements prompt.Vocabulary: the tokens that the file says end an answer.
func (v *vocabulary) Stops() []int { return v.stops }

// Plain implements prompt.Vocabulary. llama.cpp finds some special tokens in plain text too, those that a file calls
// user-defined and those that pieces happen to join to: their names are broken by a space.
func (v *vocabulary) Plain(text string) ([]int, error) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	ids, found, err := v.encode(text)
	if err != nil || !found {
		return ids, err
	}
	ids, found, err = v.encode(v.broken(text))
	if err == nil && found {
		err = errors.New("encoding text: it gives special tokens")
	}
	return ids, err
}

func (v *vocabulary) encode(text string) (ids []int, found bool, err error) {
	tokens, err := v.Tokenize(text, false, false)
	if err != nil {
		return nil, false, err
	}
	ids = make([]int, len(tokens))
	for i, t := range tokens {
		ids[i] = int(t)
		found = found || v.hidden[ids[i]]
	}
	return ids, found, nil
}

// broken is text with a space in each name of a special token, after its first character.
func (v *vocabulary) broken(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		_, named := v.SpecialAt(text)
		_, size := utf8.DecodeRuneInString(text)
		out.WriteString(text[:size])
		if named > size {
			out.WriteByte(' ')
		}
		text = text[size:]
	}
	return out.String()
}

// Piece implements prompt.Vocabulary.
func (v *vocabulary) Piece(id int) ([]byte, error) {
	if v.hidden[id] {
		return nil, nil
	}
	return v.Vocab.Piece(llama.Token(id), false)
}

// Constrain implements schedule.Grammars.
func (v *vocabulary) Constrain(schema string) (schedule.Constraint, error) {
	if schema != contract.SchemaTags {
		return nil, fmt.Errorf("%w: %q", contract.ErrSchema, schema)
	}
	g, err := v.NewGrammar(tags.Grammar(), "root")
	if err != nil {
		return nil, err
	}
	return constraint{g}, nil
}

// constraint is a grammar that follows one answer.
type constraint struct{ *llama.Grammar }

// Allows implements schedule.Constraint.
func (c constraint) Allows(id int) bool { return c.Grammar.Allows(llama.Token(id)) }

// Accept implements schedule.Constraint.
func (c constraint) Accept(id int) error { return c.Grammar.Accept(llama.Token(id)) }
