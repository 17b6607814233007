package vllm

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/llamacpp"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
)

// prompter turns frames and questions into whole prompts in embeddings.
type prompter struct {
	template *prompt.Template
	table    *table
	context  int
	closes   []func() error
}

func openPrompter(b *model.Bundle, nativeDir string, log *slog.Logger) (_ *prompter, err error) {
	p := &prompter{context: b.LLM.Context}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	vocab, err := p.vocabulary(b, nativeDir, log)
	if err != nil {
		return nil, err
	}
	if vocab.Size() != b.LLM.Vocab {
		return nil, fmt.Errorf("the tokenizer has %d tokens but llm.vocab is %d", vocab.Size(), b.LLM.Vocab)
	}
	if p.template, err = prompt.New(b.Prompt, vocab); err != nil {
		return nil, err
	}
	if p.table, err = openTable(b); err != nil {
		return nil, err
	}
	p.closes = append(p.closes, p.table.close)
	return p, nil
}

// vocabulary opens the bundle's tokenizer: a file of its own, or that inside the GGUF.
func (p *prompter) vocabulary(b *model.Bundle, nativeDir string, log *slog.Logger) (prompt.Vocabulary, error) {
	if b.LLM.Tokenizer != "" {
		return tokenizer.Open(b.TokenizerPath())
	}
	v, release, err := llamacpp.OpenVocabulary(b.LLMPath(), nativeDir, log)
	if err != nil {
		return nil, err
	}
	p.closes = append(p.closes, release)
	return v, nil
}

// close frees tokenizer and table.
func (p *prompter) close() error {
	var faults []error
	for _, c := range p.closes {
		faults = append(faults, c())
	}
	return errors.Join(faults...)
}

// embedded is a whole prompt: raw holds rows x hidden elements.
type embedded struct {
	rows int
	raw  []byte
}

// build puts a question with its history after frames that are in the table's type. system is the system text, empty for the bundle's. A prompt that leaves no room for an answer is
// contract.ErrPromptTooLong; its rows are given all the same.
func (p *prompter) build(frames []byte, system string, q contract.Question) (embedded, error) {
	lead, err := p.template.PrefixFor(system)
	if err != nil {
		return embedded{}, err
	}
	ids, err := p.template.After(q.Text, q.History...)
	if err != nil {
		return embedded{}, err
	}
	n := len(frames) / p.table.width
	rows := len(lead) + n + len(ids)
	if rows >= p.context {
		return embedded{rows: rows}, fmt.Errorf("%w: %d positions with %d frames, the model's context is %d", contract.ErrPromptTooLong, rows, n, p.context)
	}
	before, err := p.table.rows(lead)
	if err != nil {
		return embedded{rows: rows}, err
	}
	after, err := p.table.rows(ids)
	if err != nil {
		return embedded{rows: rows}, err
	}
	raw := slices.Concat(before, frames, after)
	if !p.table.finite(raw) {
		return embedded{rows: rows}, errors.New("checking the prompt: it holds NaN or infinity in " + p.table.name)
	}
	return embedded{rows: rows, raw: raw}, nil
}
