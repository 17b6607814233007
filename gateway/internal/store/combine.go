package store

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/combine"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// maxQuestion bounds a question about the windows' answers, in bytes: about 2000 tokens, which leave room beside a window's frames. maxAsk bounds all
// questions of a task, which is one record.
const (
	maxQuestion = 8 << 10
	maxAsk      = 256 << 10
)

// combine writes the outcomes of the whole track once every window has its own: those of facts by rule, and those of a job in which nothing was
// answered. For what no rule combines it leaves a task for the model (docs/adr/0065-answers-of-the-whole-track.md). came is the outcome just
// recorded, or nil.
func (r *recording) combine(ctx context.Context, job *Job, rec *Recorded, came *eventpb.Outcome) error {
	at := job.Combined()
	if at < 0 || job.Recorded() < job.Expected()-job.QuestionCount || came != nil && int(came.GetWindow().GetIndex()) == at {
		return nil
	}
	windows, track, err := r.answersOf(ctx, job)
	if err != nil || windows == nil {
		return err
	}
	if rec.New == 0 { // it comes again: what was made of it then is told again too
		for _, o := range track {
			if o != nil {
				rec.Outcomes = append(rec.Outcomes, o)
			}
		}
	}
	var ask []*eventpb.Outcome
	var made []*eventpb.Outcome
	for q, answers := range windows {
		switch o := r.combined(job, answers); {
		case track[q] != nil:
		case o == nil:
			ask = append(ask, answers...)
		default:
			made = append(made, o)
		}
	}
	recorded, err := r.insertAll(ctx, job, made)
	if err != nil {
		return err
	}
	rec.Outcomes, rec.New = append(recorded.Outcomes[:recorded.New:recorded.New], rec.Outcomes...), rec.New+recorded.New
	rec.Ask = taskOf(job, ask)
	return nil
}

// answersOf are the outcomes of every question's windows, nil while one is missing, and its outcome of the whole track, nil while that is missing.
func (r *recording) answersOf(ctx context.Context, job *Job) (windows [][]*eventpb.Outcome, track []*eventpb.Outcome, err error) {
	if err := r.flush(ctx); err != nil {
		return nil, nil, err
	}
	rows, err := r.tx.QueryContext(ctx, r.tx.dialect.rebind(`SELECT record FROM outcomes WHERE job_id = ? ORDER BY window_idx, question_idx`), job.ID)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	windows, track = make([][]*eventpb.Outcome, job.QuestionCount), make([]*eventpb.Outcome, job.QuestionCount)
	found := 0
	for rows.Next() {
		o, err := scanOutcome(rows)
		if err != nil {
			return nil, nil, err
		}
		q := o.GetQuestion().GetIndex()
		if int(o.GetWindow().GetIndex()) == job.Combined() {
			track[q] = o
			continue
		}
		windows[q] = append(windows[q], o)
		found++
	}
	if err := rows.Err(); err != nil || found < job.Combined()*job.QuestionCount {
		return nil, nil, err
	}
	return windows, track, nil
}

// combined is the outcome of the whole track that follows from the windows' outcomes without the model; nil where the model must be asked.
func (r *recording) combined(job *Job, windows []*eventpb.Outcome) *eventpb.Outcome {
	answers, _ := answered(windows)
	like := windows[0]
	if len(answers) > 0 {
		like = answeredIn(windows, answers[0].Window)
	}
	o := atTrack(job, proto.CloneOf(like))
	o.Check, o.Support, o.AnswerCache, o.Timings, o.Tokens, o.Finish, o.EndedUnixMs = nil, nil, 0, nil, nil, "", millis(r.now)
	if len(answers) == 0 {
		return o // as the first window ended
	}
	if !job.CancelAsked.IsZero() {
		o.State, o.Answer, o.Error = eventpb.State_STATE_CANCELLED, "", &eventpb.Error{Code: event.CodeCancelled, Message: "job cancelled"}
		return o
	}
	if o.GetResponseSchema() == event.SchemaTags {
		if result, ok := combine.Tags(answers); ok {
			return settled(o, result)
		}
		return nil
	}
	if result, ok := combine.Facts(o.GetQuestion().GetText(), answers); ok {
		return settled(o, result)
	}
	return nil
}

// settled is an outcome with a combined answer.
func settled(o *eventpb.Outcome, r combine.Result) *eventpb.Outcome {
	o.State, o.Answer, o.Error = eventpb.State_STATE_ANSWERED, r.Text, nil
	o.Combined = &eventpb.Combined{Rule: r.Rule, Share: r.Share}
	for _, w := range r.Windows {
		o.Combined.Windows = append(o.Combined.Windows, uint32(w))
	}
	return o
}

// agreement is what an answer counts that signal processing agrees with, where another one counts 1.
const agreement = 2

// answered are the answers of windows, and the same by their stretch of the track.
func answered(windows []*eventpb.Outcome) (answers []combine.Answer, parts []combine.Part) {
	for _, o := range windows {
		if o.GetState() != eventpb.State_STATE_ANSWERED {
			continue
		}
		w := o.GetWindow()
		weight := max(w.GetHeardS(), 0.1)
		if o.GetCheck().GetAgrees() {
			weight *= agreement
		}
		answers = append(answers, combine.Answer{Window: int(w.GetIndex()), Text: o.GetAnswer(), Weight: weight})
		parts = append(parts, combine.Part{StartS: w.GetSpan().GetStartS(), EndS: w.GetSpan().GetEndS(), Text: o.GetAnswer()})
	}
	return answers, parts
}

func answeredIn(windows []*eventpb.Outcome, index int) *eventpb.Outcome {
	for _, o := range windows {
		if int(o.GetWindow().GetIndex()) == index {
			return o
		}
	}
	return nil
}

// atTrack makes an outcome one of the whole track.
func atTrack(job *Job, o *eventpb.Outcome) *eventpb.Outcome {
	o.Window, o.Cache = &eventpb.Window{Index: uint32(job.Combined())}, eventpb.Cache_CACHE_UNSPECIFIED
	if job.DurationS > 0 {
		o.Window.Span = &eventpb.Span{EndS: job.DurationS}
	}
	o.OutcomeId = event.OutcomeID(job.ID, o.GetQuestion().GetIndex(), uint32(job.Combined()))
	return o
}

// taskOf asks the model about the answers to several questions, which it does over the soft prompt of the window in their middle: the models are made
// to hear music with every question. It is nil without answers.
func taskOf(job *Job, windows []*eventpb.Outcome) *eventpb.Task {
	byQuestion := map[uint32][]*eventpb.Outcome{}
	var order []uint32
	for _, o := range windows {
		if o.GetState() != eventpb.State_STATE_ANSWERED {
			continue
		}
		q := o.GetQuestion().GetIndex()
		if byQuestion[q] == nil {
			order = append(order, q)
		}
		byQuestion[q] = append(byQuestion[q], o)
	}
	if len(order) == 0 {
		return nil
	}
	first := byQuestion[order[0]]
	middle := first[len(first)/2]
	window := proto.CloneOf(middle.GetWindow())
	window.Index, window.Measured = uint32(job.Combined()), nil // what is measured of one window says nothing of the track
	task := event.NewTask(event.NewJob(job.JobSpec), middle.GetTrack(), window)
	task.Questions, task.ModelDigest = nil, middle.GetModelDigest()
	for _, q := range order {
		_, parts := answered(byQuestion[q])
		text := combine.Question(byQuestion[q][0].GetQuestion().GetText(), parts, min(maxQuestion, maxAsk/len(order)))
		task.Questions = append(task.Questions, &eventpb.Question{Index: q, Text: text})
	}
	return task
}

// ofTrack turns what came of a question about the windows' answers into the outcome of the whole track. Where the model could not answer it, the
// windows' answers stand one behind the other.
func (r *recording) ofTrack(ctx context.Context, job *Job, o *eventpb.Outcome) ([]*eventpb.Outcome, error) {
	windows, _, err := r.answersOf(ctx, job)
	if err != nil {
		return nil, err
	}
	if int(o.GetQuestion().GetIndex()) >= len(windows) {
		return nil, nil // it came before the windows' own outcomes: nobody asked for it
	}
	own := windows[o.GetQuestion().GetIndex()]
	answers, parts := answered(own)
	o = atTrack(job, proto.CloneOf(o))
	o.Question = own[0].GetQuestion()
	if len(answers) == 0 {
		return []*eventpb.Outcome{o}, nil
	}
	result := combine.Result{Rule: combine.Model, Text: o.GetAnswer(), Share: 1}
	switch {
	case o.GetState() == eventpb.State_STATE_FAILED:
		result.Rule, result.Text = combine.Joined, combine.Join(parts, event.MaxAnswerBytes)
		o.Tokens = nil
	case o.GetState() != eventpb.State_STATE_ANSWERED:
		return []*eventpb.Outcome{o}, nil
	}
	for _, a := range answers {
		result.Windows = append(result.Windows, a.Window)
	}
	return []*eventpb.Outcome{settled(o, result)}, nil
}
