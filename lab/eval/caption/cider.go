package caption

import "math"

// vector is a caption's n-grams weighted by tf-idf, one map and norm per order. pairs is its number of pairs of words, which stands for its length as in
// COCO's code.
type vector struct {
	weights [orders]map[string]float64
	norm    [orders]float64
	pairs   float64
}

// sigma of the penalty on different lengths.
const sigma = 6

// Cider returns for each caption its consensus with the references, 0 to 10 (Vedantam, Zitnick and Parikh, CVPR 2015; the variant CIDEr-D, which COCO's code
// computes). How telling an n-gram is comes from all references of all cases: a single case scores 0.
func Cider(cases []Case) []float64 {
	seenIn := map[string]float64{}
	for _, c := range cases {
		all := map[string]bool{}
		for _, r := range c.Refs {
			for g := range grams(r) {
				all[g] = true
			}
		}
		for g := range all {
			seenIn[g]++
		}
	}
	total := math.Log(float64(len(cases)))
	out := make([]float64, len(cases))
	for i, c := range cases {
		got := weigh(c.Got, seenIn, total)
		for _, r := range c.Refs {
			out[i] += 10 * similarity(got, weigh(r, seenIn, total)) / float64(len(c.Refs))
		}
	}
	return out
}

func weigh(tokens []string, seenIn map[string]float64, total float64) vector {
	var v vector
	for n := range v.weights {
		v.weights[n] = map[string]float64{}
	}
	for g, count := range grams(tokens) {
		n, w := order(g), float64(count)*(total-math.Log(max(1, seenIn[g])))
		v.weights[n][g] = w
		v.norm[n] += w * w
		if n == 1 {
			v.pairs += float64(count)
		}
	}
	for n := range v.norm {
		v.norm[n] = math.Sqrt(v.norm[n])
	}
	return v
}

// similarity is the mean cosine over the orders, each weight of the caption cut to the reference's.
func similarity(got, ref vector) float64 {
	sum, apart := 0.0, got.pairs-ref.pairs
	for n := range orders {
		dot := 0.0
		for g, w := range got.weights[n] {
			dot += min(w, ref.weights[n][g]) * ref.weights[n][g]
		}
		if got.norm[n] != 0 && ref.norm[n] != 0 {
			dot /= got.norm[n] * ref.norm[n]
		}
		sum += dot * math.Exp(-apart*apart/(2*sigma*sigma))
	}
	return sum / orders
}
