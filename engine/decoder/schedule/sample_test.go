package schedule

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// draws chooses many tokens from the same scores.
func draws(t *testing.T, d contract.Decode, scores []float32) map[int]int {
	t.Helper()
	s, seen := newSampler(d, 0), map[int]int{}
	for range 2000 {
		id, err := s.choose(slices.Clone(scores), nil)
		require.NoError(t, err)
		seen[id]++
	}
	return seen
}

func TestTopKKeepsTheMostLikelyTokens(t *testing.T) {
	t.Parallel()
	scores := []float32{1, 3, 2, 3, 2.5, -1, 2.5}
	seen := draws(t, contract.Decode{Temperature: 1, TopK: 3, Seed: 1}, scores)
	require.Len(t, seen, 3)
	for _, id := range []int{1, 3, 4} { // of two equals at the border the lower id is kept
		require.Positive(t, seen[id], "token %d", id)
	}
	require.Equal(t, map[int]int{1: 2000}, draws(t, contract.Decode{Temperature: 5, TopK: 1, Seed: 1}, scores), "one token is greedy")
	require.Len(t, draws(t, contract.Decode{Temperature: 9, TopK: 99, Seed: 1}, scores), len(scores), "more than there are is all of them")
}

// As in transformers, top-p is a share of what top-k has left.
func TestTopPCutsWhatTopKHasLeft(t *testing.T) {
	t.Parallel()
	log := func(p float64) float32 { return float32(math.Log(p)) }
	scores := []float32{log(0.2), log(0.1), log(0.3), log(0.4)}
	// Of 0.4 + 0.3, 0.4 is a share of 0.571: enough for 0.55, which needs two tokens of the whole.
	require.Equal(t, map[int]int{3: 2000}, draws(t, contract.Decode{Temperature: 1, TopK: 2, TopP: 0.55, Seed: 2}, scores))
	require.Len(t, draws(t, contract.Decode{Temperature: 1, TopP: 0.55, Seed: 2}, scores), 2)
	require.Len(t, draws(t, contract.Decode{Temperature: 1, TopK: 3, TopP: 0.8, Seed: 2}, scores), 3)
}

// The most likely tokens are those that sorting everything gives.
func TestTheLikeliestAreThoseOfAWholeSort(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := make([]float32, 1+r.IntN(60))
		for i := range p {
			p[i] = float32(r.IntN(12)) / 12
		}
		k := 1 + r.IntN(len(p)+2)
		whole, _ := (&sampler{}).likeliest(p)
		part, sum := (&sampler{topK: k}).likeliest(p)
		require.Equal(t, whole[:min(k, len(p))], part)
		if k < len(p) {
			want := float32(0)
			for _, id := range part {
				want += p[id]
			}
			require.InDelta(t, want, sum, 1e-5)
		}
	}
}

// A token seen loses once, however often it was seen, and whatever the sign of its score; greedy decoding is penalised too.
func TestThePenaltyMakesTokensSeenLessLikely(t *testing.T) {
	t.Parallel()
	s := newSampler(contract.Decode{RepetitionPenalty: 2}, 0)
	s.saw(0, 0, 1, 3)
	scores := []float32{5, -1, 3, 1}
	id, err := s.choose(scores, nil)
	require.NoError(t, err)
	require.Equal(t, 2, id)
	require.Equal(t, []float32{2.5, -2, 3, 0.5}, scores)
	for _, off := range []float32{0, 1} {
		s := newSampler(contract.Decode{RepetitionPenalty: off}, 0)
		s.saw(0)
		id, err := s.choose([]float32{5, 4}, nil)
		require.NoError(t, err)
		require.Zero(t, id)
	}
}
