package vectors

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"math"
	"slices"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

// Store is the part of the job store that a search reads.
type Store interface {
	EachVector(ctx context.Context, runID string, after, limit int, fn func(n int, space string, values []byte)) (read int, err error)
}

// Neighbour is an item with its cosine similarity, -1 to 1.
type Neighbour struct {
	N          int
	Similarity float64
}

// Found is what a search has found.
type Found struct {
	// Nearest has the most similar item first.
	Nearest []Neighbour
	// Compared counts the vectors that were compared, Other those of another space. The item itself is among neither.
	Compared, Other int
}

// pageBytes is what the vectors of a page take.
const pageBytes = 4 << 20

// PageSize is how many vectors of a width fit into a page that stays small whatever the encoder.
func PageSize(width int) int { return min(max(pageBytes/(4*max(width, 1)), 16), 4096) }

// Nearest compares an item with every other item of a run that has a vector, and returns the most similar ones. It reads all vectors of the run once and keeps a
// page of them in memory.
func Nearest(ctx context.Context, from Store, run string, of store.ItemVector, most int) (found Found, err error) {
	best, limit, after := &worstFirst{}, PageSize(len(of.Values)), 0
	for {
		read, err := from.EachVector(ctx, run, after, limit, func(n int, space string, values []byte) {
			after = n
			switch {
			case n == of.N:
			case space != of.Space || len(values) != 4*len(of.Values):
				found.Other++
			default:
				found.Compared++
				best.offer(Neighbour{N: n, Similarity: cosine(values, of.Values)}, most)
			}
		})
		if err != nil {
			return Found{}, err
		}
		if read < limit {
			break
		}
	}
	found.Nearest = *best
	slices.SortFunc(found.Nearest, func(a, b Neighbour) int { return nearer(b, a) })
	return found, nil
}

// cosine is the similarity of two vectors of length 1, one of them in little-endian float32.
func cosine(a []byte, b []float32) float64 {
	var sum float64
	for i, v := range b {
		sum += float64(math.Float32frombits(binary.LittleEndian.Uint32(a[4*i:]))) * float64(v)
	}
	return min(max(sum, -1), 1)
}

// nearer orders neighbours, the nearest last. Of equals, the one that comes first in the run is nearer.
func nearer(a, b Neighbour) int {
	return cmp.Or(cmp.Compare(a.Similarity, b.Similarity), cmp.Compare(b.N, a.N))
}

// worstFirst is a heap whose first element is the farthest.
type worstFirst []Neighbour

func (h worstFirst) Len() int           { return len(h) }
func (h worstFirst) Less(i, j int) bool { return nearer(h[i], h[j]) < 0 }
func (h worstFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *worstFirst) Push(x any) { *h = append(*h, x.(Neighbour)) }

// Pop implements heap.Interface.
func (h *worstFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// offer keeps a neighbour if it is among the nearest.
func (h *worstFirst) offer(n Neighbour, most int) {
	switch {
	case most <= 0:
	case len(*h) < most:
		heap.Push(h, n)
	case nearer(n, (*h)[0]) > 0:
		(*h)[0] = n
		heap.Fix(h, 0)
	}
}
