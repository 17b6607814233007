package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStreamedTensorsAreReadBack(t *testing.T) {
	t.Parallel()
	slots := []Slot{{"b", "F16", []int{2}}, {"a", "F32", []int{1, 2}}, {"none", "F32", []int{0, 4}}}
	fill := map[string][]byte{"b": {0, 0x3c, 0, 0xc0}, "a": {0, 0, 128, 63, 0, 0, 0, 64}}
	var file bytes.Buffer
	require.NoError(t, StreamSafetensors(&file, slots, map[string]string{"heads": "8"}, func(s Slot, w io.Writer) error {
		_, err := w.Write(fill[s.Name])
		return err
	}))
	s, err := open(file.Bytes())
	require.NoError(t, err)
	require.Zero(t, s.data%64, "the data are aligned")
	for name, want := range map[string][]float32{"a": {1, 2}, "b": {1, -2}, "none": {}} {
		got, err := s.F32(name)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	info, _ := s.Info("b")
	require.Zero(t, info.Start, "the order is that of the slots")
}

func TestStreamRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	one := []Slot{{"a", "F32", []int{2}}}
	for want, c := range map[string]struct {
		slots []Slot
		bytes int
	}{
		"1 bytes too many":   {one, 9},
		"1 bytes of 8":       {one, 7},
		"cannot be written":  {append(one, one...), 8},
		"a\" of F12":         {[]Slot{{"a", "F12", []int{1}}}, 0},
		"shape [-1] cannot":  {[]Slot{{"a", "F32", []int{-1}}}, 0},
		"[1099511627776 109": {[]Slot{{"a", "F32", []int{1 << 40, 1 << 40}}}, 0},
	} {
		err := StreamSafetensors(io.Discard, c.slots, nil, func(_ Slot, w io.Writer) error {
			_, err := w.Write(make([]byte, c.bytes))
			return err
		})
		require.ErrorContains(t, err, want)
	}
}

func TestAnInterruptedWriteContinues(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "large")
	content := bytes.Repeat([]byte("larkstream"), 700_000)
	sum := sha256.Sum256(content)
	want := hex.EncodeToString(sum[:])
	stop := errors.New("stopped")
	_, err := WriteResumable(t.Context(), path, func(w io.Writer) error {
		_, err := w.Write(content[:len(content)/2])
		return errors.Join(err, stop)
	})
	require.ErrorIs(t, err, stop)
	require.NoFileExists(t, path)
	before, err := os.Stat(path + PartialSuffix)
	require.NoError(t, err)
	require.Equal(t, int64(len(content)/2), before.Size())

	write := func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(content))
		return err
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = WriteResumable(cancelled, path, write)
	require.ErrorIs(t, err, context.Canceled)

	digest, err := WriteResumable(t.Context(), path, write)
	require.NoError(t, err)
	require.Equal(t, want, digest)
	got, err := FileDigest(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoFileExists(t, path+PartialSuffix)
}

// TestWhatIsThereIsNotWrittenAgain: a file that may not be written shows it.
func TestWhatIsThereIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "old")
	require.NoError(t, os.WriteFile(path, []byte("abcdef"), 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	r := &resuming{ctx: t.Context(), file: f, sum: sha256.New()}
	for _, part := range []string{"abc", "def"} {
		_, err := r.Write([]byte(part))
		require.NoError(t, err)
	}
	_, err = r.Write([]byte("g"))
	require.Error(t, err)
}
