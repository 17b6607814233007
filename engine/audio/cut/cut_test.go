package cut

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCutter(t *testing.T, scratch string) *Cutter {
	t.Helper()
	d, err := audio.NewDecoder(t.Context(), audio.Config{
		Limits:  audio.Limits{FileBytes: 1 << 30, Duration: 2 * time.Hour, DecodedBytes: 4 << 30, Timeout: 10 * time.Minute},
		Scratch: scratch, FFmpeg: "none",
	})
	require.NoError(t, err)
	return New(d, scratch)
}

// rampWAV is a wav stream of n mono samples at 44.1 kHz, sample i having the value rampAt(i), made while it is read.
func rampWAV(n int) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		var b bytes.Buffer
		b.WriteString("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data")
		_ = binary.Write(&b, binary.LittleEndian, uint32(2*n))
		return io.NopCloser(io.MultiReader(&b, io.LimitReader(&rampReader{}, int64(2*n)))), nil
	}
}

func rampAt(i int64) uint16 { return uint16(i % 50021) }

type rampReader struct{ at int64 }

func (r *rampReader) Read(b []byte) (int, error) {
	n := len(b) &^ 1
	for k := 0; k < n; k += 2 {
		binary.LittleEndian.PutUint16(b[k:], rampAt(r.at))
		r.at++
	}
	return n, nil
}

func TestWindowsHoldTheSamplesOfTheirRange(t *testing.T) {
	t.Parallel()
	scratch := t.TempDir()
	c := newCutter(t, scratch)
	seconds := []float64{3, 5.5, 0, 1, 4, 8.25}
	var spans []plan.Span
	for i := 0; i < len(seconds); i += 2 {
		spans = append(spans, plan.Span{StartS: seconds[i], EndS: seconds[i+1]})
	}
	n := 0
	info, err := c.Cut(t.Context(), rampWAV(10*plan.SampleRate), plan.NewRule(plan.Explicit, spans, plan.Hearing{SpanS: 25, Rate: plan.SampleRate}), func(w Window) error {
		require.Equal(t, n, w.Index)
		require.Equal(t, plan.FromSpan(spans[n], plan.SampleRate), w.Range)
		require.Len(t, w.PCM, int(2*w.Len()))
		for i := range w.Len() {
			if binary.LittleEndian.Uint16(w.PCM[2*i:]) != rampAt(w.Start+i) {
				require.FailNow(t, "wrong sample", "window %d, sample %d", n, i)
			}
		}
		hash := audio.WindowHash()
		hash.Write(w.PCM)
		require.Equal(t, hex.EncodeToString(hash.Sum(nil)), w.Hash)
		left, err := os.ReadDir(scratch)
		require.NoError(t, err)
		require.Empty(t, left, "the scratch file has no name, so that a crash leaves nothing")
		n++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.EqualValues(t, 10*plan.SampleRate, info.Samples)
}

func TestErrorsEndTheCutting(t *testing.T) {
	t.Parallel()
	c := newCutter(t, t.TempDir())
	all := plan.NewRule(plan.All, nil, plan.Hearing{SpanS: 1, Rate: plan.SampleRate})
	enough := errors.New("enough")
	_, err := c.Cut(t.Context(), rampWAV(5*plan.SampleRate), all, func(Window) error { return enough })
	require.ErrorIs(t, err, enough)

	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	_, err = c.Cut(ctx, rampWAV(5*plan.SampleRate), all, func(Window) error {
		n++
		cancel(stopped)
		return nil
	})
	require.ErrorIs(t, err, stopped)
	require.Equal(t, 1, n, "nothing is cut after the cancel")

	_, err = newCutter(t, "/no/such/folder").Cut(t.Context(), rampWAV(1), all, func(Window) error { return nil })
	require.ErrorContains(t, err, "making scratch file")
}

// Ten minutes in windows of 25 s: what is held is one window, not the track. Not parallel: it measures the heap.
func TestMemoryDoesNotGrowWithTheTrack(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	c := newCutter(t, t.TempDir())
	before, peak, n := live(), int64(0), 0
	_, err := c.Cut(t.Context(), rampWAV(600*plan.SampleRate), plan.NewRule(plan.All, nil, plan.Hearing{SpanS: 25, Rate: plan.SampleRate}), func(Window) error {
		n++
		peak = max(peak, live()-before)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 24, n)
	t.Logf("held at most %.1f MiB more than before", float64(peak)/(1<<20))
	require.LessOrEqual(t, peak, int64(8<<20))
}

func TestCutFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.wav")
	file, err := rampWAV(30 * plan.SampleRate)()
	require.NoError(t, err)
	raw, err := io.ReadAll(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	c := newCutter(t, t.TempDir())
	var got []FileWindow
	seconds, err := c.CutFile(t.Context(), path, plan.NewRule(plan.All, nil, plan.Hearing{SpanS: 25, Rate: plan.SampleRate}), func(w FileWindow) error {
		got = append(got, w)
		return nil
	})
	require.NoError(t, err)
	require.InDelta(t, 30, seconds, 1e-9)
	require.Len(t, got, 2)
	require.Equal(t, []float64{5, 30}, []float64{got[1].StartS, got[1].EndS})
	require.Equal(t, got[0].PCM[5*plan.SampleRate:], got[1].PCM[:20*plan.SampleRate])

	enough := errors.New("enough")
	_, err = c.CutFile(t.Context(), path, plan.NewRule(plan.Auto, nil, plan.Hearing{SpanS: 25, Rate: plan.SampleRate}), func(FileWindow) error { return enough })
	require.ErrorIs(t, err, enough)
}
