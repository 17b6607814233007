package vectors_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/vectors"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T) (*vectors.Pooler, *model.Bundle, *blob.Store, cache.Cache) {
	t.Helper()
	blobs, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, blobs.Close()) })
	b, c := modeltest.Bundle(t), cache.NewBlob(blobs, cache.F32)
	p, err := vectors.NewPooler(b, c)
	require.NoError(t, err)
	return p, b, blobs, c
}

// frames is an embedding whose frames are values in their first two numbers and 0 in the others.
func frames(b *model.Bundle, values ...[2]float32) tensor.Matrix {
	m := tensor.Matrix{Rows: len(values), Cols: b.Encoder.Width, Data: make([]float32, len(values)*b.Encoder.Width)}
	for i, v := range values {
		copy(m.Data[i*m.Cols:], v[:])
	}
	return m
}

// TestAllFramesOfAllWindowsCount alike, whatever the number of windows, and the vector has length 1.
func TestAllFramesOfAllWindowsCount(t *testing.T) {
	t.Parallel()
	p, b, _, c := setup(t)
	require.NoError(t, c.Put(t.Context(), b.EmbeddingKey("w1"), frames(b, [2]float32{3, 0}, [2]float32{3, 0}, [2]float32{3, 0})))
	require.NoError(t, c.Put(t.Context(), b.EmbeddingKey("w2"), frames(b, [2]float32{3, 16})))
	v, err := p.Pool(t.Context(), "default", store.EndedItem{Windows: []string{"w1", "w2"}}) // the mean is 3, 4
	require.NoError(t, err)
	require.Equal(t, b.EncoderKey(), v.Space)
	require.Len(t, v.Values, b.Encoder.Width)
	require.InDeltaSlice(t, []float32{0.6, 0.8}, v.Values[:2], 1e-7)
	require.Equal(t, make([]float32, b.Encoder.Width-2), v.Values[2:])
}

// TestWhatIsNotThereIsNotInvented: an embedding that is gone, damaged, of another encoder or of another tenant, or without a direction.
func TestWhatIsNotThereIsNotInvented(t *testing.T) {
	t.Parallel()
	p, b, blobs, c := setup(t)
	ctx := t.Context()
	good := frames(b, [2]float32{1, 0})
	require.NoError(t, c.Put(ctx, b.EmbeddingKey("good"), good))
	require.NoError(t, c.Put(ctx, b.EmbeddingKey("own")+"@acme", good))
	require.NoError(t, c.Put(ctx, b.EmbeddingKey("silent"), frames(b, [2]float32{1, 0}, [2]float32{-1, 0})))
	require.NoError(t, c.Put(ctx, b.EmbeddingKey("narrow"), tensor.Matrix{Rows: 1, Cols: 1, Data: []float32{1}}))
	require.NoError(t, blobs.PutBytes(ctx, b.EmbeddingKey("damaged"), []byte("no tensor")))
	for name, tc := range map[string]struct {
		windows  []string
		isolated bool
		there    bool
	}{
		"there": {windows: []string{"good"}, there: true}, "one is gone": {windows: []string{"good", "gone"}}, "no windows": {}, "a window without audio": {windows: []string{""}},
		"silence": {windows: []string{"silent"}}, "another width": {windows: []string{"narrow"}}, "damaged": {windows: []string{"good", "damaged"}},
		"an isolated tenant's own": {windows: []string{"own"}, isolated: true, there: true}, "that of others": {windows: []string{"good"}, isolated: true}, "that of an isolated tenant": {windows: []string{"own"}},
	} {
		v, err := p.Pool(ctx, "acme", store.EndedItem{Windows: tc.windows, Isolated: tc.isolated})
		require.NoError(t, err, name)
		require.Equal(t, tc.there, v != nil, name)
	}
	_, err := vectors.NewPooler(nil, c)
	require.Error(t, err)
}

// failing is a cache that does not answer.
type failing struct{ cache.Cache }

func (failing) Get(context.Context, string, cache.Shape) (tensor.Matrix, error) {
	return tensor.Matrix{}, errors.New("connection refused")
}

func TestAStoreThatDoesNotAnswerIsNoMissingEmbedding(t *testing.T) {
	t.Parallel()
	p, err := vectors.NewPooler(modeltest.Bundle(t), failing{})
	require.NoError(t, err)
	_, err = p.Pool(t.Context(), "default", store.EndedItem{Windows: []string{"w"}})
	require.ErrorContains(t, err, "connection refused")
}

// shelf is a store of vectors in memory, which notes the largest page.
type shelf struct {
	all     []store.ItemVector
	largest int
}

func (s *shelf) EachVector(_ context.Context, _ string, after, limit int, fn func(int, string, []byte)) (int, error) {
	from := slices.IndexFunc(s.all, func(v store.ItemVector) bool { return v.N > after })
	if from < 0 {
		return 0, nil
	}
	page := s.all[from:min(len(s.all), from+limit)]
	s.largest = max(s.largest, len(page))
	for _, v := range page {
		raw, err := binary.Append(nil, binary.LittleEndian, v.Values)
		if err != nil {
			return 0, err
		}
		fn(v.N, v.Space, raw)
	}
	return len(page), nil
}

// TestTheSearchIsExact: it finds what sorting everything finds, in pages whose size does not grow with the run.
func TestTheSearchIsExact(t *testing.T) {
	t.Parallel()
	const width, items = 1 << 14, 200
	rng := rand.New(rand.NewPCG(1, 2))
	s := &shelf{}
	for n := 1; n <= items; n++ {
		v := store.ItemVector{N: 3 * n, Vector: store.Vector{Space: "a", Values: make([]float32, width)}}
		angle := rng.Float64() * 2 * math.Pi
		sin, cos := math.Sincos(angle)
		v.Values[0], v.Values[width-1] = float32(cos), float32(sin)
		if n%10 == 0 {
			v.Space = "b"
		}
		s.all = append(s.all, v)
	}
	s.all[50].Values = s.all[60].Values // equals keep the order of the run
	of := s.all[4]
	type near struct {
		n   int
		sim float64
	}
	var want []near
	for _, v := range s.all {
		if v.Space == "a" && v.N != of.N {
			want = append(want, near{v.N, float64(v.Values[0])*float64(of.Values[0]) + float64(v.Values[width-1])*float64(of.Values[width-1])})
		}
	}
	slices.SortStableFunc(want, func(x, y near) int {
		switch {
		case x.sim > y.sim:
			return -1
		case x.sim < y.sim:
			return 1
		}
		return 0
	})
	for _, most := range []int{0, 1, 10, 100, 1000} {
		found, err := vectors.Nearest(t.Context(), s, "r", of, most)
		require.NoError(t, err)
		require.Equal(t, []int{items - items/10 - 1, items / 10}, []int{found.Compared, found.Other})
		require.Len(t, found.Nearest, min(most, len(want)))
		for i, f := range found.Nearest {
			require.Equal(t, want[i].n, f.N, fmt.Sprint(most, " ", i))
			require.InDelta(t, want[i].sim, f.Similarity, 1e-6)
		}
	}
	require.Equal(t, vectors.PageSize(width), s.largest)
	require.Equal(t, []int{4096, 1365, 16}, []int{vectors.PageSize(0), vectors.PageSize(768), vectors.PageSize(1 << 20)})
}
