// Package scheduletest holds the behaviour that every backend of the scheduler must show, on the level of its scores.
package scheduletest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
)

// Text is a prompt with its frames, and what follows.
type Text struct {
	Prefix []int
	Soft   []float32
	After  []int
	Answer []int
}

// Scores reads a text alone: its prefix, then the rest as a sequence that shares it, the answer token by token. It returns
// the scores after the prompt and after each token of the answer.
func Scores(t *testing.T, b schedule.Backend, text Text) [][]float32 {
	t.Helper()
	width := b.Shape().Hidden
	require.NoError(t, b.Open(0, schedule.None, len(text.Prefix)+len(text.Soft)/width))
	extend(t, b, schedule.Rows{Seq: 0, Tokens: text.Prefix}, schedule.Rows{Seq: 0, Vectors: text.Soft})
	require.NoError(t, b.Open(1, 0, len(text.After)+len(text.Answer)))
	all := [][]float32{extend(t, b, schedule.Rows{Seq: 1, Tokens: text.After, Scores: true})[0]}
	for _, id := range text.Answer {
		all = append(all, extend(t, b, schedule.Rows{Seq: 1, Tokens: []int{id}, Scores: true})[0])
	}
	b.Free(1)
	b.Free(0)
	require.Zero(t, b.Used())
	return all
}

// extend reads pieces of at most a chunk and returns copies of the scores asked for.
func extend(t *testing.T, b schedule.Backend, rows ...schedule.Rows) [][]float32 {
	t.Helper()
	var cut []schedule.Rows
	for _, r := range rows {
		cut = append(cut, pieces(b.Shape(), r)...)
	}
	scores, err := b.Extend(cut)
	require.NoError(t, err)
	require.Len(t, scores, len(cut))
	var all [][]float32
	for i, r := range cut {
		if !r.Scores {
			require.Nil(t, scores[i])
			continue
		}
		require.Len(t, scores[i], b.Shape().Vocab)
		all = append(all, append([]float32(nil), scores[i]...))
	}
	return all
}

func pieces(s schedule.Shape, r schedule.Rows) []schedule.Rows {
	var list []schedule.Rows
	for n := s.Chunk; len(r.Tokens) > n; r.Tokens = r.Tokens[n:] {
		list = append(list, schedule.Rows{Seq: r.Seq, Tokens: r.Tokens[:n]})
	}
	for n := s.Chunk * s.Hidden; len(r.Vectors) > n; r.Vectors = r.Vectors[n:] {
		list = append(list, schedule.Rows{Seq: r.Seq, Vectors: r.Vectors[:n]})
	}
	if len(r.Tokens)+len(r.Vectors) == 0 {
		return list
	}
	return append(list, r)
}

// Difference is the largest one between two lists of scores.
func Difference(t *testing.T, want, got [][]float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	worst := 0.0
	for i := range want {
		require.Len(t, got[i], len(want[i]))
		for j := range want[i] {
			d := math.Abs(float64(want[i][j] - got[i][j]))
			require.False(t, math.IsNaN(d), "scores %d of token %d", i, j)
			worst = max(worst, d)
		}
	}
	return worst
}

// Run shows the behaviour on backends of at least 400 positions and 60 sequences that open makes. The largest difference of scores between
// runs that should be equal is tolerance; 0 demands equal bits.
func Run(t *testing.T, tolerance float64, open func(t *testing.T) schedule.Backend) {
	t.Helper()
	s := suite{tolerance: tolerance, open: func(t *testing.T) schedule.Backend {
		t.Helper()
		b := open(t)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}}
	t.Run("a batch scores as each alone", s.batch)
	t.Run("a shared prefix scores as one's own", s.shared)
	t.Run("prompts beside decoding change nothing", s.mixed)
	t.Run("what is freed is gone", s.free)
}

type suite struct {
	tolerance float64
	open      func(t *testing.T) schedule.Backend
}

// text is one of several texts of different lengths.
func text(b schedule.Backend, seed int) Text {
	s := b.Shape()
	ids := func(n, from int) []int {
		var list []int
		for i := range n {
			list = append(list, (from+i*37+seed*11)%s.Vocab)
		}
		return list
	}
	return Text{
		Prefix: ids(3, 5), Soft: decodertest.Soft(seed, 20+seed, s.Hidden).Data, After: ids(6+seed, 90), Answer: ids(5, 40),
	}
}

const texts = 4

// batch reads several texts at once, in all phases together.
func (s suite) batch(t *testing.T) {
	t.Parallel()
	b := s.open(t)
	want := make([][][]float32, texts)
	for i := range want {
		want[i] = Scores(t, b, text(b, i))
	}
	got := make([][][]float32, texts)
	var rows []schedule.Rows
	for i := range texts {
		x := text(b, i)
		require.NoError(t, b.Open(2*i, schedule.None, len(x.Prefix)+len(x.Soft)/b.Shape().Hidden))
		rows = append(rows, schedule.Rows{Seq: 2 * i, Tokens: x.Prefix}, schedule.Rows{Seq: 2 * i, Vectors: x.Soft})
	}
	extend(t, b, rows...)
	rows = nil
	for i := range texts {
		x := text(b, i)
		require.NoError(t, b.Open(2*i+1, 2*i, len(x.After)+len(x.Answer)))
		rows = append(rows, schedule.Rows{Seq: 2*i + 1, Tokens: x.After, Scores: true})
	}
	keep := func(scores [][]float32) {
		for i := range texts {
			got[i] = append(got[i], scores[i])
		}
	}
	keep(extend(t, b, rows...))
	for step := range text(b, 0).Answer {
		rows = nil
		for i := range texts {
			rows = append(rows, schedule.Rows{Seq: 2*i + 1, Tokens: text(b, i).Answer[step : step+1], Scores: true})
		}
		keep(extend(t, b, rows...))
	}
	for i := range texts {
		s.close(t, want[i], got[i], "text %d", i)
	}
}

func (s suite) close(t *testing.T, want, got [][]float32, what string, args ...any) {
	t.Helper()
	d := Difference(t, want, got)
	require.LessOrEqual(t, d, s.tolerance, append([]any{what}, args...)...)
	t.Logf("largest difference %.1e", d)
}

// shared compares several questions that share a prefix with a sequence that has everything to itself.
func (s suite) shared(t *testing.T) {
	t.Parallel()
	b := s.open(t)
	x, width := text(b, 2), b.Shape().Hidden
	before := len(x.Prefix) + len(x.Soft)/width
	require.NoError(t, b.Open(0, schedule.None, before))
	extend(t, b, schedule.Rows{Seq: 0, Tokens: x.Prefix}, schedule.Rows{Seq: 0, Vectors: x.Soft})
	once := b.Used()
	require.Equal(t, before, once)
	for i := range texts {
		x.After = text(b, i).After
		require.NoError(t, b.Open(1+i, 0, len(x.After)))
		got := extend(t, b, schedule.Rows{Seq: 1 + i, Tokens: x.After, Scores: true})

		require.NoError(t, b.Open(50, schedule.None, before+len(x.After)))
		want := extend(t, b, schedule.Rows{Seq: 50, Tokens: x.Prefix}, schedule.Rows{Seq: 50, Vectors: x.Soft},
			schedule.Rows{Seq: 50, Tokens: x.After, Scores: true})
		b.Free(50)
		// Alone, a text may be computed by other products, in another order of sums.
		require.Less(t, Difference(t, want, got), max(s.tolerance, 1e-4), "question %d", i)
		once += len(x.After)
	}
	require.Equal(t, once, b.Used(), "a shared prefix is held once")
}

// mixed decodes one text while others are read, in one batch.
func (s suite) mixed(t *testing.T) {
	t.Parallel()
	b := s.open(t)
	x, width := text(b, 1), b.Shape().Hidden
	want := Scores(t, b, x)
	require.NoError(t, b.Open(0, schedule.None, len(x.Prefix)+len(x.Soft)/width))
	extend(t, b, schedule.Rows{Seq: 0, Tokens: x.Prefix}, schedule.Rows{Seq: 0, Vectors: x.Soft})
	require.NoError(t, b.Open(1, 0, len(x.After)+len(x.Answer)))
	got := extend(t, b, schedule.Rows{Seq: 1, Tokens: x.After, Scores: true})
	for i, id := range x.Answer {
		y := text(b, i)
		require.NoError(t, b.Open(10+i, schedule.None, 200))
		scores := extend(t, b, schedule.Rows{Seq: 1, Tokens: []int{id}, Scores: true},
			schedule.Rows{Seq: 10 + i, Tokens: y.Prefix}, schedule.Rows{Seq: 10 + i, Vectors: y.Soft}, schedule.Rows{Seq: 10 + i, Tokens: y.After, Scores: true})
		got = append(got, scores[0])
		b.Free(10 + i)
	}
	s.close(t, want, got, "decoding beside prompts")
}

func (s suite) free(t *testing.T) {
	t.Parallel()
	b := s.open(t)
	want := Scores(t, b, text(b, 3))
	for i := range 20 {
		x := text(b, i%texts)
		require.NoError(t, b.Open(i, schedule.None, 100))
		extend(t, b, schedule.Rows{Seq: i, Tokens: x.Prefix}, schedule.Rows{Seq: i, Vectors: x.Soft})
		b.Free(i)
		b.Free(i)
	}
	require.Zero(t, b.Used())
	s.close(t, want, Scores(t, b, text(b, 3)), "after others have come and gone")
}
