package llama

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/tokenizer"
	"github.com/larkstream/larkstream/shared/model"
)

// Config bounds the engine.
type Config struct {
	// MaxBatch is how many answers are decoded in one step. 0: 16.
	MaxBatch int
	// Positions is the budget of keys and values that are held at a time, in positions; at least the model's context.
	// 0: 16 contexts.
	Positions int
}

// Engine answers with batched decoding: all answers in hand, of all windows, advance together by one token a step. The
// prefix of a window (the prompt's beginning and the frames) is computed once and read by all of its questions.
type Engine struct {
	cfg    Config
	w      *weights
	tok    *tokenizer.Tokenizer
	prompt *prompt
	limit  int // output tokens

	submit chan *request
	quit   chan struct{}
	close  sync.Once
	ended  chan struct{} // closed when the scheduler has returned

	prefixes, steps, widest atomic.Int64
}

// Stats counts what the engine has done since it was opened.
type Stats struct {
	Prefixes int64 // windows whose prefix was computed
	Steps    int64 // decoding steps
	Widest   int64 // most answers decoded in one step
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	return Stats{Prefixes: e.prefixes.Load(), Steps: e.steps.Load(), Widest: e.widest.Load()}
}

var _ engine.Engine = (*Engine)(nil)

// Open loads the decoder of a bundle and starts its scheduler.
func Open(b *model.Bundle, cfg Config) (*Engine, error) {
	tok, err := tokenizer.Open(b.TokenizerPath())
	if err != nil {
		return nil, err
	}
	if tok.Size() != b.LLM.Vocab {
		return nil, fmt.Errorf("opening the decoder: the tokenizer has %d tokens but llm.vocab is %d", tok.Size(), b.LLM.Vocab)
	}
	p, err := newPrompt(b.Prompt, tok)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder: %w", err)
	}
	w, err := loadWeights(b)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder: %w", err)
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 16
	}
	if cfg.Positions == 0 {
		cfg.Positions = 16 * w.Context
	}
	if cfg.MaxBatch < 0 || cfg.Positions < w.Context {
		return nil, fmt.Errorf("opening the decoder: a budget of %d positions cannot hold one context of %d", cfg.Positions, w.Context)
	}
	e := &Engine{
		cfg: cfg, w: w, tok: tok, prompt: p, limit: b.Prompt.MaxTokens,
		submit: make(chan *request), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go e.run()
	return e, nil
}

// Close ends the requests in hand with engine.ErrClosed.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.quit) })
	<-e.ended
	return nil
}

// Answer implements engine.Engine. A question that does not fit into the context gets engine.ErrPromptTooLong.
func (e *Engine) Answer(ctx context.Context, req engine.Request) ([]engine.Result, error) {
	if err := engine.CheckSoft(req.Soft, e.w.Hidden); err != nil {
		return nil, err
	}
	results := make([]engine.Result, len(req.Questions))
	r := &request{ctx: ctx, engine: req, came: time.Now(), done: make(chan struct{})}
	for i, q := range req.Questions {
		results[i].Index = q.Index
		if a := e.newAnswer(r, &results[i], q); a != nil {
			r.answers = append(r.answers, a)
		}
	}
	if len(r.answers) == 0 {
		return results, nil
	}
	select {
	case e.submit <- r:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-e.quit:
		return nil, engine.ErrClosed
	}
	<-r.done // the scheduler ends every request it has taken, at the latest one step after ctx ends
	if r.err != nil {
		return nil, r.err
	}
	return results, nil
}

// newAnswer prepares a question, or notes in its result why it cannot be answered and returns nil.
func (e *Engine) newAnswer(r *request, result *engine.Result, q engine.Question) *answer {
	ids := e.prompt.after(e.tok.Encode(q.Text))
	result.PromptTokens = r.prefixRoom(e.prompt) + len(ids)
	room := e.w.Context - result.PromptTokens
	if room < 1 {
		result.Err = fmt.Errorf("%w: %d positions with %d frames, the model's context is %d", engine.ErrPromptTooLong, result.PromptTokens, r.engine.Soft.Rows, e.w.Context)
		return nil
	}
	limit := e.limit
	if n := r.engine.Decode.MaxTokens; n > 0 {
		limit = min(limit, n)
	}
	return &answer{
		request: r, result: result, prompt: ids, limit: min(limit, room),
		sampler: newSampler(r.engine.Decode, q.Index), text: e.tok.Stream(),
	}
}
