package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tensor"
)

func randomAudio(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "random")
	_, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: "music-flamingo", Seed: 3, Quant: "f32", Layers: 1, Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	return dir
}

func TestAModelIsMeasuredWithTheFramesOfAWindow(t *testing.T) {
	t.Parallel()
	r, err := RunAudioLLM(t.Context(), AudioLLMConfig{
		LLMConfig: LLMConfig{ModelDir: randomAudio(t), NativeDir: nativetest.Dir(t), Rounds: 1, Tokens: 3, Sequences: 2, Threads: 1, Progress: func(string) {}},
		Seconds:   2, Decoder: true,
	})
	require.NoError(t, err)
	require.Equal(t, 50, r.Decoder.Frames, "25 frames a second")
	require.Equal(t, 1, r.DecoderLayers)
	require.Equal(t, [2]int64{1, 2}, r.Decoder.Prefixes)
	require.Empty(t, r.Encoder)
	var text bytes.Buffer
	r.Write(&text)
	require.Contains(t, text.String(), "The decoder has 1 layers.")
}

func TestAClipIsEncodedInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clip, frames := filepath.Join(dir, "clip"), filepath.Join(dir, "frames")
	samples := clipOf(2)
	require.Len(t, samples, 32_000)
	require.NoError(t, writeValues(clip, samples))
	run, err := RunClip(t.Context(), ClipConfig{ModelDir: randomAudio(t), Precision: tensor.F32, Audio: clip, Frames: frames})
	require.NoError(t, err)
	require.Equal(t, "larkstream", run.System)
	require.Equal(t, 2, run.Layers)
	values, err := readValues[float32](frames)
	require.NoError(t, err)
	require.Len(t, values, 50*64)
}

// The encoder is measured through commands: here a program that prints what peers print.
func TestTheEncoderIsComparedWithAPeer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := func(system string, seconds float64) string {
		line, err := json.Marshal(EncoderRun{System: system, Precision: "f32", CoreSeconds: seconds})
		require.NoError(t, err)
		path := filepath.Join(dir, system)
		text := "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" = --frames ] && printf 'abcdefgh' > \"$2\"; shift; done\necho '" + string(line) + "'\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o700))
		return path
	}
	r, err := RunAudioLLM(t.Context(), AudioLLMConfig{
		LLMConfig: LLMConfig{ModelDir: randomAudio(t), Rounds: 2, Progress: func(string) {}}, Seconds: 1, Precisions: []string{"f32"},
		Executable: script("ours", 2), Peer: []string{script("theirs", 3)}, Scratch: dir, Log: os.Stderr,
	})
	require.NoError(t, err)
	require.Nil(t, r.Decoder)
	require.Len(t, r.Encoder, 2)
	require.Len(t, r.Encoder[1].Runs, 2)
	var text bytes.Buffer
	r.Write(&text)
	require.Contains(t, text.String(), "Ours in f32 is 1.50 times as fast as the peer in f32")
}
