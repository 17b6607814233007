package schedule

import (
	"errors"
	"slices"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// step decodes one token of every active answer and reads the next pieces of prompts, all as one batch. The preparations
// for it began at since.
func (s *scheduler) step(since time.Time) {
	decoding := slices.Clone(s.active)
	var rows []Rows
	for _, a := range decoding {
		rows = append(rows, Rows{Seq: a.seq, Tokens: []int{a.token}, Scores: true})
	}
	readers, pieces := s.nextPieces()
	rows = append(rows, pieces...)
	if len(rows) == 0 {
		return
	}
	began := time.Now()
	scores, err := s.Backend.Extend(rows)
	ended := time.Now()
	took := ended.Sub(began)
	s.steps.Add(1)
	s.computing.Add(int64(took))
	s.busy.Add(int64(ended.Sub(since))) // before a request ends, whose caller may ask for it
	defer func() { s.busy.Add(int64(time.Since(ended))) }()
	s.widest.Store(max(s.widest.Load(), int64(len(decoding))))
	s.show(len(decoding), readers, pieces)
	if err != nil {
		s.fail(decoding, readers, err)
		return
	}
	for i, a := range decoding {
		s.accept(a, scores[i])
	}
	done := len(decoding)
	for _, r := range readers {
		done += r.taken
		r.took += took
		if len(r.pieces) == 0 {
			s.finishReading(r, scores[done-1])
		}
	}
}

// show tells the watcher of a step.
func (s *scheduler) show(answers int, readers []*reading, pieces []Rows) {
	watch := s.watcher.Load()
	if watch == nil {
		return
	}
	step := Step{Answers: answers}
	for _, r := range readers {
		rows := 0
		for _, p := range pieces[:r.taken] {
			rows += p.rows(s.shape.Hidden)
		}
		if pieces = pieces[r.taken:]; r.answer == nil {
			step.Shared += rows
		} else {
			step.Own += rows
		}
	}
	(*watch)(step)
}

// nextPieces takes pieces of the prompts being read, first come first served, until one chunk of rows is reached.
func (s *scheduler) nextPieces() (readers []*reading, pieces []Rows) {
	rows := 0
	for _, r := range s.reading {
		r.taken = 0
		for len(r.pieces) > 0 && rows < s.shape.Chunk {
			rows += r.pieces[0].rows(s.shape.Hidden)
			pieces, r.pieces = append(pieces, r.pieces[0]), r.pieces[1:]
			r.taken++
		}
		if r.taken > 0 {
			readers = append(readers, r)
		}
	}
	return readers, pieces
}

// fail ends the requests that a failed step was for.
func (s *scheduler) fail(decoding []*answer, readers []*reading, err error) {
	for _, a := range decoding {
		s.end(a.request, err)
	}
	for _, r := range readers {
		s.end(r.request, err)
	}
}

// finishReading goes on after the last piece of a prompt: the questions of a prefix may begin, an answer has its first scores.
func (s *scheduler) finishReading(r *reading, scores []float32) {
	s.reading = without(s.reading, r)
	if r.answer == nil {
		if s.note(r, scores) {
			return
		}
		s.prefixes.Add(1)
		r.request.took = r.took
		r.request.running--
		s.turns.count(r.request.engine.Job, -1)
		s.turns.again(r.request)
		return
	}
	a := r.answer
	a.decodes = time.Now()
	a.result.Prefill = r.request.took + r.took
	s.active = append(s.active, a)
	s.accept(a, scores)
}

// note takes the next value of the window's notes and lets the decoder read it. It is false when there is nothing more to take and to read.
func (s *scheduler) note(r *reading, scores []float32) bool {
	notes := r.request.notes
	if notes == nil || notes.Done() {
		return false
	}
	tokens, err := notes.Take(scores)
	if err != nil {
		s.end(r.request, err)
		return true
	}
	r.pieces = cut(r.request.prefix, tokens, nil, s.shape.Hidden, s.shape.Chunk, !notes.Done())
	s.reading = append(s.reading, r)
	return true
}

// accept chooses the next token of an answer and finishes the answer if it is the last.
func (s *scheduler) accept(a *answer, scores []float32) {
	if a.given != nil {
		s.follow(a, scores)
		return
	}
	id, err := a.sampler.choose(scores, a.constraint)
	if err != nil {
		s.finish(a, "", err)
		return
	}
	if a.result.FirstToken == 0 {
		a.result.FirstToken = time.Since(a.request.came)
	}
	if s.prompt.Stops(id) {
		s.finish(a, contract.FinishStop, nil)
		return
	}
	a.token = id
	a.sampler.saw(id)
	a.result.OutputTokens++
	if a.constraint != nil {
		err = a.constraint.Accept(id)
	}
	part, stopped, textErr := a.text.Push(id)
	if err = errors.Join(err, textErr); err != nil {
		s.finish(a, "", err)
		return
	}
	a.emit(part)
	switch {
	case stopped:
		s.finish(a, contract.FinishStop, nil)
	case a.result.OutputTokens >= a.limit:
		s.finish(a, contract.FinishLength, nil)
	}
}

// finish ends one answer and gives back what it holds; the last one ends its request.
func (s *scheduler) finish(a *answer, how string, err error) {
	a.emit(a.text.End(how == contract.FinishStop))
	a.result.Finish, a.result.Err = how, err
	if said, ok := a.constraint.(interface{ Confidence() float64 }); ok && err == nil {
		a.result.Confidence = said.Confidence()
	}
	a.result.Ended = time.Now()
	a.result.Decode = a.result.Ended.Sub(a.decodes)
	r := a.request
	s.release(a)
	r.running--
	s.turns.count(r.engine.Job, -1)
	if r.running == 0 && r.next == len(r.answers) {
		s.end(r, nil)
	}
}
