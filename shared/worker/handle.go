package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

// Emitter sends events without waiting, best effort. A *kafka.Producer is one.
type Emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// Step is what all records of one stage have in common.
type Step struct {
	// Stage is the stage's name in records, topics, metrics and progress.
	Stage string
	// Bundle is the model that this instance serves.
	Bundle *model.Bundle
	// Model is the display name of that model in outcomes.
	Model string
	// Key gives the key under which this model stores what a record of the stage refers to, for the hash of a window. It is nil for a stage
	// whose records refer to nothing that a model made.
	Key func(windowHash string) string
	// Events takes progress.
	Events Emitter
	// Watched tells whether somebody streams the job; nil says so of every job.
	Watched func(jobID string) bool
}

// Validate refuses a step that lacks something.
func (s Step) Validate() error {
	if s.Stage == "" || s.Bundle == nil || s.Model == "" || s.Events == nil {
		return errors.New("making a step: stage, bundle, model and events are needed")
	}
	return nil
}

// Outbound is a message for another topic than the one its type usually travels on, such as a window that goes back to be cut again. A
// handler returns it as one of its messages.
type Outbound struct {
	proto.Message
	// Topic is where the message goes, in its lane; "" is the topic of its type.
	Topic string
	// Back is set for a window that goes back because its data is not there, see sendBack.
	Back bool
}

// errOtherType says that a handler does not take messages of this type.
var errOtherType = errors.New("unexpected type of message")

// Handle makes a stage's handler of a function on messages of type M:
//
//   - A record with another type of message is undecodable: it ends as a dead letter.
//   - A record made for another model is put back until an instance that serves that model takes it; after ten minutes its questions end as
//     model_mismatch (see stage.OtherModel). A record is for another model if it names the digest of one, or if its key is not the one under
//     which this model stores the data: models are never mixed, and while a new model is rolled out both kinds of record are about. A record
//     without a digest is for whichever model there is.
//   - Errors of the function go to the runner as they are; its messages are encoded, each for the topic of its type or for that of an
//     Outbound.
//
// The message belongs to the function, which may change it.
func Handle[M proto.Message](s Step, f func(ctx context.Context, msg M) ([]proto.Message, error)) stage.Handler {
	return func(ctx context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
		m, ok := msg.(M)
		if !ok {
			return nil, fmt.Errorf("%w: %w: ce_type %.80q on %s", event.ErrUndecodable, errOtherType, rec.Get(event.HeaderType), rec.Topic)
		}
		scope, err := event.KeyScope(rec)
		if err != nil {
			return nil, stage.Permanent(event.CodeInvalidRecord, err)
		}
		ctx = withScope(ctx, scope)
		if s.foreign(ctx, msg) {
			return nil, stage.OtherModel(rec, s.Model)
		}
		out, err := f(ctx, m)
		if err != nil {
			return nil, err
		}
		return s.encode(rec, out)
	}
}

// OneOf hands each record to the first handler that takes its type of message, for a topic that carries several types.
func OneOf(handlers ...stage.Handler) stage.Handler {
	return func(ctx context.Context, rec event.Record, msg proto.Message) (out []event.Record, err error) {
		for _, h := range handlers {
			if out, err = h(ctx, rec, msg); !errors.Is(err, errOtherType) {
				break
			}
		}
		return out, err
	}
}

// foreign tells whether a message is for another model than this instance serves.
func (s Step) foreign(ctx context.Context, msg proto.Message) bool {
	digest := ""
	switch m := msg.(type) {
	case interface{ GetModelDigest() string }:
		digest = m.GetModelDigest()
	case interface{ GetTask() *eventpb.Task }:
		digest = m.GetTask().GetModelDigest()
	}
	if digest != "" && digest != s.Bundle.Digest {
		return true
	}
	m, ok := msg.(interface {
		GetTask() *eventpb.Task
		GetKey() string
	})
	return ok && s.Key != nil && m.GetKey() != Scoped(ctx, s.Key(m.GetTask().GetWindow().GetHash()))
}

// encode makes the records of a handler's messages. What comes of a window that was sent back remembers how often.
func (s Step) encode(in event.Record, msgs []proto.Message) ([]event.Record, error) {
	hops := hopsOf(in)
	out := make([]event.Record, 0, len(msgs))
	for _, msg := range msgs {
		o, ok := msg.(Outbound)
		if ok {
			msg = o.Message
		}
		rec, err := event.Encode(s.Stage, msg)
		if err != nil {
			return nil, err
		}
		if o.Topic != "" {
			rec.Topic = event.InLane(o.Topic, rec.Get(event.HeaderLane))
		}
		switch {
		case o.Back:
			if rec, err = sendBack(rec, hops+1); err != nil {
				return nil, err
			}
		case hops > 0:
			rec = rec.With(event.HeaderHops, strconv.Itoa(hops))
		}
		out = append(out, rec)
	}
	return out, nil
}

// Timed does the work of the stage on a task. It tells the job's watchers that the work starts and, if work succeeds, that it is done and how
// long it took, in milliseconds, which it returns. work may add to the last report.
func (s Step) Timed(ctx context.Context, task *eventpb.Task, work func(done *eventpb.Progress) error) (ms float64, err error) {
	begun := time.Now()
	s.Report(ctx, task, &eventpb.Progress{Status: event.StatusStarted})
	done := &eventpb.Progress{Status: event.StatusDone}
	if err := work(done); err != nil {
		return 0, err
	}
	done.Ms = Milliseconds(time.Since(begun))
	s.Report(ctx, task, done)
	return done.GetMs(), nil
}

// Report tells the job's watchers about the task. The report is of this stage unless it names another; the window is the task's. Nothing
// depends on it.
func (s Step) Report(ctx context.Context, task *eventpb.Task, p *eventpb.Progress) {
	if p.GetStage() == "" {
		p.Stage = s.Stage
	}
	p.WindowIndex = task.GetWindow().GetIndex()
	s.Tell(ctx, &eventpb.Event{JobId: task.GetJobId(), Body: &eventpb.Event_Progress{Progress: p}})
}

// Tell sends an event, dated now, to the job's watchers. An event that cannot be encoded is not sent; Tell says whether it was.
func (s Step) Tell(ctx context.Context, e *eventpb.Event) bool {
	e.AtUnixMs = time.Now().UnixMilli()
	rec, err := event.Encode(s.Stage, e)
	if err != nil {
		return false
	}
	s.Events.Emit(ctx, rec)
	return true
}

// Timings returns the task's timings, which it makes if there are none.
func Timings(task *eventpb.Task) *eventpb.Timings {
	if task.Timings == nil {
		task.Timings = &eventpb.Timings{}
	}
	return task.Timings
}

// Milliseconds is a duration as it stands in records.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
