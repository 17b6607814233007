package jukebox

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// memory gives weights by name; it is a Weights.
type memory map[string][]byte

func (m memory) Bytes(name, dtype string, shape ...int) ([]byte, error) {
	size := map[string]int{"F32": 4, "F16": 2}[dtype]
	for _, d := range shape {
		size *= d
	}
	if raw, ok := m[name]; ok && len(raw) == size {
		return raw, nil
	}
	return nil, fmt.Errorf("no %s %s %v", name, dtype, shape)
}

func singles(r *rand.Rand, n int, mean, deviation float32) []byte {
	raw := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(raw[4*i:], math.Float32bits(mean+deviation*float32(r.NormFloat64())))
	}
	return raw
}

// matrix fills [in, out] halves with a spread of gain/√in.
func matrix(r *rand.Rand, in, out int, gain float64) []byte {
	raw := make([]byte, 2*in*out)
	limit := float32(math.Sqrt(3) * gain / math.Sqrt(float64(in)))
	for i := range in * out {
		binary.LittleEndian.PutUint16(raw[2*i:], tensor.F32ToF16(limit*(2*r.Float32()-1)))
	}
	return raw
}

// fullWidth is three layers of Jukebox-5B's width, one of each pattern, with blocks of fullBlock positions. Layers share their
// matrices to save memory, and differ in norms and biases.
func fullWidth() (Config, memory) {
	c := Config{jukeboxbundle.Config{
		Layers: 3, Heads: 8, Blocks: 4, Context: 4 * fullBlock, Width: 4800, State: 1200, MLP: 4800,
		Bins: 32, CodeWidth: 8, ConvWidth: 8, Genres: 2, Artists: 2,
	}}
	r := rand.New(rand.NewPCG(7, 7))
	w := memory{
		"prior.x_emb.weight": singles(r, c.Bins*c.Width, 0, 0.8), "prior.pos_emb.pos_emb": singles(r, c.Context*c.Width, 0, 0.5),
		"y_emb.bow_genre_emb.emb.weight": singles(r, c.Genres*c.Width, 0, 0.6), "y_emb.artist_emb.emb.weight": singles(r, c.Artists*c.Width, 0, 0.6),
	}
	for _, name := range []string{"total_length", "absolute_pos", "relative_pos"} {
		w["y_emb."+name+"_emb.emb.weight"] = singles(r, jukeboxbundle.TimeBins*c.Width, 0, 0.3)
	}
	shared := map[string][]byte{
		"attn.c_attn.w": matrix(r, c.Width, 3*c.State, 1.5), "attn.c_proj.w": matrix(r, c.State, c.Width, 0.7),
		"mlp.c_fc.w": matrix(r, c.Width, c.MLP, 1), "mlp.c_proj.w": matrix(r, c.MLP, c.Width, 0.7),
	}
	for d := range c.Layers {
		name := fmt.Sprintf("prior.transformer._attn_mods.%d.", d)
		for key, raw := range shared {
			w[name+key] = raw
		}
		for key, n := range map[string]int{"attn.c_attn.b": 3 * c.State, "attn.c_proj.b": c.Width, "mlp.c_fc.b": c.MLP, "mlp.c_proj.b": c.Width, "ln_0.bias": c.Width, "ln_1.bias": c.Width} {
			w[name+key] = singles(r, n, 0, 0.05)
		}
		w[name+"ln_0.weight"], w[name+"ln_1.weight"] = singles(r, c.Width, 1, 0.1), singles(r, c.Width, 1, 0.1)
	}
	return c, w
}

// At the real width and head dimension, of which the small checkpoints have neither, the activations of every position after each of
// three layers, one of each pattern, are those of float64 to 2e-5 of their root mean square; 3e-6 was measured.
func TestFullWidthMatchesFloat64(t *testing.T) {
	t.Parallel()
	const tolerance = 2e-5
	c, weights := fullWidth()
	r := &reader{from: weights}
	p := loadPrior(r, c)
	require.NoError(t, r.err)
	n := 2*fullBlock + 2
	codes := make([]int32, c.Context)
	for i := range codes {
		codes[i] = int32(i * 7 % c.Bins)
	}
	heads := make(chan *heads, 1)
	heads <- newHeads(c)
	w := p.divide(make([]float32, p.room()), heads, new(packedLayer))
	var want [][]float64
	err := p.run(t.Context(), w, codes, n, func(Part) {}, func(layer int, x []float32) {
		if layer < 0 {
			want = widen(x, c.Width)
			return
		}
		doubleLayer(&p.layers[layer], c, pattern(layer), want)
		worst, scale := 0.0, 0.0
		for i, row := range want {
			for j, v := range row {
				worst, scale = max(worst, math.Abs(v-float64(x[i*c.Width+j]))), scale+v*v
			}
		}
		rms := math.Sqrt(scale / float64(n*c.Width))
		t.Logf("layer %d: largest difference %.2g, root mean square %.2f", layer, worst, rms)
		require.Less(t, worst/rms, tolerance, "layer %d", layer)
	})
	require.NoError(t, err)
}

func widen(x []float32, width int) [][]float64 {
	rows := make([][]float64, len(x)/width)
	for i := range rows {
		rows[i] = make([]float64, width)
		for j := range rows[i] {
			rows[i][j] = float64(x[i*width+j])
		}
	}
	return rows
}

// doubleLayer is a layer written down as the formulas are, in float64.
func doubleLayer(l *layer, c Config, kind pattern, x [][]float64) {
	qkv := doubleProduct(doubleNorm(x, l.norm0), l.attn, l.attnB)
	attended := make([][]float64, len(x))
	for i := range x {
		attended[i] = doubleAttention(qkv, c, kind, i)
	}
	for i, row := range doubleProduct(attended, l.attnOut, l.attnOutB) {
		addTo(x[i], row)
	}
	hidden := doubleProduct(doubleNorm(x, l.norm1), l.mlpIn, l.mlpInB)
	for _, row := range hidden {
		for j, v := range row {
			row[j] = v / (1 + math.Exp(-1.702*v))
		}
	}
	for i, row := range doubleProduct(hidden, l.mlpOut, l.outB) {
		addTo(x[i], row)
	}
}

func addTo(x, y []float64) {
	for j, v := range y {
		x[j] += v
	}
}

func doubleNorm(x [][]float64, o norm) [][]float64 {
	out := make([][]float64, len(x))
	for i, row := range x {
		mean, variance := 0.0, 0.0
		for _, v := range row {
			mean += v / float64(len(row))
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / float64(len(row))
		}
		out[i] = make([]float64, len(row))
		for j, v := range row {
			out[i][j] = (v-mean)/math.Sqrt(variance+1e-5)*float64(o.weight[j]) + float64(o.bias[j])
		}
	}
	return out
}

// doubleProduct is x·w + bias, four rows of w at a time.
func doubleProduct(x [][]float64, w tensor.HalfMatrix, bias []float32) [][]float64 {
	out := make([][]float64, len(x))
	for i := range x {
		out[i] = make([]float64, w.Out)
		for j := range out[i] {
			out[i][j] = float64(bias[j])
		}
	}
	var rows [4][]float64
	for k := 0; k < w.In; k += 4 {
		for r := range rows {
			rows[r] = slices.Grow(rows[r][:0], w.Out)[:w.Out]
			for j := range rows[r] {
				rows[r][j] = float64(tensor.F16ToF32(binary.LittleEndian.Uint16(w.Data[2*((k+r)*w.Out+j):])))
			}
		}
		tensor.Parallel(len(x), 4*len(x)*w.Out, func(i int) {
			a, to := x[i][k:k+4], out[i]
			r0, r1, r2, r3 := rows[0][:len(to)], rows[1][:len(to)], rows[2][:len(to)], rows[3][:len(to)]
			for j := range to {
				to[j] += a[0]*r0[j] + a[1]*r1[j] + a[2]*r2[j] + a[3]*r3[j]
			}
		})
	}
	return out
}

// sees is the definition of the patterns.
func sees(kind pattern, block, i, j int) bool {
	switch kind {
	case inBlock:
		return j/block == i/block && j <= i
	case across:
		return j%block == i%block && j <= i
	}
	return j/block == i/block-1
}

func doubleAttention(qkv [][]float64, c Config, kind pattern, i int) []float64 {
	out, width := make([]float64, c.State), c.State/c.Heads
	for h := 0; h < c.State; h += width {
		weights, sum := map[int]float64{}, 0.0
		for j := range qkv {
			if !sees(kind, c.Context/c.Blocks, i, j) {
				continue
			}
			score := 0.0
			for d := h; d < h+width; d++ {
				score += qkv[i][d] * qkv[j][c.State+d]
			}
			weights[j] = math.Exp(score / math.Sqrt(float64(width)))
			sum += weights[j]
		}
		for j, weight := range weights {
			for d := h; d < h+width; d++ {
				out[d] += weight / sum * qkv[j][2*c.State+d]
			}
		}
	}
	return out
}

// Every pair of positions is visited if and only if the definition of the pattern says so.
func TestGroupsAreThePatterns(t *testing.T) {
	t.Parallel()
	const block = 8
	for _, n := range []int{1, 7, 8, 9, 16, 31, 64} {
		for kind := range patterns {
			seen := map[[2]int]int{}
			for _, g := range kind.groups(n, block) {
				for i := range g.queries {
					keys := g.keys
					if g.causal {
						keys = i + 1
					}
					for j := range keys {
						seen[[2]int{g.query + i*g.step, g.key + j*g.step}]++
					}
				}
			}
			for i := range n {
				for j := range n {
					want := 0
					if sees(kind, block, i, j) {
						want = 1
					}
					require.Equal(t, want, seen[[2]int{i, j}], "pattern %d, %d positions: query %d, key %d", kind, n, i, j)
					delete(seen, [2]int{i, j})
				}
			}
			require.Empty(t, seen, "pattern %d reaches beyond %d positions", kind, n)
		}
	}
}

// With rows of tiny variance the epsilon is what divides, so that any other value shows.
func TestLayerNormsEpsilonIs1e5(t *testing.T) {
	t.Parallel()
	o := norm{weight: []float32{1, 1}, bias: []float32{0, 0}}
	got := make([]float32, 2)
	o.apply(got, []float32{0.001, -0.001}, 1)
	want := 0.001 / math.Sqrt(1e-6+1e-5)
	require.InDeltaSlice(t, []float64{want, -want}, got, 1e-6)
}
