package server_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

func (w *world) submitBulk() client.Job {
	w.t.Helper()
	sub := client.Submission{Questions: []string{"q?"}, Options: client.Options{Lane: event.LaneBulk}}
	job, err := w.client.Submit(w.t.Context(), sub, &client.Upload{Name: "a.wav", Reader: bytes.NewReader([]byte("RIFF"))}, client.SubmitOptions{})
	require.NoError(w.t, err)
	require.Equal(w.t, event.LaneBulk, job.Lane)
	return job
}

// TestACatalogueWaitsInTheJobStore: only so many windows of a lane are in Kafka, a job that waits is cancelled without a stage, and an ended
// job makes room for the next one.
func TestACatalogueWaitsInTheJobStore(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stop()
	w.cfg.Limits.BulkWindows = 1
	w.start()
	first, unwanted, next := w.submitBulk(), w.submitBulk(), w.submitBulk()
	rec := w.published(first.ID)
	person := w.submit("q")
	w.published(person.ID)

	_, err := w.client.Cancel(t.Context(), unwanted.ID)
	require.NoError(t, err)
	job, outcomes := w.ends(unwanted.ID)
	require.Equal(t, client.StateCancelled, job.State)
	require.Len(t, outcomes, 1)
	require.Equal(t, event.CodeCancelled, outcomes[0].Error.Code)

	w.publish(answers(t, rec, 1)...)
	w.ends(first.ID)
	for id := ""; id != next.ID; {
		job := <-w.jobs
		id = job.GetJobId()
		require.NotEqual(t, unwanted.ID, id, "it was cancelled before any stage could hear of it")
		require.Equal(t, event.LaneBulk, job.GetLane())
	}
	for len(w.ctrl) > 0 {
		require.Equal(t, event.ControlWatch, (<-w.ctrl).GetKind(), "no stage need know of the cancel")
	}
}
