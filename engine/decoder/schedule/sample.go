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
	topK              int
	penalty           float32
	seen              map[int]bool // tokens of prompt and answer; nil without a penalty
	rand              *rand.Rand
}

// newSampler seeds a sampler of its own for each question, so that answers do not depend on what else runs.
func newSampler(d contract.Decode, index int) *sampler {
	topP := d.TopP
	if topP <= 0 || topP > 1 {
		topP = 1
	}
	source := rand.NewPCG(d.Seed, uint64(index))
	s := &sampler{temperature: d.Temperature, topP: topP, topK: d.TopK, rand: rand.New(source)} //nolint:gosec // repeatable by seed, guards nothing
	if d.RepetitionPenalty > 0 && d.RepetitionPenalty != 1 {
		s.penalty, s.seen = d.RepetitionPenalty, map[int]bool{}
	}
	return s
}

// saw notes tokens of the prompt or the answer.
func (s *sampler) saw(ids ...int) {
	if s.seen == nil {
		return
	}
	for _, id := range ids {
		s.seen[id] = true
	}
}

// choose picks the next token: the most likely one (the lowest id of equals) when the temperature is 0, else one drawn from the topK most likely
// tokens, and of these from the smallest set whose probability reaches topP (arXiv:1904.09751). The penalty comes first, as in transformers. c, if
// not nil, says which tokens may come. scores are overwritten.
func (s *sampler) choose(scores []float32, c Constraint) (int, error) {
	if !tensor.Finite(scores) {
		return 0, errors.New("choosing a token: the model's scores are not finite")
	}
	s.penalise(scores)
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

// penalise makes the tokens seen less likely, once each: positive scores are divided by the penalty, negative ones multiplied.
func (s *sampler) penalise(scores []float32) {
	for id := range s.seen {
		if scores[id] > 0 {
			scores[id] /= s.penalty
		} else {
			scores[id] *= s.penalty
		}
	}
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

// draw takes a token of the most likely ones; of equals the lowest ids count as more likely.
func (s *sampler) draw(probabilities []float32) int {
	order, whole := s.likeliest(probabilities)
	kept, mass := 0, float32(0)
	for kept < len(order) && (mass < s.topP*whole || kept == 0) {
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

// likeliest sorts the topK most likely tokens, and gives their probability together. A vocabulary is large and topK small: most tokens are
// compared with the least likely of those kept, and no more.
func (s *sampler) likeliest(probabilities []float32) (order []int, whole float32) {
	more := func(a, b int) int {
		return cmp.Or(cmp.Compare(probabilities[b], probabilities[a]), cmp.Compare(a, b))
	}
	if s.topK <= 0 || s.topK >= len(probabilities) {
		order = make([]int, len(probabilities))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, more)
		return order, 1
	}
	order = make([]int, 0, s.topK+1)
	for id, p := range probabilities {
		if len(order) == s.topK && p <= probabilities[order[s.topK-1]] {
			continue
		}
		at, _ := slices.BinarySearchFunc(order, id, more)
		order = slices.Insert(order, at, id)[:min(len(order)+1, s.topK)]
	}
	for _, id := range order {
		whole += probabilities[id]
	}
	return order, whole
}
