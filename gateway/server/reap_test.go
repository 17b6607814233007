package server_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// hurry starts the gateway anew with a reaper that does not wait for long.
func (w *world) hurry() {
	w.stop()
	w.cfg.Reaper.Interval, w.cfg.Reaper.Grace, w.cfg.Reaper.Idle = 20*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond
	w.start()
}

func (w *world) ends(id string) (client.Job, []client.Outcome) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	job, outcomes, err := w.client.Wait(ctx, id, nil)
	require.NoError(w.t, err)
	return job, outcomes
}

// TestDeadlinesAndCancelsHoldWithoutStages: no stage is there to end the job, and whoever watches it is told of its end.
func TestDeadlinesAndCancelsHoldWithoutStages(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.hurry()
	late, err := w.client.Submit(t.Context(), client.Submission{Questions: []string{"one?", "two?"}, DeadlineS: 1},
		&client.Upload{Name: "a.wav", Reader: bytes.NewReader([]byte("RIFF"))}, client.SubmitOptions{})
	require.NoError(t, err)
	unwanted := w.submit("q")
	_, err = w.client.Cancel(t.Context(), unwanted.ID)
	require.NoError(t, err)

	job, outcomes := w.ends(late.ID)
	require.Equal(t, client.StateFailed, job.State)
	require.Len(t, outcomes, 2)
	require.Equal(t, event.CodeExpired, outcomes[0].Error.Code)
	job, outcomes = w.ends(unwanted.ID)
	require.Equal(t, client.StateCancelled, job.State)
	require.Equal(t, event.CodeCancelled, outcomes[0].Error.Code)
}

// TestLostJobsArePublishedAgain: the job's record is gone, for the stages have committed everything and nothing came of it.
func TestLostJobsArePublishedAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	topics := map[string]string{
		event.StageChunker: event.TopicJobs, event.StageEncoder: event.TopicWindows,
		event.StageProjector: event.TopicEmbeddings, event.StageLLM: event.TopicPrompts,
	}
	for name, topic := range topics {
		runner, err := stage.New(stage.Config{Stage: name, Topics: []string{topic}}, stage.Deps{
			Kafka: w.kafka, Producer: w.prod, Log: quiet,
			Handle: func(context.Context, event.Record, proto.Message) ([]event.Record, error) { return nil, nil },
		})
		require.NoError(t, err)
		runUntilEnd(t, runner)
	}
	w.hurry()
	job := w.submit("q")
	first, second := w.published(job.ID), w.published(job.ID)
	require.True(t, proto.Equal(first, second), "the same record")
	for range 2 {
		w.published(job.ID)
	}
	ended, outcomes := w.ends(job.ID)
	require.Equal(t, client.StateFailed, ended.State, "in the end it is given up")
	require.Equal(t, event.CodeInternal, outcomes[0].Error.Code)
}

// TestAPowerCutLosesNoJob: the broker has acknowledged the job, so that its outbox row is gone, but what it acknowledged was not on its disk.
func TestAPowerCutLosesNoJob(t *testing.T) {
	t.Parallel()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: quiet})
	require.NoError(t, err)
	w := setupOn(t, broker.Addr())
	job := w.submit("q")
	first := w.published(job.ID)
	w.stop()
	require.NoError(t, broker.Close())

	broker, err = kafka.StartBroker(kafka.BrokerConfig{Log: quiet, Addr: broker.Addr()}) // with nothing of what was
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	t.Cleanup(w.close)
	w.hurry()
	again := make(chan *eventpb.Job, 1)
	ctx, cancel := context.WithCancel(t.Context())
	_, wait := kafka.Tail(ctx, w.kafka, event.TopicJobs, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		if job, err := event.DecodeAs[*eventpb.Job](rec); err == nil && len(again) == 0 {
			again <- job
		}
	})
	select {
	case rec := <-again:
		require.True(t, proto.Equal(first, rec), "the same job, once more")
	case <-time.After(patience):
		require.Fail(t, "the job was not published again")
	}
	cancel()
	require.NoError(t, wait())
}

// TestBuriedAnswersEndTheirJob: an outcome that cannot be read leaves no question open.
func TestBuriedAnswersEndTheirJob(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("q")
	w.publish(event.Record{Topic: event.TopicAnswers, Key: job.ID, Value: []byte{255}}.
		With(event.HeaderSubject, job.ID).With(event.HeaderType, event.TypeOutcome))
	ended, outcomes := w.ends(job.ID)
	require.Equal(t, client.StateFailed, ended.State)
	require.Equal(t, event.CodeInternal, outcomes[0].Error.Code)
}
