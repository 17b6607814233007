package server_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

// buried is a dead letter as a stage writes it: the prompts of a job that llm gave up.
func buried(t *testing.T, job string, redriven int) event.Record {
	t.Helper()
	sum := strings.Repeat("cd", 32)
	rec := encode(t, &eventpb.PromptReady{Key: "prompt/v1/x", Frames: 1, Width: 1, Task: &eventpb.Task{
		JobId: job, Track: &eventpb.Track{Sha256: sum}, Window: &eventpb.Window{Hash: sum, BlobKey: event.PCMKey(sum)}, Questions: []*eventpb.Question{{Text: "Key?"}},
	}})
	rec = rec.With(event.HeaderStage, event.StageLLM).With(event.HeaderReason, event.CodeEngineError).With(event.HeaderErrorText, "out of memory").
		With(event.HeaderFirstError, "first").With(event.HeaderAttempt, "3").With(event.HeaderOriginTopic, rec.Topic).With(event.HeaderOriginOffset, "7")
	if redriven > 0 {
		rec = rec.With(event.HeaderRedriven, strconv.Itoa(redriven))
	}
	rec.Topic = event.TopicDead
	return rec
}

// prompts collects what is sent back to the llm stage.
func (w *world) prompts() func() []event.Record {
	var mu sync.Mutex
	var got []event.Record
	_, wait := kafka.Tail(w.t.Context(), w.kafka, event.TopicPrompts, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, rec)
	})
	w.t.Cleanup(func() { require.NoError(w.t, wait()) })
	return func() []event.Record {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// TestDeadLetters: letters are found by what they say, sent back once their job's owner allows it, three times at most, and purged.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx, prompts := t.Context(), w.prompts()
	job := w.submit("Key?")
	w.publish(buried(t, job.ID, 0), buried(t, job.ID, 3), buried(t, "nobody", 0))

	list := func(f client.DeadFilter, all bool) (ids []string) {
		t.Helper()
		page, err := w.client.DeadLetters(ctx, f, all, "", 10)
		require.NoError(t, err)
		for _, d := range page.Letters {
			ids = append(ids, d.ID)
		}
		return ids
	}
	require.Equal(t, []string{"0-0", "0-1", "0-2"}, list(client.DeadFilter{}, false))
	require.Equal(t, []string{"0-0", "0-1"}, list(client.DeadFilter{Job: job.ID, Reason: event.CodeEngineError, Stage: event.StageLLM, Since: time.Now().Add(-time.Hour)}, false))
	require.Empty(t, list(client.DeadFilter{Reason: "other"}, false))
	require.Empty(t, list(client.DeadFilter{Stage: event.StageEncoder}, false))
	require.Empty(t, list(client.DeadFilter{Until: time.Now().Add(-time.Hour)}, false))
	page, err := w.client.DeadLetters(ctx, client.DeadFilter{}, false, "", 2)
	require.NoError(t, err)
	require.Len(t, page.Letters, 2)
	page, err = w.client.DeadLetters(ctx, client.DeadFilter{}, false, *page.Next, 2)
	require.NoError(t, err)
	require.Len(t, page.Letters, 1)
	require.Nil(t, page.Next)

	one, err := w.client.DeadLetter(ctx, "0-1")
	require.NoError(t, err)
	require.Equal(t, []any{"out of memory", "first", 3, client.DeadBuried}, []any{one.Error, one.FirstError, one.Redriven, one.State})
	require.Contains(t, one.Payload, "task")
	for _, unknown := range []string{"0-99", "x"} {
		_, err = w.client.DeadLetter(ctx, unknown)
		require.ErrorContains(t, err, "not found", unknown)
	}

	_, err = w.client.Redrive(ctx, client.DeadOrder{})
	require.ErrorContains(t, err, "set everything")
	refused := func(r client.DeadResult) (codes []string) {
		for _, x := range r.Refused {
			codes = append(codes, x.Code)
		}
		return codes
	}
	result, err := w.client.Redrive(ctx, client.DeadOrder{Everything: true})
	require.NoError(t, err)
	require.Equal(t, []string{"not_allowed", "redriven_too_often", "unknown_job"}, refused(result))
	_, err = w.client.AllowSupersede(ctx, job.ID)
	require.NoError(t, err)
	result, err = w.client.Redrive(ctx, client.DeadOrder{Everything: true, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, []string{"0-0"}, result.IDs)
	require.Empty(t, prompts())

	result, err = w.client.Redrive(ctx, client.DeadOrder{Everything: true})
	require.NoError(t, err)
	require.Equal(t, []string{"0-0"}, result.IDs)
	require.Eventually(t, func() bool { return len(prompts()) == 1 }, patience, 10*time.Millisecond)
	sent := prompts()[0]
	require.Equal(t, []string{"1", "7", "first", "", "", ""}, []string{
		sent.Get(event.HeaderRedriven), sent.Get(event.HeaderOriginOffset), sent.Get(event.HeaderFirstError),
		sent.Get(event.HeaderReason), sent.Get(event.HeaderAttempt), sent.Get(event.HeaderStage),
	})
	require.Equal(t, strings.Repeat("cd", 32), sent.Key)
	require.Equal(t, []string{"0-1", "0-2"}, list(client.DeadFilter{}, false), "it is not sent back again by a filter")

	sentBack, err := w.client.DeadLetter(ctx, "0-0")
	require.NoError(t, err)
	require.Equal(t, []string{client.DeadRedriven, "127.0.0.1"}, []string{sentBack.State, sentBack.ActedBy})

	purged, err := w.client.Purge(ctx, client.DeadOrder{IDs: []string{"0-1"}})
	require.NoError(t, err)
	require.Equal(t, 1, purged.Done)
	require.Equal(t, []string{"0-2"}, list(client.DeadFilter{}, true), "what lies before the first buried letter is deleted")
}

// TestALetterGoesBackToTheTopicItCameFrom: a letter of the bulk lane goes back to its stage's bulk topic, and never before people's records.
func TestALetterGoesBackToTheTopicItCameFrom(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("Key?")
	_, err := w.client.AllowSupersede(t.Context(), job.ID)
	require.NoError(t, err)
	origins := []string{event.TopicAnswers}
	for _, topic := range event.Topics() {
		if event.StageOf(topic.Name) != "" {
			origins = append(origins, topic.Name)
		}
	}
	require.Len(t, origins, 2*len(event.WorkStages())+1)
	var mu sync.Mutex
	var went [][2]string
	for _, topic := range origins {
		_, wait := kafka.Tail(t.Context(), w.kafka, topic, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
			if rec.Get(event.HeaderRedriven) != "" {
				mu.Lock()
				defer mu.Unlock()
				went = append(went, [2]string{rec.Get(event.HeaderOriginTopic), topic})
			}
		})
		t.Cleanup(func() { require.NoError(t, wait()) })
	}
	var want [][2]string
	for _, origin := range origins {
		w.publish(buried(t, job.ID, 0).With(event.HeaderOriginTopic, origin))
		want = append(want, [2]string{origin, origin})
	}
	elsewhere := event.InLane(event.RetryTopic(event.StageLLM, event.RetryDelays()[0]), event.LaneBulk)
	w.publish(buried(t, job.ID, 0).With(event.HeaderOriginTopic, elsewhere))

	order := client.DeadOrder{Rate: 1000} // by name: what the recorder cannot read may be given up again
	for i := range len(want) + 1 {
		order.IDs = append(order.IDs, "0-"+strconv.Itoa(i))
	}
	result, err := w.client.Redrive(t.Context(), order)
	require.NoError(t, err)
	require.Equal(t, len(want), result.Done)
	require.Len(t, result.Refused, 1)
	require.Equal(t, "not_redrivable", result.Refused[0].Code)
	seen := func() [][2]string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(went)
	}
	require.Eventually(t, func() bool { return len(seen()) == len(want) }, patience, 10*time.Millisecond)
	require.ElementsMatch(t, want, seen())
}
