package schedule

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tensor"
)

// sampler chooses tokens. Equal settings and logits give equal tokens.
type sampler struct {
	temperature, topP float32
	rand              *rand.Rand
}

// newSampler seeds a sampler of its own for each question, so that answers do not depend on what else runs.
func newSampler(d contract.Decode, index int) *sampler {
	topP := d.TopP
	if topP <= 0 || topP > 1 {
		topP = 1
	}
	source := rand.NewPCG(d.Seed, uint64(index))
	return &sampler{temperature: d.Temperature, topP: topP, rand: rand.New(source)} //nolint:gosec // repeatable by seed, guards nothing
}

// choose picks the next token: the most likely one (the lowest id of equals) when the temperature is 0, else one drawn
// from the smallest set of tokens whose probability reaches topP (arXiv:1904.09751). c, if not nil, says which tokens may
// come. scores are overwritten.
func (s *sampler) choose(scores []float32, c Constraint) (int, error) {
	if !tensor.Finite(scores) {
		return 0, errors.New("choosing a token: the model's scores are not finite")
	}
	best := argmax(scores)
	if c != nil && (s.temperature > 0 || !c.Allows(best)) {
		if err := c.Mask(scores); err != nil {
			return 0, err
		}
		if best = argmax(scores); math.IsInf(float64(scores[best]), -1) {
			return 0, errors.New("choosing a token: the form of the answer allows no token of the model")
		}
	}
	if s.temperature <= 0 {
		return best, nil
	}
	// A tiny temperature must not make infinities: scores are taken relative to the best one, in float64.
	high := scores[best]
	for i, v := range scores {
		scores[i] = float32(math.Max(float64(v-high)/float64(s.temperature), -1e4))
	}
	tensor.Softmax(scores)
	return s.draw(scores), nil
}

func argmax(scores []float32) int {
	best, high := 0, scores[0]
	for i, v := range scores {
		if v > high {
			best, high = i, v
		}
	}
	return best
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
