package reference

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
)

func tinyWeights(tb testing.TB) *weights {
	tb.Helper()
	w, err := loadWeights(modeltest.Bundle(tb))
	require.NoError(tb, err)
	return w
}

// soft is a random soft prompt for the tiny model.
func soft(seed uint64, frames, width int) tensor.Matrix {
	r := rand.New(rand.NewPCG(seed, 1))
	data := make([]float32, frames*width)
	for i := range data {
		data[i] = float32(r.NormFloat64())
	}
	return tensor.Matrix{Rows: frames, Cols: width, Data: data}
}

func wide(x []float32, width int) [][]float64 {
	var rows [][]float64
	for ; len(x) > 0; x = x[width:] {
		row := make([]float64, width)
		for i, v := range x[:width] {
			row[i] = float64(v)
		}
		rows = append(rows, row)
	}
	return rows
}

func requireClose(t *testing.T, want []float64, got []float32, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], got[i], 2e-4, "%s: logit %d", what, i)
	}
}

// TestForwardMatchesTheFormulas reads a text as prefix, question and single tokens, and compares with the oracle.
func TestForwardMatchesTheFormulas(t *testing.T) {
	t.Parallel()
	w := tinyWeights(t)
	for _, frames := range []int{1, 2, 17, 70} {
		x := soft(uint64(frames), frames, w.Hidden).Data
		question, answer := []int{5, 249, 260, 6}, []int{250, 7, 262}
		all := append([]float32(nil), x...)
		for _, id := range append(append([]int(nil), question...), answer...) {
			all = append(all, w.row(id)...)
		}
		want := oracle(w, wide(all, w.Hidden))

		var ws workspace
		prefix := &thread{own: w.newMemory(frames)}
		hidden := w.prefill(&ws, prefix, append([]float32(nil), x...))
		requireClose(t, want[frames-1], w.logits(&ws, hidden), "prefix")

		text := &thread{prefix: prefix.own, own: w.newMemory(len(question) + len(answer))}
		hidden = w.prefill(&ws, text, append([]float32(nil), all[frames*w.Hidden:][:len(question)*w.Hidden]...))
		requireClose(t, want[frames+len(question)-1], w.logits(&ws, hidden), "question")
		for i, id := range answer {
			logits := w.decode(&ws, []*thread{text}, []int{id})
			requireClose(t, want[frames+len(question)+i], logits, "answer")
		}
		require.Equal(t, frames, prefix.own.size, "a shared prefix is only read")
	}
}

// TestABatchGivesTheSameLogitsAsEachAlone demands equal bits, not close ones.
func TestABatchGivesTheSameLogitsAsEachAlone(t *testing.T) {
	t.Parallel()
	w := tinyWeights(t)
	var ws workspace
	shared := &thread{own: w.newMemory(40)}
	w.prefill(&ws, shared, soft(3, 40, w.Hidden).Data)
	make5 := func() []*thread {
		var threads []*thread
		for i := range 5 {
			th := &thread{own: w.newMemory(30)}
			if i != 2 { // one reads no shared prefix
				th.prefix = shared.own
			}
			w.prefill(&ws, th, soft(uint64(i+10), 3+i, w.Hidden).Data)
			threads = append(threads, th)
		}
		return threads
	}
	together, alone := make5(), make5()
	for step := range 4 {
		tokens := []int{step, 250 + step, 9, 260 - step, 40}
		batch := w.decode(&ws, together, tokens)
		batch = append([]float32(nil), batch...)
		for i := range alone {
			single := w.decode(&ws, alone[i:i+1], tokens[i:i+1])
			require.Equal(t, batch[i*w.Vocab:][:w.Vocab], single, "step %d thread %d", step, i)
		}
	}
}

func TestWeightsOfAnotherShapeAreRefused(t *testing.T) {
	t.Parallel()
	m := modeltest.Manifest()
	dir := modeltest.Write(t, m)
	m.LLM.FFN = 50
	require.NoError(t, m.Seal(dir))
	b, err := model.Load(dir)
	require.NoError(t, err)
	_, err = loadWeights(b)
	require.ErrorContains(t, err, "gate_proj")
	require.ErrorContains(t, err, "[50 32] is expected")
}

// BenchmarkPrefill and BenchmarkDecode run a model of lark-nano's shape: go test -run - -bench . ./internal/llama
func benchWeights(b *testing.B) *weights {
	m := modeltest.Manifest()
	m.LLM.Layers, m.LLM.Hidden, m.LLM.Heads, m.LLM.KVHeads, m.LLM.FFN, m.LLM.Context = 4, 192, 4, 4, 512, 512
	m.Projector.Out = 192
	bundle, err := model.Load(modeltest.Write(b, m))
	require.NoError(b, err)
	w, err := loadWeights(bundle)
	require.NoError(b, err)
	return w
}

func BenchmarkPrefill271(b *testing.B) {
	w := benchWeights(b)
	x := soft(1, 271, w.Hidden).Data
	var ws workspace
	for b.Loop() {
		w.prefill(&ws, &thread{own: w.newMemory(271)}, append([]float32(nil), x...))
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, batch := range map[string]int{"batch=1": 1, "batch=4": 4, "batch=16": 16} {
		b.Run(name, func(b *testing.B) {
			w := benchWeights(b)
			var ws workspace
			prefix := &thread{own: w.newMemory(271)}
			w.prefill(&ws, prefix, soft(1, 271, w.Hidden).Data)
			threads, tokens := make([]*thread, batch), make([]int, batch)
			for i := range threads {
				threads[i] = &thread{prefix: prefix.own, own: w.newMemory(200)}
			}
			for b.Loop() {
				if threads[0].own.size == 200 {
					for _, t := range threads {
						t.own.size = 0
					}
				}
				w.decode(&ws, threads, tokens)
			}
			b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
