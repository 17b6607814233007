package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// A job that another producer has published is taken up, and its answers are recorded though they were on the log before the
// gateway had seen the job, and though its deadline had passed by then.
func TestJobsOfOtherProducersAreTakenUp(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stop()
	sum := strings.Repeat("cd", 32)
	id := event.DerivedJobID("another producer")
	question := &eventpb.Question{Text: "Key?"}
	window := &eventpb.Window{Hash: sum, Span: &eventpb.Span{EndS: 25}, HeardS: 25}
	outcome := event.NewOutcome(&eventpb.Task{JobId: id, Window: window}, question)
	outcome.State, outcome.Answer = eventpb.State_STATE_ANSWERED, "A minor."
	w.publish(
		encode(t, &eventpb.Job{
			JobId: id, Audio: &eventpb.Audio{Sha256: sum, BlobKey: event.AudioKey(sum)}, Questions: []*eventpb.Question{question},
			Plan: eventpb.PlanMode_PLAN_MODE_AUTO, CreatedUnixMs: 1_790_000_000_000, DeadlineUnixMs: 1_790_000_060_000,
		}),
		encode(t, &eventpb.JobPlan{JobId: id, Track: &eventpb.Track{Sha256: sum, DurationS: 30}, Windows: []*eventpb.Window{window}, Questions: 1}),
		encode(t, outcome),
	)
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.Eventually(t, func() bool {
		job, err := w.client.Get(ctx, id)
		return err == nil && job.State == client.StateSucceeded
	}, patience, 20*time.Millisecond)
	outcomes, err := w.client.Outcomes(ctx, id)
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	require.Equal(t, "A minor.", outcomes[0].Answer)
}
