// Package vllm answers questions through a vLLM server that was started with --enable-prompt-embeds.
//
// A prompt travels as embeddings, whole: the text around the frames is tokenized here and looked up in the bundle's own table of token
// embeddings, so that the server sees exactly the rows that any other engine would compute with, and no template or tokenizer of its
// own comes in between. docs/adr/0035-vllm.md says why.
package vllm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/model"
)

// Config is what the user sets.
type Config struct {
	// URL is the server's root, such as http://gpu-1:8000.
	URL string
	// APIKey is what the server was given as --api-key; empty: none.
	APIKey config.Secret
	// Model is the name under which the server knows the model (--served-model-name). Empty: the bundle's name.
	Model string
	// InFlight is how many answers are asked for at a time.
	InFlight int
	// MaxWaiting is how many requests may wait in the server before no more are sent.
	MaxWaiting int
	// Timeout is the longest that one answer may take, with its retries.
	Timeout time.Duration
	// NativeDir is the folder of llama.cpp's libraries, which read the tokenizer of a bundle whose decoder is a GGUF. Empty: native/cpu
	// beside the executable.
	NativeDir string
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	_, err := baseURL(c.URL)
	var bounds error
	if c.InFlight < 1 || c.MaxWaiting < 0 || c.Timeout <= 0 {
		bounds = errors.New("vllm_in_flight and vllm_timeout must be above 0, vllm_max_waiting not below 0")
	}
	return errors.Join(err, bounds)
}

// Deps are what the engine works with.
type Deps struct{ Log *slog.Logger }

// Engine answers through one server; the server may be a load balancer before several of one model.
type Engine struct {
	cfg     Config
	stops   []string // texts at which an answer ends
	prompts *prompter
	client  *client
	slots   *slots
	gate    *gate
	bundle  *model.Bundle

	mu     sync.Mutex
	closed bool
	inHand sync.WaitGroup
	quit   chan struct{}
}

var (
	_ engine.Engine      = (*Engine)(nil)
	_ engine.Constrainer = (*Engine)(nil)
)

// Open reads tokenizer and token embeddings of a bundle. The server is not asked yet: see Check.
func Open(b *model.Bundle, cfg Config, deps Deps) (*Engine, error) {
	if deps.Log == nil {
		return nil, errors.New("opening the vLLM engine: a dependency is missing")
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("opening the vLLM engine: %w", err)
	}
	prompts, err := openPrompter(b, cfg.NativeDir, deps.Log)
	if err != nil {
		return nil, fmt.Errorf("opening the vLLM engine: %w", err)
	}
	if cfg.Model == "" {
		cfg.Model = b.Name
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, errors.Join(err, prompts.close())
	}
	return &Engine{
		cfg: cfg, prompts: prompts, client: c, slots: newSlots(cfg.InFlight), gate: newGate(c.load, cfg.MaxWaiting, deps.Log),
		stops: prompts.template.StopTexts(), bundle: b, quit: make(chan struct{}),
	}, nil
}

// Constrains implements engine.Constrainer: the server holds its answers to a JSON schema.
func (e *Engine) Constrains(schema string) bool {
	_, err := structureOf(schema)
	return err == nil
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	if first {
		e.closed = true
		close(e.quit)
	}
	e.mu.Unlock()
	e.inHand.Wait()
	if !first {
		return nil
	}
	e.client.http.CloseIdleConnections()
	return e.prompts.close()
}

// enter gives a context that ends with the engine too. leave must be called.
func (e *Engine) enter(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc, leave func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, nil, engine.ErrClosed
	}
	e.inHand.Add(1)
	ctx, cancel = context.WithCancelCause(ctx)
	left := make(chan struct{})
	e.inHand.Go(func() {
		select {
		case <-e.quit:
			cancel(engine.ErrClosed)
		case <-left:
		}
	})
	return ctx, cancel, func() {
		close(left)
		cancel(nil)
		e.inHand.Done()
	}, nil
}

// Answer implements engine.Engine. Every question is a request of its own to the server, which keeps what they have in common in its
// prefix cache. A question that the server refuses fails alone; a server that cannot be reached fails the request.
func (e *Engine) Answer(ctx context.Context, req engine.Request) ([]engine.Result, error) {
	if err := engine.CheckSoft(req.Soft, e.bundle.LLM.Hidden); err != nil {
		return nil, err
	}
	structure, err := structureOf(req.Schema)
	if err != nil {
		return nil, err
	}
	ctx, cancel, leave, err := e.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	results := make([]engine.Result, len(req.Questions))
	asked := asking{
		Engine: e, request: req, structure: structure, came: time.Now(), frames: e.prompts.table.encode(req.Soft.Data),
	}
	var group sync.WaitGroup
	for i, q := range req.Questions {
		results[i].Index = q.Index
		group.Go(func() {
			if err := asked.answer(ctx, &results[i], q); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return results, nil
}

// errSlow is the cause of a context that Config.Timeout has ended.
var errSlow = errors.New("the server is too slow")

// asking is one request in the engine's hands.
type asking struct {
	*Engine
	request   engine.Request
	structure *structure
	came      time.Time
	frames    []byte     // the soft prompt in the table's type
	watch     sync.Mutex // held while the watcher is called
}

// answer asks one question. Its error concerns the whole request.
func (a *asking) answer(ctx context.Context, result *engine.Result, q engine.Question) error {
	release, err := a.slots.acquire(ctx, a.request.Job)
	if err != nil {
		return err
	}
	defer release()
	p, err := a.prompts.build(a.frames, q.Text)
	result.PromptTokens = p.rows
	if err != nil {
		result.Err = err
		return nil
	}
	body, err := a.body(p, q.Index)
	if err != nil {
		return err
	}
	timed, stop := context.WithTimeoutCause(ctx, a.cfg.Timeout, errSlow)
	defer stop()
	err = a.ask(timed, result, body)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case timed.Err() != nil:
		return fmt.Errorf("asking vLLM: no answer within %s: %w", a.cfg.Timeout, err)
	}
	return refusedAlone(result, err)
}

// refusedAlone notes in the result that the server will never answer this question. Any other error is given back.
func refusedAlone(result *engine.Result, err error) error {
	var r *refusal
	if errors.As(err, &r) && r.ofRequest() {
		result.Err, result.Ended = err, time.Now()
		return nil
	}
	return err
}

// ask sends the question when the server has room, and again while nothing of an answer has come.
func (a *asking) ask(ctx context.Context, result *engine.Result, body []byte) error {
	sent, err := a.gate.pass(ctx)
	if err != nil {
		return err
	}
	defer sent()
	result.Began = time.Now()
	var first time.Time
	text := answerText{trim: len(a.stops) > 0, emit: func(part string) {
		result.Text += part
		a.emit(result.Index, part)
	}}
	c, err := retry(ctx, func() (completion, error) {
		c, err := a.client.complete(ctx, body, func(part string) {
			if first.IsZero() {
				first = time.Now()
			}
			text.push(part)
		})
		if err != nil && text.begun {
			return c, fmt.Errorf("asking vLLM: the answer broke off: %w", final(err))
		}
		return c, err
	})
	if err != nil {
		return err
	}
	text.end(c.finish)
	result.Finish, result.OutputTokens, result.Ended = c.finish, c.tokens, time.Now()
	result.FirstToken, result.Prefill, result.Decode = first.Sub(a.came), first.Sub(result.Began), result.Ended.Sub(first)
	return nil
}

// answerText passes an answer on as every engine gives it: without one leading space, and, where answers end at a stop text, without
// the white space in front of that.
type answerText struct {
	emit  func(part string)
	trim  bool
	begun bool
	held  string // white space that may be the last
}

func (t *answerText) push(part string) {
	if part == "" {
		return
	}
	if !t.begun {
		part = strings.TrimPrefix(part, " ")
	}
	t.begun = true
	part, t.held = t.held+part, ""
	if t.trim {
		kept := strings.TrimRightFunc(part, unicode.IsSpace)
		part, t.held = kept, part[len(kept):]
	}
	if part != "" {
		t.emit(part)
	}
}

func (t *answerText) end(finish string) {
	if t.held != "" && finish != engine.FinishStop {
		t.emit(t.held)
	}
	t.held = ""
}

// emit tells the watcher.
func (a *asking) emit(index int, text string) {
	if a.request.OnToken == nil {
		return
	}
	a.watch.Lock()
	defer a.watch.Unlock()
	a.request.OnToken(index, text)
}
