package llama

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
)

// prefillRows bounds the prompt rows that are computed between two decoding steps, so that new windows do not stall the
// answers under way. One prefix may exceed it.
const prefillRows = 128

// scheduler is the state of the engine's one goroutine.
type scheduler struct {
	*Engine
	ws      workspace
	free    int        // positions not promised to anyone
	waiting []*request // without a share of the budget, first come first served
	turns   []*request // with a share and with questions left to begin; the first is next
	held    []*request // all with a share
	active  []*answer  // being decoded
}

// run serves until Close: take what has come, let go of what was cancelled, begin questions, decode one step.
func (e *Engine) run() {
	defer close(e.ended)
	s := &scheduler{Engine: e, free: e.cfg.Positions}
	for s.take() {
		s.dropEnded()
		s.grant()
		s.begin()
		s.step()
	}
	for _, r := range append(s.waiting, s.held...) {
		r.err = engine.ErrClosed
		close(r.done)
	}
}

// take moves submitted requests to waiting, and blocks for one when there is nothing to do. It is false after Close.
func (s *scheduler) take() bool {
	if len(s.waiting)+len(s.held) == 0 {
		select {
		case r := <-s.submit:
			s.waiting = append(s.waiting, r)
		case <-s.quit:
			return false
		}
	}
	for {
		select {
		case r := <-s.submit:
			s.waiting = append(s.waiting, r)
		case <-s.quit:
			return false
		default:
			return true
		}
	}
}

// dropEnded ends the requests whose context has ended.
func (s *scheduler) dropEnded() {
	for _, r := range append(append([]*request(nil), s.waiting...), s.held...) {
		if r.ctx.Err() != nil {
			s.end(r, context.Cause(r.ctx))
		}
	}
}

// grant gives waiting requests their share of the budget, in the order they came: a large one is not overtaken.
func (s *scheduler) grant() {
	for len(s.waiting) > 0 {
		r := s.waiting[0]
		share := r.share(s.prompt)
		if share > s.free {
			return
		}
		s.free -= share
		r.granted = true
		s.waiting = s.waiting[1:]
		s.held = append(s.held, r)
		s.turns = append(s.turns, r)
	}
}

// begin starts questions, one request after the other in turn, while there is room in batch and budget.
func (s *scheduler) begin() {
	rows := 0
	for tries := len(s.turns); tries > 0 && len(s.turns) > 0 && len(s.active) < s.cfg.MaxBatch && rows < prefillRows; tries-- {
		r := s.turns[0]
		s.turns = s.turns[1:]
		a := r.answers[r.next]
		if !s.reserve(a) {
			s.turns = append(s.turns, r)
			continue
		}
		r.next++
		r.running++
		if r.next < len(r.answers) {
			s.turns = append(s.turns, r)
			tries++ // another question of it may begin in this round
		}
		rows += s.start(a)
	}
}

// reserve takes the positions of an answer: those of its request's share if they are free, else others.
func (s *scheduler) reserve(a *answer) bool {
	if !a.request.laneBusy {
		a.request.laneBusy, a.lane = true, true
		return true
	}
	if a.room() > s.free {
		return false
	}
	a.extra = a.room()
	s.free -= a.extra
	return true
}

// start computes the prefix if it is missing, then the question, and chooses the first token. It returns the rows computed.
func (s *scheduler) start(a *answer) int {
	r, rows := a.request, len(a.prompt)
	a.result.Began = time.Now()
	if r.prefix == nil {
		rows += r.prefixRoom(s.prompt)
		if err := s.prefillPrefix(r); err != nil {
			s.end(r, err)
			return rows
		}
		a.result.Began = r.began
	}
	before := time.Now()
	a.thread = &thread{prefix: r.prefix, own: s.w.newMemory(a.room())}
	hidden, err := s.w.prefill(r.ctx, &s.ws, a.thread, s.rows(a.prompt))
	if err != nil {
		s.end(r, err)
		return rows
	}
	logits := s.w.logits(&s.ws, hidden)
	a.decodes = time.Now()
	a.result.Prefill = r.took + a.decodes.Sub(before)
	s.active = append(s.active, a)
	s.accept(a, logits)
	return rows
}

// prefillPrefix computes keys and values of the prompt's beginning and the frames.
func (s *scheduler) prefillPrefix(r *request) error {
	r.began = time.Now()
	x := append(s.rows(s.prompt.prefix), r.engine.Soft.Data...)
	own := &thread{own: s.w.newMemory(r.prefixRoom(s.prompt))}
	if _, err := s.w.prefill(r.ctx, &s.ws, own, x); err != nil {
		return err
	}
	r.prefix = own.own
	s.prefixes.Add(1)
	r.took = time.Since(r.began)
	return nil
}

// rows are the embeddings of ids.
func (s *scheduler) rows(ids []int) []float32 {
	var x []float32
	for _, id := range ids {
		x = append(x, s.w.row(id)...)
	}
	return x
}

// step decodes one token of every active answer as one batch.
func (s *scheduler) step() {
	if len(s.active) == 0 {
		return
	}
	batch := append([]*answer(nil), s.active...)
	threads, tokens := make([]*thread, len(batch)), make([]int, len(batch))
	for i, a := range batch {
		threads[i], tokens[i] = a.thread, a.token
	}
	s.steps.Add(1)
	s.widest.Store(max(s.widest.Load(), int64(len(batch))))
	logits := s.w.decode(&s.ws, threads, tokens) // whoever is cancelled meanwhile leaves before the next step
	for i, a := range batch {
		s.accept(a, logits[i*s.w.Vocab:][:s.w.Vocab])
	}
}

// accept chooses the next token of an answer and finishes the answer if it is the last.
func (s *scheduler) accept(a *answer, logits []float32) {
	id, err := a.sampler.choose(logits)
	if err != nil {
		s.finish(a, "", err)
		return
	}
	if a.result.FirstToken == 0 {
		a.result.FirstToken = time.Since(a.request.came)
	}
	if s.prompt.stop[id] {
		s.finish(a, engine.FinishStop, nil)
		return
	}
	a.token = id
	a.result.OutputTokens++
	text, err := a.text.Push(id)
	if err != nil {
		s.finish(a, "", err)
		return
	}
	a.emit(text)
	if a.result.OutputTokens >= a.limit {
		s.finish(a, engine.FinishLength, nil)
	}
}

// finish ends one answer and gives its positions back; the last one ends its request.
func (s *scheduler) finish(a *answer, how string, err error) {
	a.emit(a.text.Flush())
	a.result.Finish, a.result.Err = how, err
	a.result.Ended = time.Now()
	a.result.Decode = a.result.Ended.Sub(a.decodes)
	r := a.request
	s.active = without(s.active, a)
	s.release(a)
	r.running--
	if r.running == 0 && r.next == len(r.answers) {
		s.end(r, nil)
	}
}

// release gives an answer's positions back.
func (s *scheduler) release(a *answer) {
	s.free += a.extra
	a.extra = 0
	if a.lane {
		a.lane, a.request.laneBusy = false, false
	}
}

// end lets go of a request and wakes its caller. Ending it twice does nothing.
func (s *scheduler) end(r *request, err error) {
	select {
	case <-r.done:
		return
	default:
	}
	for _, a := range r.answers {
		s.release(a)
		s.active = without(s.active, a)
	}
	if r.granted {
		s.free += r.share(s.prompt)
	}
	s.waiting, s.held, s.turns = without(s.waiting, r), without(s.held, r), without(s.turns, r)
	r.prefix, r.err = nil, err
	close(r.done)
}

// without is list without v, in a new slice.
func without[T comparable](list []T, v T) []T {
	var out []T
	for _, x := range list {
		if x != v {
			out = append(out, x)
		}
	}
	return out
}
