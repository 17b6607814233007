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
	"sync"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/model"
)

// Config is what the user sets.
type Config struct {
	// URL is the server's root, such as http://gpu-1:8000.
	URL string
	// APIKey is what the server was given as --api-key; empty: none.
	APIKey string
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
	_ contract.Engine      = (*Engine)(nil)
	_ contract.Constrainer = (*Engine)(nil)
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

// Constrains implements contract.Constrainer: the server holds its answers to a JSON schema.
func (e *Engine) Constrains(schema string) bool {
	_, err := structureOf(schema)
	return err == nil
}

// Close implements contract.Engine.
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
		return nil, nil, nil, contract.ErrClosed
	}
	e.inHand.Add(1)
	ctx, cancel = context.WithCancelCause(ctx)
	left := make(chan struct{})
	e.inHand.Go(func() {
		select {
		case <-e.quit:
			cancel(contract.ErrClosed)
		case <-left:
		}
	})
	return ctx, cancel, func() {
		close(left)
		cancel(nil)
		e.inHand.Done()
	}, nil
}

// Answer implements contract.Engine. Every question is a request of its own to the server, which keeps what they have in common in its
// prefix cache. A question that the server refuses fails alone. So does a question whose answer fails several times while the server
// answers others; a server that answers none fails the request.
func (e *Engine) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	if err := contract.CheckSoft(req.Soft, e.bundle.LLM.Hidden); err != nil {
		return nil, err
	}
	structure, err := structureOf(req.Schema)
	if err != nil {
		return nil, err
	}
	ctx, _, leave, err := e.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	asked := asking{
		Engine: e, request: req, structure: structure, came: time.Now(), frames: e.prompts.table.encode(req.Soft.Data),
	}
	return asked.all(ctx)
}
