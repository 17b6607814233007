package dataset

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/eval"
)

// emptyHanded is a deployment that ends every job without leaving frames.
type emptyHanded struct {
	eval.Gateway

	hash    string
	outcome client.Outcome
	sent    []client.Submission
}

func (d *emptyHanded) Submit(_ context.Context, sub client.Submission, upload *client.Upload, _ client.SubmitOptions) (client.Job, error) {
	d.sent = append(d.sent, sub)
	_, err := io.Copy(io.Discard, upload.Reader)
	return client.Job{ID: "j"}, err
}

func (d *emptyHanded) Events(context.Context, string, string, func(client.Event) error) error {
	return nil
}

func (d *emptyHanded) Outcomes(context.Context, string) ([]client.Outcome, error) {
	return []client.Outcome{d.outcome}, nil
}

func (d *emptyHanded) Get(context.Context, string) (client.Job, error) {
	return client.Job{ID: "j", State: client.StateSucceeded, Windows: []client.Window{{Hash: d.hash}}}, nil
}

func (*emptyHanded) Delete(context.Context, string) error { return nil }

// A deployment that leaves no frames: the fault of a clip is its row, all else ends the run with what to do.
func TestADeploymentWithoutFrames(t *testing.T) {
	t.Parallel()
	from, dir := t.TempDir(), t.TempDir()
	pcm := make([]int16, 44100)
	for i := range pcm {
		pcm[i] = int16(i * 37)
	}
	require.NoError(t, os.WriteFile(filepath.Join(from, "a.wav"), eval.Wav(pcm, 44100), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(from, "licence.txt"), []byte("CC0-1.0\n"), 0o600))
	_, err := Import("folder", from, dir, 1)
	require.NoError(t, err)
	s, err := Open(dir)
	require.NoError(t, err)
	d := &emptyHanded{hash: windowHash(pcm), outcome: client.Outcome{State: client.OutcomeAnswered}}
	encode := func() (Tally, error) {
		return Encode(t.Context(), s, EncodeConfig{Model: filepath.Join("..", "..", "models", "lark-nano"), Store: "mem://", Server: d})
	}
	_, err = encode()
	require.ErrorContains(t, err, "--store must be the deployment's BLOB_URL")
	require.Equal(t, client.Options{Lane: "bulk"}, d.sent[0].Options)
	require.Equal(t, []client.Span{{StartS: 0, EndS: 1}}, d.sent[0].Spans)
	d.hash = "another"
	_, err = encode()
	require.ErrorContains(t, err, "both must be of one version")
	d.hash, d.outcome = windowHash(pcm), client.Outcome{State: client.OutcomeFailed, Error: &client.OutcomeError{Code: "internal", Message: "told so"}}
	tally, err := encode()
	require.NoError(t, err)
	require.Equal(t, Tally{Clips: 1, Failed: 1}, tally)
}
