package schedule

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// scheduler is the state of the engine's one goroutine, the only one that calls the backend.
type scheduler struct {
	*Engine
	free    int        // positions not promised to anyone
	seqs    []int      // sequences not in use
	waiting *turns     // requests without a share of the budget
	held    []*request // all with a share
	turns   *turns     // requests with something to begin
	reading []*reading
	active  []*answer // being decoded
}

// run serves until Close: take what has come, let go of what was cancelled, begin prompts, go one step on.
func (e *Engine) run() {
	defer close(e.ended)
	s := &scheduler{Engine: e, free: e.shape.Positions, waiting: newTurns(), turns: newTurns()}
	for seq := range e.shape.Sequences {
		s.seqs = append(s.seqs, seq)
	}
	for s.take() {
		began := time.Now()
		s.dropEnded()
		s.grant()
		s.begin()
		s.step(began)
	}
	for _, r := range s.inHand() {
		s.end(r, contract.ErrClosed)
	}
	e.life.Lock()
	defer e.life.Unlock()
	e.shut = true
	e.fault = e.Backend.Close()
}

func (s *scheduler) inHand() []*request {
	list := slices.Clone(s.held)
	for _, j := range s.waiting.jobs {
		list = append(list, j.requests...)
	}
	return list
}

// take moves submitted requests to waiting, and blocks for one when there is nothing to do. It is false after Close.
func (s *scheduler) take() bool {
	if len(s.inHand()) == 0 {
		select {
		case r := <-s.submit:
			s.admit(r)
		case <-s.quit:
			return false
		}
	}
	for {
		select {
		case r := <-s.submit:
			s.admit(r)
		case <-s.quit:
			return false
		default:
			return true
		}
	}
}

func (s *scheduler) admit(r *request) {
	r.share = r.before() + s.noted() + r.largest()
	s.waiting.add(r)
}

// dropEnded ends the requests whose context has ended.
func (s *scheduler) dropEnded() {
	for _, r := range s.inHand() {
		if r.ctx.Err() != nil {
			s.end(r, context.Cause(r.ctx))
		}
	}
}

// grant gives waiting requests their share of the budget, the jobs in turn: a large one is not overtaken. With the share
// comes a sequence for the prefix; the remaining sequences are enough for a full batch of answers.
func (s *scheduler) grant() {
	for len(s.held) < s.shape.Sequences-s.maxBatch {
		r := s.waiting.next()
		if r == nil || r.share > s.free {
			return
		}
		s.waiting.take()
		s.waiting.count(r.engine.Job, 1)
		s.free -= r.share
		s.held = append(s.held, r)
		s.turns.add(r)
	}
}

// begin starts prefixes and questions, the jobs in turn, while there is room in batch and budget and less than one
// piece waits to be read.
func (s *scheduler) begin() {
	var aside []*request
	for len(s.active)+len(s.reading) < s.maxBatch && s.unread() < s.shape.Chunk {
		r := s.turns.take()
		if r == nil {
			break
		}
		if r.prefix != None && !s.reserve(r.answers[r.next]) {
			aside = append(aside, r)
			continue
		}
		if err := s.start(r); err != nil {
			s.end(r, err)
		}
	}
	for _, r := range aside {
		s.turns.again(r)
	}
}

func (s *scheduler) unread() int {
	n := 0
	for _, r := range s.reading {
		n += r.rows(s.shape.Hidden)
	}
	return n
}

// reserve takes the positions of an answer: from its request's share if they are free, else from the rest.
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

// start begins the prefix of a request, or if that has been read its next question.
func (s *scheduler) start(r *request) error {
	if r.prefix == None {
		return s.startPrefix(r)
	}
	a := r.answers[r.next]
	a.result.Began = time.Now()
	if r.next == 0 {
		a.result.Began = r.began
	}
	r.next++
	r.running++
	s.turns.count(r.engine.Job, 1)
	if r.next < len(r.answers) {
		s.turns.add(r)
	}
	if err := s.constrain(a); err != nil {
		return fmt.Errorf("constraining an answer: %w", err)
	}
	a.seq = s.sequence()
	if err := s.Backend.Open(a.seq, r.prefix, a.room()); err != nil {
		return err
	}
	s.reading = append(s.reading, &reading{
		request: r, answer: a, pieces: cut(a.seq, a.prompt, nil, s.shape.Hidden, s.shape.Chunk, true),
	})
	return nil
}

// constrain holds an answer to the form asked for, or to what the window's notes allow.
func (s *scheduler) constrain(a *answer) (err error) {
	switch r := a.request; {
	case a.given != nil:
	case r.engine.Schema != "":
		a.constraint, err = s.Grammars.Constrain(r.engine.Schema)
	case r.notes != nil:
		a.constraint, err = r.notes.Constrain(a.question)
	}
	return err
}

func (s *scheduler) startPrefix(r *request) error {
	r.began, r.prefix = time.Now(), s.sequence()
	s.turns.count(r.engine.Job, 1)
	r.running++
	if err := s.Backend.Open(r.prefix, None, r.before()+s.noted()); err != nil {
		return err
	}
	pieces := cut(r.prefix, r.lead, r.engine.Soft.Data, s.shape.Hidden, s.shape.Chunk, false)
	if s.notes != nil {
		r.notes = s.notes.Begin()
		begin := []int{s.prompt.AudioEnd(), s.notes.First()}
		pieces = append(pieces, cut(r.prefix, begin, nil, s.shape.Hidden, s.shape.Chunk, true)...)
	}
	s.reading = append(s.reading, &reading{request: r, pieces: pieces})
	return nil
}

func (s *scheduler) sequence() int {
	seq := s.seqs[len(s.seqs)-1]
	s.seqs = s.seqs[:len(s.seqs)-1]
	return seq
}

// release gives an answer's positions and sequence back. Releasing it twice does nothing.
func (s *scheduler) release(a *answer) {
	s.active = without(s.active, a)
	s.drop(a.seq)
	a.seq = None
	s.free += a.extra
	a.extra = 0
	if a.lane {
		a.lane, a.request.laneBusy = false, false
	}
	if a.constraint != nil {
		a.constraint.Close()
		a.constraint = nil
	}
}

func (s *scheduler) drop(seq int) {
	if seq != None {
		s.Backend.Free(seq)
		s.seqs = append(s.seqs, seq)
	}
}

// end lets go of a request and wakes its caller. Ending it twice does nothing.
func (s *scheduler) end(r *request, err error) {
	select {
	case <-r.done:
		return
	default:
	}
	s.reading = slices.DeleteFunc(s.reading, func(x *reading) bool { return x.request == r })
	for _, a := range r.answers {
		s.release(a)
	}
	s.turns.count(r.engine.Job, -r.running)
	r.running = 0
	s.drop(r.prefix)
	r.prefix = None
	if slices.Contains(s.held, r) {
		s.held = without(s.held, r)
		s.free += r.share
		s.waiting.count(r.engine.Job, -1)
	}
	s.waiting.drop(r)
	s.turns.drop(r)
	r.err = err
	s.observe()
	close(r.done)
}

// observe notes what is held, before the caller of a request that has ended can ask.
func (s *scheduler) observe() {
	s.used.Store(int64(s.Backend.Used()))
	s.sequences.Store(int64(s.shape.Sequences - len(s.seqs)))
	s.promised.Store(int64(s.shape.Positions - s.free))
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
