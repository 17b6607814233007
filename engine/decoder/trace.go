package decoder

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/llamacpp"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// TraceConfig says what to trace.
type TraceConfig struct {
	// Soft is the soft prompt.
	Soft tensor.Matrix
	// Question is the user's text.
	Question string
	// Tokens is how many tokens are decoded, the most likely each time. Stop tokens do not stop.
	Tokens int
	// Exact computes in float32 whatever the type of the weights, in plain Go: memory for all weights in float32 is needed. Otherwise llama.cpp
	// computes, as it does for answers.
	Exact bool
	// NativeDir is the folder of llama.cpp's libraries; Log may be nil.
	NativeDir string
	Log       *slog.Logger
}

// Trace is what a decoder makes of a prompt, for those who compare it with another implementation.
type Trace struct {
	// PromptIDs is the whole prompt, a placeholder for each row of the soft prompt.
	PromptIDs []int32
	// Logits are the scores after the last position of the prompt.
	Logits []float32
	// Greedy are the tokens that follow.
	Greedy []int32
}

// RunTrace computes a prompt and the tokens behind it with a bundle whose tokenizer lies in its GGUF file.
func RunTrace(b *model.Bundle, cfg TraceConfig) (t Trace, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := contract.CheckSoft(cfg.Soft, b.LLM.Hidden); err != nil {
		return t, err
	}
	vocabulary, release, err := llamacpp.OpenVocabulary(b.LLMPath(), cfg.NativeDir, cfg.Log)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, release()) }()
	template, err := prompt.New(b.Prompt, vocabulary)
	if err != nil {
		return t, err
	}
	after, err := template.After(cfg.Question)
	if err != nil {
		return t, err
	}
	placeholder, size := vocabulary.SpecialAt(b.Prompt.Placeholder)
	if size == 0 {
		return t, fmt.Errorf("tracing: the bundle's placeholder %q is no token of its decoder", b.Prompt.Placeholder)
	}
	ids := template.Prefix()
	for range cfg.Soft.Rows {
		ids = append(ids, placeholder)
	}
	ids = append(ids, after...)
	for _, id := range ids {
		t.PromptIDs = append(t.PromptIDs, int32(id))
	}
	if room := b.LLM.Context - len(ids); cfg.Tokens > room {
		return t, fmt.Errorf("tracing: %w: %d positions and %d tokens, the model's context is %d", ErrPromptTooLong, len(ids), cfg.Tokens, b.LLM.Context)
	}
	backend, err := traceBackend(b, cfg, len(ids)+cfg.Tokens)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	return t, t.run(backend, template.Prefix(), cfg, after)
}

func traceBackend(b *model.Bundle, cfg TraceConfig, room int) (schedule.Backend, error) {
	if cfg.Exact {
		return reference.OpenBackend(b, room)
	}
	return llamacpp.OpenBackend(b, llamacpp.Config{NativeDir: cfg.NativeDir, MaxBatch: 1, Positions: room}, llamacpp.Deps{Log: cfg.Log})
}

// run reads the prompt piece by piece and decodes.
func (t *Trace) run(backend schedule.Backend, prefix []int, cfg TraceConfig, after []int) error {
	const seq = 0
	if err := backend.Open(seq, schedule.None, len(t.PromptIDs)+cfg.Tokens); err != nil {
		return err
	}
	defer backend.Free(seq)
	scores, err := schedule.Read(backend, seq, prefix, cfg.Soft.Data, after)
	if err != nil {
		return err
	}
	t.Logits = append([]float32(nil), scores...)
	for range cfg.Tokens {
		id := 0
		for i, v := range scores {
			if v > scores[id] {
				id = i
			}
		}
		if t.Greedy = append(t.Greedy, int32(id)); len(t.Greedy) == cfg.Tokens {
			break
		}
		all, err := backend.Extend([]schedule.Rows{{Seq: seq, Tokens: []int{id}, Scores: true}})
		if err != nil {
			return err
		}
		scores = all[0]
	}
	return nil
}
