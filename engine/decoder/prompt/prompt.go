// Package prompt turns a bundle's prompt template and a question into tokens, and the tokens of an answer into text.
package prompt

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/larkstream/larkstream/engine/model"
)

// Template is a bundle's prompt in token ids: prefix, frames, suffix, question.
//
// Special tokens are written by name. The text between two of them is encoded on its own, the user's text together with
// the template's text next to it; no special token comes out of either. With prompt.whitespace "trained", text loses its
// white space where it touches a special token or the frames, as Hugging Face's slow tokenizers do it (transformers 4.29,
// PreTrainedTokenizer.tokenize), with which LLark was trained. With "verbatim", the default, it stays.
type Template struct {
	vocab     Vocabulary
	prefix    []int // before the frames
	suffix    []int // after the frames, up to the text that the question is part of
	question  segment
	end       []int // after that text
	audioEnd  int   // the special token after the frames, or none
	seen      []int // prefix and placeholder
	stop      map[int]bool
	stopTexts []string
	maxTokens int
}

// none stands for no token.
const none = -1

// segment is text between two special tokens.
type segment struct {
	head, tail          string // before and after the question, if it holds that
	trimFront, trimBack bool
}

// part is a special token or, if it has none, text.
type part struct {
	id      int
	special bool
	text    string
}

// New reads a template and checks that the frames stand between two special tokens, or alone if neither stands there.
func New(p model.Prompt, v Vocabulary) (*Template, error) {
	out := &Template{vocab: v, stop: map[int]bool{}, maxTokens: p.MaxTokens, audioEnd: none}
	trained := p.Whitespace == model.Trained
	head, tail, _ := strings.Cut(p.Suffix+p.Question, model.Question)
	before, after := split(v, head), split(v, tail)
	prefix := split(v, p.Prefix)
	if err := checkNames(prefix, before, after); err != nil {
		return nil, err
	}
	opens := len(prefix) > 0 && prefix[len(prefix)-1].special
	if opens != (len(before) > 0 && before[0].special) {
		return nil, errors.New("reading the prompt: the frames must stand between two special tokens of the tokenizer, such as <audio_start> at the end of prompt.prefix and <audio_end> at the beginning of prompt.suffix, or between none")
	}
	if opens {
		out.audioEnd = before[0].id
	}
	if n := len(before); n > 0 && !before[n-1].special {
		out.question.head, before = before[n-1].text, before[:n-1]
	}
	if len(after) > 0 && !after[0].special {
		out.question.tail, after = after[0].text, after[1:]
	}
	out.question.trimFront, out.question.trimBack = trained, trained && len(after) > 0
	var faults [4]error
	out.prefix, faults[0] = encode(v, prefix, trained, atStart)
	out.suffix, faults[1] = encode(v, before, trained, inside)
	out.end, faults[2] = encode(v, after, trained, atEnd)
	faults[3] = out.readStops(p.Stop)
	out.seen = out.Prefix()
	if id, size := v.SpecialAt(p.Placeholder); size > 0 {
		out.seen = append(out.seen, id)
	}
	return out, errors.Join(faults[:]...)
}

// named is how special tokens are spelled.
var named = regexp.MustCompile(`<[|/]?[A-Za-z0-9_]+[|]?>`)

// checkNames refuses names of special tokens that the tokenizer does not have: as plain text they would not mean what the
// model was trained on.
func checkNames(templates ...[]part) error {
	for _, p := range slices.Concat(templates...) {
		if name := named.FindString(p.text); name != "" {
			return fmt.Errorf("reading the prompt: %s is not a token of the tokenizer, which does not belong to this bundle's prompt", name)
		}
	}
	return nil
}

// readStops tells stop tokens from stop texts.
func (p *Template) readStops(stops []string) error {
	for _, name := range stops {
		if name == "" {
			return errors.New("reading the prompt: prompt.stop holds an empty text")
		}
		if id, size := p.vocab.SpecialAt(name); size > 0 && size == len(name) {
			p.stop[id] = true
			continue
		}
		if err := checkNames([]part{{text: name}}); err != nil {
			return err
		}
		p.stopTexts = append(p.stopTexts, name)
	}
	for _, id := range p.vocab.Stops() {
		p.stop[id] = true
	}
	return nil
}

// split cuts a template at its special tokens.
func split(v Vocabulary, template string) []part {
	var parts []part
	plain := 0
	for i := 0; i < len(template); {
		id, size := v.SpecialAt(template[i:])
		if size == 0 {
			i++
			continue
		}
		if plain < i {
			parts = append(parts, part{text: template[plain:i]})
		}
		parts = append(parts, part{id: id, special: true})
		i += size
		plain = i
	}
	if plain < len(template) {
		parts = append(parts, part{text: template[plain:]})
	}
	return parts
}

// place is where parts stand in the prompt.
type place int

const (
	atStart place = iota // nothing stands before the first part
	inside               // special tokens or the frames stand before and after
	atEnd                // nothing stands after the last part
)

// encode turns parts into ids.
func encode(v Vocabulary, parts []part, trained bool, at place) ([]int, error) {
	var ids []int
	for i, p := range parts {
		if p.special {
			ids = append(ids, p.id)
			continue
		}
		s := segment{
			head: p.text, trimFront: trained && (at != atStart || i > 0), trimBack: trained && (at != atEnd || i < len(parts)-1),
		}
		text, err := s.encode(v, "")
		if err != nil {
			return nil, err
		}
		ids = append(ids, text...)
	}
	return ids, nil
}

func (s segment) encode(v Vocabulary, question string) ([]int, error) {
	text := s.head + question + s.tail
	if s.trimFront {
		text = strings.TrimLeftFunc(text, isSpace)
	}
	if s.trimBack {
		text = strings.TrimRightFunc(text, isSpace)
	}
	if text == "" {
		return nil, nil
	}
	ids, err := v.Plain(text)
	if err != nil {
		return nil, fmt.Errorf("encoding the prompt: %w", err)
	}
	return ids, nil
}

// isSpace is Python's str.isspace for one character, which also holds the four separators of ASCII.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// StopTokens end an answer and are not part of it, in ascending order.
func (p *Template) StopTokens() []int { return slices.Sorted(maps.Keys(p.stop)) }

// StopTexts end an answer, which then also loses the white space in front of them.
func (p *Template) StopTexts() []string { return slices.Clone(p.stopTexts) }

// Stops tells whether a token ends an answer.
func (p *Template) Stops(id int) bool { return p.stop[id] }

// MaxTokens is the longest answer, in tokens.
func (p *Template) MaxTokens() int { return p.maxTokens }

// Prefix gives the ids before the frames.
func (p *Template) Prefix() []int { return slices.Clone(p.prefix) }

// Seen gives the ids that stand in every prompt before the question, with the token that stands for a frame if the bundle names one.
func (p *Template) Seen() []int { return p.seen }

// Before is the number of positions up to and with the last of n frames.
func (p *Template) Before(n int) int { return len(p.prefix) + n }

// After gives the ids after the frames for a question.
func (p *Template) After(question string) ([]int, error) {
	text, err := p.question.encode(p.vocab, p.vocab.Normalize(question))
	if err != nil {
		return nil, err
	}
	return slices.Concat(p.suffix, text, p.end), nil
}

// CheckSplice demands that the token that ends the audio stands n+1 positions after the token that begins it, as the
// reference implementation does (LLark, m2t/models/llamav2.py).
func (p *Template) CheckSplice(n, before int, after []int) error {
	start := len(p.prefix) - 1
	if p.audioEnd != none && (before != start+n+1 || len(after) == 0 || after[0] != p.audioEnd) {
		return fmt.Errorf("splicing %d frames: the token that ends the audio does not stand at position %d", n, start+n+1)
	}
	return nil
}
