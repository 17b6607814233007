package event_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/alloctest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// broken is the record of a window with two questions, changed so that Decode refuses it.
func broken(t *testing.T, change func(*eventpb.Task, *event.Record)) event.Record {
	t.Helper()
	hash := strings.Repeat("ab", 32)
	task := &eventpb.Task{
		JobId: "job-1", Track: &eventpb.Track{Sha256: hash},
		Window:    &eventpb.Window{Index: 3, Hash: hash, BlobKey: event.PCMKey(hash), Span: &eventpb.Span{EndS: 25}},
		Questions: []*eventpb.Question{{Index: 0, Text: "a?"}, {Index: 1, Text: "b?"}},
	}
	rec, err := event.Encode("test", &eventpb.WindowReady{Task: task})
	require.NoError(t, err)
	change(task, &rec)
	return rec
}

func revalue(t *testing.T, task *eventpb.Task, rec *event.Record) {
	t.Helper()
	var err error
	rec.Value, err = proto.MarshalOptions{Deterministic: true}.Marshal(&eventpb.WindowReady{Task: task})
	require.NoError(t, err)
}

func TestEveryRefusedRecordThatNamesAJobEndsItsQuestions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change    func(*eventpb.Task, *event.Record)
		err       error
		questions int
		window    bool // the outcome is of the window; else it stands for the whole job
		unknown   bool // the questions are not known
	}{
		"breaks a rule": {
			change: func(task *eventpb.Task, rec *event.Record) { task.Window.BlobKey = "elsewhere"; revalue(t, task, rec) },
			err:    event.ErrInvalid, questions: 2, window: true,
		},
		"a deadline of the year 10000": {
			change: func(task *eventpb.Task, rec *event.Record) {
				task.DeadlineUnixMs = 253402300800000
				revalue(t, task, rec)
			},
			err: event.ErrInvalid, questions: 2, window: true,
		},
		"a window that hears NaN": {
			change: func(task *eventpb.Task, rec *event.Record) { task.Window.HeardS = math.NaN(); revalue(t, task, rec) },
			err:    event.ErrInvalid, questions: 2,
		},
		"window out of range": {
			change: func(task *eventpb.Task, rec *event.Record) {
				task.Window.Index = event.MaxWindows + 1
				revalue(t, task, rec)
			},
			err: event.ErrInvalid, questions: 2,
		},
		"questions twice and out of range": {
			change: func(task *eventpb.Task, rec *event.Record) {
				task.Questions = append(task.Questions, &eventpb.Question{Index: 1, Text: "again"}, &eventpb.Question{Index: 1 << 20})
				revalue(t, task, rec)
			},
			err: event.ErrInvalid, questions: 2, window: true,
		},
		"job id only in the subject": {
			change: func(task *eventpb.Task, rec *event.Record) { task.JobId = "no id/"; revalue(t, task, rec) },
			err:    event.ErrInvalid, questions: 2, window: true,
		},
		"newer version": {
			change: func(_ *eventpb.Task, rec *event.Record) {
				*rec = rec.With(event.HeaderType, "larkstream.window.ready.v2")
			},
			err: event.ErrNewer, questions: 2, window: true,
		},
		"damaged behind the task": {
			change: func(_ *eventpb.Task, rec *event.Record) { rec.Value = append(rec.Value, 0xff) },
			err:    event.ErrUndecodable, questions: 2, window: true,
		},
		"cut inside the task": {
			change: func(task *eventpb.Task, rec *event.Record) {
				rec.Value = rec.Value[:len(rec.Value)-2]
			},
			err: event.ErrUndecodable, questions: 1, unknown: true,
		},
		"nothing readable": {
			change: func(_ *eventpb.Task, rec *event.Record) { rec.Value = []byte{0xff, 0xff} },
			err:    event.ErrUndecodable, questions: 1, unknown: true,
		},
		"unknown type": {
			change: func(_ *eventpb.Task, rec *event.Record) { *rec = rec.With(event.HeaderType, "strange.v9") },
			err:    event.ErrUndecodable, questions: 1, unknown: true,
		},
		"too large": {
			change: func(_ *eventpb.Task, rec *event.Record) { rec.Value = make([]byte, event.MaxValueBytes+1) },
			err:    event.ErrUndecodable, questions: 1, unknown: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := broken(t, tc.change)
			_, err := event.Decode(rec)
			require.ErrorIs(t, err, tc.err)
			require.ErrorIs(t, err, event.ErrUndecodable)
			outcomes, err := event.FailedOutcomes("test", rec, event.Failure{Code: "code", Message: "why"})
			require.NoError(t, err)
			require.Len(t, outcomes, tc.questions)
			for i, rec := range outcomes {
				o, err := event.DecodeAs[*eventpb.Outcome](rec)
				require.NoError(t, err)
				require.Equal(t, "job-1", o.GetJobId())
				require.EqualValues(t, i, o.GetQuestion().GetIndex())
				require.Equal(t, eventpb.State_STATE_FAILED, o.GetState())
				require.Equal(t, tc.window, o.GetWindow().GetHash() != "")
				require.Equal(t, tc.unknown, o.GetQuestion().GetText() == "")
			}
		})
	}
}

func TestARefusedJobIsPlannedAndEnded(t *testing.T) {
	t.Parallel()
	job := &eventpb.Job{
		JobId: "job-1", Audio: &eventpb.Audio{Sha256: strings.Repeat("ab", 32)}, Plan: 99,
		Questions: []*eventpb.Question{{Text: "a?"}, {Index: 1, Text: "b?"}},
	}
	value, err := proto.Marshal(job)
	require.NoError(t, err)
	outcomes, err := event.FailedOutcomes("test", event.Record{Value: value}.With(event.HeaderType, event.TypeJob), event.Failure{Code: "code"})
	require.NoError(t, err)
	require.Len(t, outcomes, 3)
	plan, err := event.DecodeAs[*eventpb.JobPlan](outcomes[0])
	require.NoError(t, err)
	require.EqualValues(t, 2, plan.GetQuestions())

	unreadable := event.Record{Value: []byte{0xff}}.With(event.HeaderType, event.TypeJob).With(event.HeaderSubject, "job-1")
	outcomes, err = event.FailedOutcomes("test", unreadable, event.Failure{Code: "code"})
	require.NoError(t, err)
	require.Len(t, outcomes, 1, "no plan: nobody knows how many questions there are")
	require.Equal(t, event.TypeOutcome, outcomes[0].Get(event.HeaderType))
}

func TestARefusedRecordWithoutAJobEndsNothing(t *testing.T) {
	t.Parallel()
	for _, rec := range []event.Record{
		{},
		event.Record{}.With(event.HeaderSubject, "no/id"),
		event.Record{Value: []byte{0xff}}.With(event.HeaderType, event.TypeOutcome).With(event.HeaderSubject, "job-1"),
		event.Record{Value: []byte{0xff}}.With(event.HeaderType, event.TypeControl).With(event.HeaderSubject, "job-1"),
	} {
		outcomes, err := event.FailedOutcomes("test", rec, event.Failure{Code: "code"})
		require.NoError(t, err)
		require.Empty(t, outcomes)
	}
}

// Whatever the bytes are, what is salvaged can be encoded.
func FuzzFailedOutcomes(f *testing.F) {
	for _, typ := range []string{event.TypeJob, event.TypeWindowReady, "larkstream.prompt.ready.v7", ""} {
		f.Add(typ, "job-1", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "job"))
	}
	f.Fuzz(func(t *testing.T, typ, subject string, value []byte) {
		rec := event.Record{Value: value}.With(event.HeaderType, typ).With(event.HeaderSubject, subject)
		alloctest.Bound(t, len(value)+len(subject), 64<<10, 1000, func() {
			_, err := event.FailedOutcomes("test", rec, event.Failure{Code: "code", Message: "why"})
			require.NoError(t, err)
		})
	})
}
