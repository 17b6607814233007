package server_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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

// TestTheSweepKeepsAudioOfJobsNotYetAdopted: a fed job is on the log while no gateway runs; the first sweep of the next gateway must not
// delete its audio, however old that is.
func TestTheSweepKeepsAudioOfJobsNotYetAdopted(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stop()
	dir := strings.TrimPrefix(w.cfg.BlobURL.Reveal(), "file://")
	needed, idle := strings.Repeat("cd", 32), strings.Repeat("ef", 32)
	path := func(sum string) string { return filepath.Join(dir, filepath.FromSlash(event.AudioKey(sum))) }
	for _, sum := range []string{needed, idle} {
		require.NoError(t, os.MkdirAll(filepath.Dir(path(sum)), 0o750))
		require.NoError(t, os.WriteFile(path(sum), []byte("RIFF"), 0o600))
		long := time.Now().Add(-1000 * time.Hour)
		require.NoError(t, os.Chtimes(path(sum), long, long))
	}
	id := event.DerivedJobID("fed")
	w.publish(encode(t, &eventpb.Job{
		JobId: id, Audio: &eventpb.Audio{Sha256: needed, BlobKey: event.AudioKey(needed)}, Questions: []*eventpb.Question{{Text: "Key?"}},
		Plan: eventpb.PlanMode_PLAN_MODE_AUTO, CreatedUnixMs: 1_790_000_000_000,
	}))
	w.cfg.Sweep.Interval, w.cfg.Sweep.AudioBytes = 20*time.Millisecond, 1
	w.start()
	require.Eventually(t, func() bool {
		_, err := os.Stat(path(idle))
		return errors.Is(err, fs.ErrNotExist)
	}, patience, 20*time.Millisecond, "what no job needs is swept")
	require.FileExists(t, path(needed))
}
