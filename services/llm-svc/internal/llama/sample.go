package llama

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/shared/tensor"
)

// sampler chooses tokens. Equal settings and logits give equal tokens.
type sampler struct {
	temperature, topP float32
	rand              *rand.Rand
}

// newSampler seeds a sampler of its own for each question, so that answers do not depend on what else runs.
func newSampler(d engine.Decode, index int) *sampler {
	topP := d.TopP
	if topP <= 0 || topP > 1 {
		topP = 1
	}
	source := rand.NewPCG(d.Seed, uint64(index))
	return &sampler{temperature: d.Temperature, topP: topP, rand: rand.New(source)} //nolint:gosec // repeatable by seed, guards nothing
}

// choose picks the next token: the most likely one (the lowest id of equals) when the temperature is 0, else one drawn
// from the smallest set of tokens whose probability reaches topP (arXiv:1904.09751). logits are overwritten.
func (s *sampler) choose(logits []float32) (int, error) {
	if !tensor.Finite(logits) {
		return 0, errors.New("choosing a token: the model's scores are not finite")
	}
	if s.temperature <= 0 {
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		return best, nil
	}
	// A tiny temperature must not make infinities: scores are taken relative to the best one, in float64.
	high := slices.Max(logits)
	for i, v := range logits {
		logits[i] = float32(math.Max(float64(v-high)/float64(s.temperature), -1e4))
	}
	tensor.Softmax(logits)
	return s.draw(logits), nil
}

func (s *sampler) draw(probabilities []float32) int {
	order := make([]int, len(probabilities))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(probabilities[b], probabilities[a]) })
	kept, mass := 0, float32(0)
	for kept < len(order) && (mass < s.topP || kept == 0) {
		mass += probabilities[order[kept]]
		kept++
	}
	at := s.rand.Float32() * mass
	for _, id := range order[:kept] {
		if at -= probabilities[id]; at < 0 {
			return id
		}
	}
	return order[0]
}
