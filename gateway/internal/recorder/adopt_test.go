package recorder_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/recorder"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

func fedJob(id string) *eventpb.Job {
	sum := strings.Repeat("ab", 32)
	return &eventpb.Job{
		JobId: id, Audio: &eventpb.Audio{Sha256: sum, BlobKey: event.AudioKey(sum), SizeBytes: 7, Name: "song.wav"},
		Questions: []*eventpb.Question{{Index: 1, Text: "second"}, {Index: 0, Text: "first"}},
		Plan:      eventpb.PlanMode_PLAN_MODE_EXPLICIT, Spans: []*eventpb.Span{{StartS: 1, EndS: 20}},
		Decode: &eventpb.Decode{Seed: 3}, CreatedUnixMs: 1_790_000_000_000, ResponseSchema: event.SchemaTags,
	}
}

// newAdopter is a recorder that takes up jobs of other producers; pending is how many it has not been given yet.
func newAdopter(t *testing.T, s recorder.Store, pending func() (int64, error)) (*recorder.Recorder, *tally) {
	t.Helper()
	m := newTally()
	r, err := recorder.New(recorder.Deps{
		Store: s, Metrics: m, Log: slog.New(slog.DiscardHandler), JobsPending: func(context.Context) (int64, error) { return pending() },
	})
	require.NoError(t, err)
	return r, m
}

func TestAdoptsAJobOnce(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	r, m := newAdopter(t, s, func() (int64, error) { return 0, nil })
	for range 2 {
		out, err := stagetest.Handle(t.Context(), r.Handle, encode(t, fedJob("fed")))
		require.NoError(t, err)
		require.Empty(t, out)
	}
	job, err := s.Get(t.Context(), "fed")
	require.NoError(t, err)
	require.Equal(t, []string{"first", "second"}, job.Questions)
	require.Equal(t, event.PlanExplicit, job.Plan)
	require.Equal(t, []event.Span{{StartS: 1, EndS: 20}}, job.Spans)
	require.Equal(t, uint64(3), job.Decode.Seed)
	require.Equal(t, event.SchemaTags, job.ResponseSchema)
	require.Equal(t, "song.wav", job.Audio.Name)

	for _, rec := range answers(t, "fed", 1, 2) {
		_, err := stagetest.Handle(t.Context(), r.Handle, rec)
		require.NoError(t, err)
	}
	job, err = s.Get(t.Context(), "fed")
	require.NoError(t, err)
	require.Equal(t, store.Succeeded, job.State)
	require.Empty(t, m.strays)
	require.Equal(t, 1, m.accepted, "the metric of accepted jobs counts it, once")
}

// TestAJobFedAgainAfterItsEndIsStopped: its questions have their outcomes, so the stages must not work on them again.
func TestAJobFedAgainAfterItsEndIsStopped(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	r, _ := newAdopter(t, s, func() (int64, error) { return 0, nil })
	rec := encode(t, fedJob("fed"))
	rec.Time = time.Now()
	for _, first := range append([]event.Record{rec}, answers(t, "fed", 1, 2)...) {
		_, err := stagetest.Handle(t.Context(), r.Handle, first)
		require.NoError(t, err)
	}
	out, err := stagetest.Handle(t.Context(), r.Handle, rec)
	require.NoError(t, err)
	require.Empty(t, out, "the record of before the end, read late")
	rec.Time = time.Now().Add(time.Minute)
	out, err = stagetest.Handle(t.Context(), r.Handle, rec)
	require.NoError(t, err)
	require.Len(t, out, 1)
	stop, err := event.DecodeAs[*eventpb.Control](out[0])
	require.NoError(t, err)
	require.Equal(t, "fed", stop.GetJobId())
	require.Equal(t, event.ControlCancel, stop.GetKind())
}

func TestKnownJobsAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	createJob(t, s, "own", 1)
	r, _ := newAdopter(t, s, func() (int64, error) { return 0, nil })
	_, err := stagetest.Handle(t.Context(), r.Handle, encode(t, fedJob("own")))
	require.NoError(t, err)
	job, err := s.Get(t.Context(), "own")
	require.NoError(t, err)
	require.Equal(t, []string{"question 0"}, job.Questions)
}

func TestAnAnswerWaitsForItsJob(t *testing.T) {
	t.Parallel()
	pending, fault := int64(1), error(nil)
	r, m := newAdopter(t, sqlStore(t), func() (int64, error) { return pending, fault })
	plan := answers(t, "late", 1, 1)[0]
	_, err := stagetest.Handle(t.Context(), r.Handle, plan)
	require.EqualError(t, err, stage.Later(time.Second).Error())
	require.Empty(t, m.strays)

	fault = errors.New("no broker")
	_, err = stagetest.Handle(t.Context(), r.Handle, plan)
	require.EqualError(t, err, stage.Later(time.Second).Error(), "nobody knows: it must not be counted as an attempt")

	pending, fault = 0, nil
	_, err = stagetest.Handle(t.Context(), r.Handle, plan)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"unknown_job": 1}, m.strays, "no job record is left that could bring it")
}

// TestEvictedWindowsAreNotTheRecorders: they go back to the chunker on the topic of the jobs, and are no fault.
func TestEvictedWindowsAreNotTheRecorders(t *testing.T) {
	t.Parallel()
	r, m := newAdopter(t, sqlStore(t), func() (int64, error) { return 0, nil })
	sum := strings.Repeat("ab", 32)
	rec := encode(t, &eventpb.WindowReady{Task: &eventpb.Task{
		JobId: "j1", Track: &eventpb.Track{Sha256: sum}, Window: &eventpb.Window{Hash: sum, BlobKey: event.PCMKey(sum)},
		Questions: []*eventpb.Question{{Text: "q"}},
	}})
	rec.Topic = event.TopicJobs
	out, err := stagetest.Handle(t.Context(), r.Handle, rec)
	require.NoError(t, err)
	require.Empty(t, out)
	require.Empty(t, m.strays)
}

func TestQuestionsWithGapsAreRefused(t *testing.T) {
	t.Parallel()
	r, _ := newAdopter(t, sqlStore(t), func() (int64, error) { return 0, nil })
	job := fedJob("gaps")
	job.Questions[0].Index = 5
	_, err := stagetest.Handle(t.Context(), r.Handle, encode(t, job))
	require.Equal(t, "internal", stage.PermanentCode(err))
}
