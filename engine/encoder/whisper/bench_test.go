package whisper

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

// BenchmarkWindow encodes a window of 30 s with random weights of the published size, 1.3 GB of them.
func BenchmarkWindow(b *testing.B) {
	samples := audiotest.Samples(b, "w30")
	for name, block := range map[string]int{"whole": 0, "blocks": 200} {
		c := audiobundle.Config{Layers: 32, Heads: 20, Width: 1280, FFN: 5120, Mels: 128, Positions: 1500, Block: block}
		path := filepath.Join(b.TempDir(), "encoder.gguf")
		require.NoError(b, audiobundle.RandomEncoder(b.Context(), c, 1, "bf16", path))
		file, err := gguf.Open(path)
		require.NoError(b, err)
		for _, precision := range []tensor.Precision{tensor.BF16, tensor.F32} {
			begun := time.Now()
			e, err := New(c, Read(b.Context(), file), Options{Precision: precision})
			require.NoError(b, err)
			b.Logf("%s %s: loaded in %s", name, precision, time.Since(begun).Round(time.Second/10))
			b.Run(name+"/"+string(precision), func(b *testing.B) {
				for b.Loop() {
					_, err := e.Encode(b.Context(), samples)
					require.NoError(b, err)
				}
				b.ReportMetric(30*float64(b.N)/b.Elapsed().Seconds(), "audio_s/s")
			})
		}
		require.NoError(b, file.Close())
	}
}

// BenchmarkMel is the front end alone, on 30 s.
func BenchmarkMel(b *testing.B) {
	samples := audiotest.Samples(b, "w30")
	for b.Loop() {
		Mel(samples, 480_000)
	}
}
