package encoder

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const nanoBundle = "../../models/lark-nano"

// openDir loads a bundle and opens its encoder.
func openDir(t *testing.T, dir string, o Options) (Engine, error) {
	t.Helper()
	b, err := model.Load(dir)
	if err != nil {
		return nil, err
	}
	return Open(t.Context(), b, o)
}

// openAt opens the encoder of a bundle with another precision than the bundle's.
func openAt(t *testing.T, dir, precision string) (Engine, error) {
	t.Helper()
	b, err := model.Load(dir)
	if err != nil {
		return nil, err
	}
	if err := b.SetPrecision(precision); err != nil {
		return nil, err
	}
	return Open(t.Context(), b, Options{})
}

func TestNanoEngine(t *testing.T) {
	t.Parallel()
	e, err := openDir(t, nanoBundle, Options{Engine: Nano})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	pcm := make([]int16, 2*44100)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(float64(i)/15))
	}
	frames, err := e.Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, []int{21, 192, 21 * 192}, []int{frames.Rows, frames.Cols, len(frames.Data)})
	_, err = e.Encode(t.Context(), pcm[:44099])
	require.ErrorIs(t, err, ErrTooShort)
	_, err = e.Encode(t.Context(), make([]int16, 25*44100+1))
	require.ErrorIs(t, err, ErrTooLong)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Encode(ctx, pcm)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenRefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	tiny := modeltest.Write(t, modeltest.Manifest())
	_, err := openDir(t, tiny, Options{Engine: "mp3"})
	require.ErrorContains(t, err, `engine "mp3" is not nano, jukebox, whisper or test`)
	_, err = openDir(t, tiny, Options{})
	require.ErrorContains(t, err, "loading the encoder", "the random bundle holds no lark-nano encoder")
	_, err = openDir(t, t.TempDir(), Options{})
	require.ErrorContains(t, err, "model bundle")
	e, err := openDir(t, tiny, Options{Engine: Test})
	require.NoError(t, err)
	require.NoError(t, e.Close())
}

func TestValidateReportsAllFaults(t *testing.T) {
	t.Parallel()
	require.NoError(t, Options{}.Validate())
	err := Options{Engine: "none", Concurrency: -1, Device: Device{Name: "tpu"}, TestDelay: -1}.Validate()
	for _, want := range []string{`engine: "none" is not nano, jukebox, whisper or test`, "concurrency: -1 is below 0", `device: "tpu"`, "test_delay: -1ns"} {
		require.ErrorContains(t, err, want)
	}
}
