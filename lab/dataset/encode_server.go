package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/eval"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
)

// Gateway is what encoding by a deployment needs of it; *client.Client is one.
type Gateway interface {
	eval.Gateway
	Get(ctx context.Context, jobID string) (client.Job, error)
	Delete(ctx context.Context, jobID string) error
}

// ask has a deployment encode a clip: a job in its bulk lane whose audio is the clip as it is heard here, so that the deployment finds the same window and keeps its frames under the
// same key. A deployment makes no frames without an answer: the job asks for one token. The job is deleted again; its frames stay.
func (f *framer) ask(ctx context.Context, pcm []int16, row *framesRow) (tensor.Matrix, error) {
	file := bytes.NewReader(eval.Wav(pcm, f.files.Rate()))
	sub := client.Submission{
		Questions: []string{"What is this?"}, Options: client.Options{Lane: event.LaneBulk}, Plan: client.PlanExplicit, Decode: &client.Decode{MaxTokens: 1},
		Spans: []client.Span{{StartS: 0, EndS: float64(len(pcm)) / float64(f.files.Rate())}},
	}
	job, err := eval.Submit(ctx, f.server, sub, "clip.wav", file)
	if err != nil {
		return tensor.Matrix{}, fmt.Errorf("sending clip %s: %w", row.Clip, err)
	}
	if err := f.server.Events(ctx, job.ID, "", func(client.Event) error { return nil }); err != nil {
		return tensor.Matrix{}, fmt.Errorf("waiting for clip %s: %w", row.Clip, err)
	}
	frames, err := f.store.Get(ctx, row.Key, cache.Shape{Cols: f.bundle.Encoder.Width})
	if errors.Is(err, cache.ErrMiss) {
		return frames, f.without(ctx, job.ID, row)
	}
	if err == nil {
		err = f.server.Delete(ctx, job.ID)
	}
	return frames, err
}

// without says why a job that ended has left no frames: the clip's fault is its row's; what is wrong with the deployment or the choice of one ends the run.
func (f *framer) without(ctx context.Context, id string, row *framesRow) error {
	job, err := f.server.Get(ctx, id)
	if err != nil {
		return err
	}
	for _, w := range job.Windows {
		if w.Hash != row.Window {
			return fmt.Errorf("the deployment heard window %.12s of clip %s where this program heard %.12s: both must be of one version", w.Hash, row.Clip, row.Window)
		}
	}
	outcomes, err := f.server.Outcomes(ctx, id)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		if o.Error != nil {
			row.State, row.Reason = stateFailed, fmt.Sprintf("job %s: %s: %s", id, o.Error.Code, o.Error.Message)
			return nil
		}
	}
	return fmt.Errorf("job %s ended as %s and the store has no frames under %s: --store must be the deployment's BLOB_URL and --model the bundle that it serves; encoders of isolated tenants "+
		"keep frames where others do not look", id, job.State, path.Dir(row.Key))
}
