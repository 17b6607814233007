package schedule

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/notes"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
)

// DefaultBatch is how many answers are decoded in one step unless Config says otherwise.
const DefaultBatch = 16

// Config bounds the engine.
type Config struct {
	// MaxBatch is how many answers are decoded in one step. 0: 16.
	MaxBatch int
	// Prompt is the bundle's template and limits.
	Prompt model.Prompt
	// Notes, if not nil, are what the decoder writes down about each window before it reads a question, and answers by.
	Notes *notes.Sheet
	// OwnThread runs the backend on a thread of the operating system that nothing else uses. Native code needs it that keeps state in the
	// thread: ggml configures the tiles of a processor with AMX once for each thread, and our kernels leave them released, so that ggml
	// would end the process with an illegal instruction after them.
	OwnThread bool
}

// Deps are what an Engine works with. Grammars may be nil: the engine then constrains nothing. The engine owns the backend.
type Deps struct {
	Backend    Backend
	Vocabulary prompt.Vocabulary
	Grammars   Grammars
}

// Engine answers with batched decoding: all answers in hand, of all windows, advance together by one token a step. The
// prefix of a window (the prompt's beginning and the frames) is computed once and shared by all of its questions.
type Engine struct {
	Deps
	shape    Shape
	maxBatch int
	prompt   *prompt.Template
	notes    *notes.Model // nil: answers are free

	submit chan *request
	quit   chan struct{}
	close  sync.Once
	ended  chan struct{} // closed when the scheduler has returned
	fault  error         // of the backend's Close; read after ended

	life sync.RWMutex // held by users of the vocabulary, which ends with the backend
	shut bool

	watcher atomic.Pointer[func(Step)]

	prefixes, steps, widest, used, sequences, promised, busy, computing atomic.Int64
}

// Stats counts what the engine has done since it was opened, and what it holds.
type Stats struct {
	Prefixes int64 // windows whose prefix was computed
	Steps    int64 // calls of the backend
	Widest   int64 // most answers decoded in one step
	// Busy is the time spent with requests in hand, and Computing that part of it which the backend took. What is between
	// them is scheduling and choosing tokens.
	Busy, Computing time.Duration
	// What is held when the last request ended: positions in the backend, sequences, and positions promised to requests.
	// All are 0 when no request is in hand.
	Used, Sequences, Promised int64
}

// Step is what one call of the backend was for.
type Step struct {
	// Answers is how many answers it gave a token each, apart from the first tokens of answers, which come with their prompts.
	Answers int
	// Shared and Own are rows of prompts that it read: of windows' prefixes, and of questions.
	Shared, Own int
}

// Watch lets f see every step from the next one on: when the backend is done with it, and before any of its answers ends. f is called from
// one goroutine, and must return at once; nil watches no more.
func (e *Engine) Watch(f func(Step)) {
	if f == nil {
		e.watcher.Store(nil)
		return
	}
	e.watcher.Store(&f)
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	return Stats{
		Prefixes: e.prefixes.Load(), Steps: e.steps.Load(), Widest: e.widest.Load(),
		Busy: time.Duration(e.busy.Load()), Computing: time.Duration(e.computing.Load()),
		Used: e.used.Load(), Sequences: e.sequences.Load(), Promised: e.promised.Load(),
	}
}

var (
	_ contract.Engine      = (*Engine)(nil)
	_ contract.Constrainer = (*Engine)(nil)
	_ contract.Scorer      = (*Engine)(nil)
)

// New starts the scheduler on a backend. It closes the backend if it returns an error.
func New(cfg Config, d Deps) (*Engine, error) {
	if d.Backend == nil || d.Vocabulary == nil {
		return nil, errors.New("opening the decoder: a dependency is missing")
	}
	e, err := newEngine(cfg, d)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder: %w", errors.Join(err, d.Backend.Close()))
	}
	go func() {
		if cfg.OwnThread {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		}
		e.run()
	}()
	return e, nil
}

func newEngine(cfg Config, d Deps) (*Engine, error) {
	shape := d.Backend.Shape()
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = DefaultBatch
	}
	switch {
	case d.Vocabulary.Size() != shape.Vocab:
		return nil, fmt.Errorf("the tokenizer has %d tokens but the model has %d; they do not belong together", d.Vocabulary.Size(), shape.Vocab)
	case shape.Positions < shape.Context:
		return nil, fmt.Errorf("a budget of %d positions cannot hold one context of %d", shape.Positions, shape.Context)
	case cfg.MaxBatch < 1 || cfg.MaxBatch >= shape.Sequences:
		return nil, fmt.Errorf("max_batch %d must be between 1 and %d", cfg.MaxBatch, shape.Sequences-1)
	}
	p, err := prompt.New(cfg.Prompt, d.Vocabulary)
	if err != nil {
		return nil, err
	}
	var sheet *notes.Model
	if cfg.Notes != nil {
		if sheet, err = notes.New(cfg.Notes, d.Vocabulary, p.StopTokens()); err != nil {
			return nil, err
		}
		if !p.EndsAudio() {
			return nil, errors.New("reading the prompt: notes stand behind the token that ends the audio, and prompt.suffix begins with none")
		}
	}
	return &Engine{
		Deps: d, shape: shape, maxBatch: cfg.MaxBatch, prompt: p, notes: sheet,
		submit: make(chan *request), quit: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// Close ends the requests in hand with contract.ErrClosed.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.quit) })
	<-e.ended
	return e.fault
}

// Constrains implements contract.Constrainer.
func (e *Engine) Constrains(schema string) bool {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.Grammars == nil || e.shut {
		return false
	}
	c, err := e.Grammars.Constrain(schema)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Answer implements contract.Engine. A question that does not fit into the context gets contract.ErrPromptTooLong.
func (e *Engine) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	if err := contract.CheckSoft(req.Soft, e.shape.Hidden); err != nil {
		return nil, err
	}
	if req.Schema != "" && e.Grammars == nil {
		return nil, fmt.Errorf("answering in the form %q: %w", req.Schema, contract.ErrSchema)
	}
	r, results, err := e.prepare(ctx, req)
	if err != nil || len(r.answers) == 0 {
		return results, err
	}
	if err := e.serve(r); err != nil {
		return nil, err
	}
	return results, nil
}

// serve hands a request to the scheduler and waits for its end.
func (e *Engine) serve(r *request) error {
	select {
	case e.submit <- r:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-e.quit:
		return contract.ErrClosed
	}
	<-r.done // the scheduler ends every request it has taken, at the latest one step after ctx ends
	return r.err
}

// prepare turns questions into tokens. Those that cannot be answered have their error in their result.
func (e *Engine) prepare(ctx context.Context, req contract.Request) (*request, []contract.Result, error) {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.shut {
		return nil, nil, contract.ErrClosed
	}
	results := make([]contract.Result, len(req.Questions))
	lead, systemErr := e.prompt.PrefixFor(req.System)
	r := &request{ctx: ctx, engine: req, came: time.Now(), lead: lead, prefix: None, done: make(chan struct{})}
	for i, q := range req.Questions {
		results[i].Index = q.Index
		a, err := e.newAnswer(r, &results[i], q)
		if err = errors.Join(systemErr, err); err != nil {
			results[i].Err = err
			continue
		}
		r.answers = append(r.answers, a)
	}
	return r, results, nil
}

// noted is the number of positions behind the frames that a window's questions share: the token that ends the audio, and the notes.
func (e *Engine) noted() int {
	if e.notes == nil {
		return 0
	}
	return 1 + e.notes.Length()
}

// newAnswer prepares a question, or says why it cannot be answered.
func (e *Engine) newAnswer(r *request, result *contract.Result, q contract.Question) (*answer, error) {
	ids, err := e.prompt.After(q.Text, q.History...)
	if err != nil {
		return nil, err
	}
	before := r.before()
	if err := e.prompt.CheckSplice(r.engine.Soft.Rows, len(r.lead), before, ids); err != nil {
		return nil, err
	}
	if e.notes != nil {
		ids = ids[1:] // the token that ends the audio stands before the notes
	}
	result.PromptTokens, result.AudioTokens = before+e.noted()+len(ids), r.engine.Soft.Rows
	room := e.shape.Context - result.PromptTokens
	if room < 1 {
		return nil, fmt.Errorf("%w: %d positions with %d frames, the model's context is %d", contract.ErrPromptTooLong, result.PromptTokens, r.engine.Soft.Rows, e.shape.Context)
	}
	limit := min(e.prompt.MaxTokens(), room)
	if n := r.engine.Decode.MaxTokens; n > 0 {
		limit = min(limit, n)
	}
	stops := e.prompt.StopTexts()
	if r.engine.Schema != "" {
		stops = nil // a form ends by itself, and may hold any text
	}
	s := newSampler(r.engine.Decode, q.Index)
	s.saw(e.prompt.Seen()...)
	s.saw(r.lead...)
	s.saw(ids...)
	return &answer{
		request: r, result: result, question: q.Text, prompt: ids, limit: limit, seq: None,
		sampler: s, text: prompt.NewText(tokenizer.NewStream(e.Vocabulary), stops),
	}, nil
}
