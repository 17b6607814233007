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

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/model"
)

// Template is a bundle's prompt in token ids: prefix, frames, suffix, question.
//
// Special tokens are written by name. The text between two of them is encoded on its own, the user's text together with
// the template's text next to it; no special token comes out of either. With prompt.whitespace "trained", text loses its
// white space where it touches a special token or the frames, as Hugging Face's slow tokenizers do it (transformers 4.29,
// PreTrainedTokenizer.tokenize), with which LLark was trained. With "verbatim", the default, it stays.
type Template struct {
	vocab   Vocabulary
	trained bool
	prefix  []int // before the frames, with the bundle's own system text
	// The template's text around what users and the model say: before and after the system text, from the frames to the question, from the question to the
	// answer, and from an answer to the next question, which is nil where there is none.
	lead, leadEnd, head, tail, turn []part
	audioEnd                        int   // the special token after the frames, or none
	seen                            []int // prefix and placeholder
	stop                            map[int]bool
	stopTexts                       []string
	maxTokens                       int
}

// none stands for no token.
const none = -1

// part is a special token or, if it has none, text.
type part struct {
	id      int
	special bool
	text    string
}

// New reads a template and checks that the frames stand between two special tokens, or alone if neither stands there.
func New(p model.Prompt, v Vocabulary) (*Template, error) {
	out := &Template{vocab: v, trained: p.Whitespace == model.Trained, stop: map[int]bool{}, maxTokens: p.MaxTokens, audioEnd: none}
	head, tail, _ := strings.Cut(p.Suffix+p.Question, model.Question)
	out.head, out.tail, out.turn = split(v, head), split(v, tail), split(v, p.Turn)
	out.lead = split(v, p.Prefix)
	if p.System != "" {
		before, after, _ := strings.Cut(p.Prefix, p.System)
		out.lead, out.leadEnd = split(v, before), split(v, after)
	}
	prefix := split(v, p.Prefix)
	if err := checkNames(prefix, out.head, out.tail, out.turn); err != nil {
		return nil, err
	}
	opens := len(prefix) > 0 && prefix[len(prefix)-1].special
	if opens != (len(out.head) > 0 && out.head[0].special) {
		return nil, errors.New("reading the prompt: the frames must stand between two special tokens of the tokenizer, such as <audio_start> at the end of prompt.prefix and <audio_end> at the beginning of prompt.suffix, or between none")
	}
	if opens {
		out.audioEnd = out.head[0].id
	}
	var faults [3]error
	out.prefix, faults[0] = out.lay(true).parts(prefix).end()
	_, faults[1] = out.After("")
	faults[2] = out.readStops(p.Stop)
	out.seen = slices.Clone(out.prefix)
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

// layer lays parts and texts one behind the other and encodes what stands between two special tokens as one text.
type layer struct {
	*Template
	ids    []int
	text   strings.Builder
	first  bool // nothing stands before the text, so that it is not trimmed in front
	prefix bool // the frames come behind the last text, so that it is trimmed there
	err    error
}

func (p *Template) lay(prefix bool) *layer { return &layer{Template: p, first: prefix, prefix: prefix} }

func (l *layer) parts(parts []part) *layer {
	for _, p := range parts {
		if !p.special {
			l.text.WriteString(p.text)
			continue
		}
		l.flush(true)
		l.ids = append(l.ids, p.id)
		l.first = false
	}
	return l
}

// said adds what a user or the model said.
func (l *layer) said(text string) *layer {
	l.text.WriteString(l.vocab.Normalize(text))
	return l
}

// flush encodes the text so far. touched: a special token or the frames come behind it.
func (l *layer) flush(touched bool) {
	text := l.text.String()
	l.text.Reset()
	if l.trained && !l.first {
		text = strings.TrimLeftFunc(text, isSpace)
	}
	if l.trained && touched {
		text = strings.TrimRightFunc(text, isSpace)
	}
	if text == "" || l.err != nil {
		return
	}
	ids, err := l.vocab.Plain(text)
	if err != nil {
		l.err = fmt.Errorf("encoding the prompt: %w", err)
	}
	l.ids = append(l.ids, ids...)
}

func (l *layer) end() ([]int, error) {
	l.flush(l.prefix)
	return l.ids, l.err
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

// PrefixFor gives the ids before the frames with another system text; empty is the bundle's own. It fails with contract.ErrNoSystem if the bundle has none.
func (p *Template) PrefixFor(system string) ([]int, error) {
	switch {
	case system == "":
		return p.Prefix(), nil
	case p.leadEnd == nil:
		return nil, contract.ErrNoSystem
	}
	return p.lay(true).parts(p.lead).said(system).parts(p.leadEnd).end()
}

// Seen gives the ids that stand in every prompt before the question, with the token that stands for a frame if the bundle names one.
func (p *Template) Seen() []int { return p.seen }

// Before is the number of positions up to and with the last of n frames.
func (p *Template) Before(n int) int { return len(p.prefix) + n }

// After gives the ids after the frames for a question that follows earlier turns: the first of them is the user's, the last the model's. It fails with
// contract.ErrNoTurns if there are turns and the bundle's prompt has no form for them.
func (p *Template) After(question string, history ...contract.Turn) ([]int, error) {
	if len(history) > 0 && p.turn == nil {
		return nil, contract.ErrNoTurns
	}
	if err := contract.CheckHistory(history); err != nil {
		return nil, err
	}
	l := p.lay(false).parts(p.head)
	for i, turn := range history {
		around := p.tail
		if i%2 == 1 {
			around = p.turn
		}
		l.said(turn.Text).parts(around)
	}
	return l.said(question).parts(p.tail).end()
}

// Given gives the ids of a text that stands behind After(question) as the model's answer. Where text ends the prompt, a space comes between the two unless
// one is there already, since a model begins its answer with one (tokenizer.Stream drops it).
func (p *Template) Given(question, answer string) ([]int, error) {
	answer = strings.TrimFunc(answer, isSpace)
	if answer == "" {
		return nil, errors.New("encoding an answer: it is empty")
	}
	before, err := p.After(question)
	if err != nil {
		return nil, err
	}
	l := p.lay(false).parts(p.head).said(question).parts(p.tail)
	if text := l.text.String(); text != "" && text == strings.TrimRightFunc(text, isSpace) {
		answer = " " + answer
	}
	l.text.WriteString(answer)
	whole, err := l.end()
	if err != nil {
		return nil, err
	}
	n := len(before)
	if len(whole) <= n || !slices.Equal(whole[:n], before) {
		return nil, errors.New("encoding an answer: its first token would begin within the prompt; a prompt.question that ends in white space can do this")
	}
	return whole[n:], nil
}

// EndsAudio tells whether a special token, AudioEnd, stands behind the frames; After begins with it.
func (p *Template) EndsAudio() bool { return p.audioEnd != none }

// AudioEnd is the token that stands behind the frames, if EndsAudio.
func (p *Template) AudioEnd() int { return p.audioEnd }

// CheckSplice demands that the token that ends the audio stands n+1 positions after the token that begins it, as the reference implementation does
// (LLark, m2t/models/llamav2.py). lead is the number of ids before the frames, before that of positions with them.
func (p *Template) CheckSplice(n, lead, before int, after []int) error {
	start := lead - 1
	if p.audioEnd != none && (before != start+n+1 || len(after) == 0 || after[0] != p.audioEnd) {
		return fmt.Errorf("splicing %d frames: the token that ends the audio does not stand at position %d", n, start+n+1)
	}
	return nil
}
