//go:build unix

package whisper

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

// layers is how many layers BenchmarkWindow's encoder has: go test -run - -bench Window/whole/f32 -benchtime 3x . -layers 4
var layers = flag.Int("layers", 32, "layers of the encoder that BenchmarkWindow measures; the published one has 32")

// processorSeconds is the time that all processors have worked for this process.
func processorSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkWindow encodes a window of 30 s with random weights of the published size, 1.3 GB of them with all 32 layers, and reports the processor
// time of a window, so that a busy machine does not matter.
func BenchmarkWindow(b *testing.B) {
	samples := audiotest.Samples(b, "w30")
	for name, block := range map[string]int{"whole": 0, "blocks": 200} {
		for _, precision := range []tensor.Precision{tensor.BF16, tensor.F32} {
			b.Run(name+"/"+string(precision), func(b *testing.B) {
				c := audiobundle.Config{Layers: *layers, Heads: 20, Width: 1280, FFN: 5120, Mels: 128, Positions: 1500, Block: block}
				e := random(b, c, precision)
				begun := processorSeconds(b)
				for b.Loop() {
					_, err := e.Encode(b.Context(), samples)
					require.NoError(b, err)
				}
				b.ReportMetric((processorSeconds(b)-begun)/float64(b.N), fmt.Sprintf("core-s/%d-layers", c.Layers))
				b.ReportMetric(30*float64(b.N)/b.Elapsed().Seconds(), "audio_s/s")
			})
		}
	}
}

// random opens an encoder with random weights.
func random(b *testing.B, c audiobundle.Config, precision tensor.Precision) *Encoder {
	b.Helper()
	path := filepath.Join(b.TempDir(), "encoder.gguf")
	require.NoError(b, audiobundle.RandomEncoder(b.Context(), c, 1, "bf16", path))
	file, err := gguf.Open(path)
	require.NoError(b, err)
	defer func() { require.NoError(b, file.Close()) }()
	e, err := New(c, Read(b.Context(), file), Options{Precision: precision})
	require.NoError(b, err)
	return e
}

// BenchmarkMel is the front end alone, on 30 s.
func BenchmarkMel(b *testing.B) {
	samples := audiotest.Samples(b, "w30")
	for b.Loop() {
		Mel(samples, 480_000)
	}
}

// BenchmarkAttention is the attention of one layer of the published size on a window of 30 s.
func BenchmarkAttention(b *testing.B) {
	const rows, width = 1500, 1280
	for _, precision := range []tensor.Precision{tensor.BF16, tensor.F32} {
		b.Run(string(precision), func(b *testing.B) {
			e := &Encoder{config: audiobundle.Config{Layers: 1, Heads: 20, Width: width, FFN: 5120}, precision: precision}
			r := rand.New(rand.NewPCG(1, 2))
			qkv, out := make([]float32, 3*rows*width), make([]float32, rows*width)
			for i := range qkv {
				qkv[i] = 4*r.Float32() - 2
			}
			w := newWork()
			begun := processorSeconds(b)
			for b.Loop() {
				e.attend(w, qkv, out, []Span{{Rows: rows}})
			}
			b.ReportMetric((processorSeconds(b)-begun)/float64(b.N), "core-s/op")
		})
	}
}
