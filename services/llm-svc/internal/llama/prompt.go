package llama

import (
	"fmt"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/services/llm-svc/internal/tokenizer"
	"github.com/larkstream/larkstream/shared/model"
)

// prompt is the bundle's template in token ids: before, frames, after, question.
type prompt struct {
	prefix []int // before the frames
	suffix []int // after the frames, up to and with what stands before the question
	end    []int // after the question
	stop   map[int]bool
}

func newPrompt(p model.Prompt, t *tokenizer.Tokenizer) (*prompt, error) {
	head, tail, _ := strings.Cut(p.Question, model.Question)
	out := &prompt{
		prefix: t.Template(p.Prefix), suffix: append(t.Template(p.Suffix), t.Template(head)...), end: t.Template(tail), stop: map[int]bool{},
	}
	for _, name := range p.Stop {
		id, ok := t.Special(name)
		if !ok {
			return nil, fmt.Errorf("reading prompt.stop: %q is not a special token of the tokenizer", name)
		}
		out.stop[id] = true
	}
	return out, nil
}

// after is what follows the frames for a question given as ids.
func (p *prompt) after(question []int) []int { return slices.Concat(p.suffix, question, p.end) }
