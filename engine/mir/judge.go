package mir

import "math"

// dot is the score of one row of cues.
func dot(cues, weights []float64) float64 {
	sum := 0.0
	for i, w := range weights {
		sum += w * cues[i]
	}
	return sum
}

// softmax turns scores into probabilities in place.
func softmax(scores []float64) []float64 {
	most := math.Inf(-1)
	for _, s := range scores {
		most = max(most, s)
	}
	sum := 0.0
	for i, s := range scores {
		scores[i] = math.Exp(s - most)
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
	return scores
}

// top returns the places of the highest and the second highest value, -1 where there is none.
func top(x []float64) (first, second int) {
	first, second = -1, -1
	most, next := math.Inf(-1), math.Inf(-1)
	for i, v := range x {
		switch {
		case first < 0 || v > most:
			second, next = first, most
			first, most = i, v
		case second < 0 || v > next:
			second, next = i, v
		}
	}
	return first, second
}
