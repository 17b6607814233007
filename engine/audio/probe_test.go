package audio

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProbeTellsWhatDecodingTells, of every format whose header tells a length, and that tags change nothing of the sound.
func TestProbeTellsWhatDecodingTells(t *testing.T) {
	t.Parallel()
	d, err := NewDecoder(t.Context(), DefaultConfig())
	require.NoError(t, err)
	for _, name := range []string{"tone.mp3", "tone-mpeg2.mp3", "tone.m4a", "tone-index-first.m4a", "tone.ogg", "tone-mulaw.wav", "tone.aac", "tone.webm"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		p, err := Probe(bytes.NewReader(raw), int64(len(raw)))
		require.NoError(t, err, name)
		if p.Seconds == 0 {
			require.Contains(t, []string{"wav", "aac", "matroska"}, p.Format, name)
			continue
		}
		if p.NeedsFFmpeg && d.FFmpeg() == "" {
			continue
		}
		info, err := d.Decode(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, 0, func([]int16) error { return nil })
		require.NoError(t, err, name)
		require.InDelta(t, info.Seconds(), p.Seconds, 0.12, name)
	}
	raw, err := os.ReadFile(filepath.Join("testdata", "tone.mp3"))
	require.NoError(t, err)
	plain, err := Probe(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(t, err)
	tagged := append([]byte("ID3\x04\x00\x00\x00\x00\x01\x00"), make([]byte, 128)...)
	tagged = append(append(tagged, raw[plain.From:plain.To]...), append([]byte("TAG"), make([]byte, 125)...)...)
	other, err := Probe(bytes.NewReader(tagged), int64(len(tagged)))
	require.NoError(t, err)
	require.Equal(t, raw[plain.From:plain.To], tagged[other.From:other.To])
}

func TestProbeRefusesWhatIsNoAudio(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]Code{"": Empty, "this is no music\n": Undecodable, "RIFF\x00\x00\x00\x00WAVE": Undecodable, "fLaC": Undecodable} {
		_, err := Probe(bytes.NewReader([]byte(text)), int64(len(text)))
		require.Equal(t, code, CodeOf(err), "%q: %v", text, err)
	}
}

func FuzzProbe(f *testing.F) {
	for _, name := range []string{"tone.mp3", "tone.m4a", "tone.ogg", "tone.aac"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Probe(bytes.NewReader(raw), int64(len(raw)))
		if err == nil && (p.Seconds < 0 || p.From > p.To) {
			t.Fatalf("%+v", p)
		}
	})
}
