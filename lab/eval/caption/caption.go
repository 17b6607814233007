// Package caption compares captions with references: BLEU, ROUGE-L, METEOR and CIDEr.
//
// The formulas are those of the COCO caption evaluation (https://github.com/salaniz/pycocoevalcap), which papers quote; golden values in testdata come from
// that package and from NLTK. Two things differ from COCO's numbers on raw text: Tokens is our own and not Stanford's PTBTokenizer, and METEOR matches
// words and stems but not WordNet's synonyms, so that it is somewhat lower than METEOR with synonyms.
package caption

import (
	"math"
	"regexp"
	"strings"

	porter "github.com/blevesearch/go-porterstemmer"
)

// MaxTokens bounds a caption; what is longer is cut.
const MaxTokens = 2000

var (
	tokenPattern       = regexp.MustCompile(`[\p{L}\p{N}]+(?:[-'’/&#.][\p{L}\p{N}]+)*#?`)
	contractionPattern = regexp.MustCompile(`^(.+?)(n't|'(?:s|re|ve|ll|d|m))$`)
)

// Tokens are the words of a text in lower case, without punctuation; n't, 's and their like are words of their own.
func Tokens(text string) []string {
	var out []string
	for _, word := range tokenPattern.FindAllString(strings.ToLower(strings.ReplaceAll(text, "’", "'")), MaxTokens) {
		if m := contractionPattern.FindStringSubmatch(word); m != nil {
			out = append(out, m[1], m[2])
			continue
		}
		out = append(out, word)
	}
	return out
}

// Case is one caption with its references, as tokens.
type Case struct {
	Got  []string
	Refs [][]string
}

// orders of n-grams.
const orders = 4

// grams counts the n-grams of 1 to 4 words.
func grams(tokens []string) map[string]int {
	out := map[string]int{}
	for n := 1; n <= orders; n++ {
		for i := 0; i+n <= len(tokens); i++ {
			out[strings.Join(tokens[i:i+n], " ")]++
		}
	}
	return out
}

// order of an n-gram, from 0.
func order(gram string) int { return strings.Count(gram, " ") }

// Bleu are the counts out of which BLEU is computed; they add up over captions.
type Bleu struct {
	got, ref       float64
	guess, correct [orders]float64
}

// NewBleu counts one caption; the reference's length is that of the one closest in length.
func NewBleu(c Case) Bleu {
	b := Bleu{got: float64(len(c.Got))}
	most := map[string]int{}
	distance := math.Inf(1)
	for _, r := range c.Refs {
		for g, n := range grams(r) {
			most[g] = max(most[g], n)
		}
		d, l := math.Abs(float64(len(r)-len(c.Got))), float64(len(r))
		if d < distance || d == distance && l < b.ref {
			distance, b.ref = d, l
		}
	}
	for n := range orders {
		b.guess[n] = float64(max(0, len(c.Got)-n))
	}
	for g, n := range grams(c.Got) {
		b.correct[order(g)] += float64(min(n, most[g]))
	}
	return b
}

// Add adds another caption's counts.
func (b *Bleu) Add(o Bleu) {
	b.got += o.got
	b.ref += o.ref
	for n := range orders {
		b.guess[n] += o.guess[n]
		b.correct[n] += o.correct[n]
	}
}

// Score is BLEU with n-grams of up to n words (1 to 4) of all captions together, 0 to 1 (Papineni et al., ACL 2002).
func (b *Bleu) Score(n int) float64 {
	const small, tiny = 1e-9, 1e-15 // as COCO's code keeps its divisions
	product := 1.0
	for k := range n {
		product *= (b.correct[k] + tiny) / (b.guess[k] + small)
	}
	score := math.Pow(product, 1/float64(n))
	if ratio := (b.got + tiny) / (b.ref + small); ratio < 1 {
		score *= math.Exp(1 - 1/ratio)
	}
	return score
}

// RougeL is the F-measure of the longest common subsequence with beta 1.2, the best over references for precision and for recall (Lin, ACL workshop
// 2004), 0 to 1.
func RougeL(c Case) float64 {
	const beta2 = 1.2 * 1.2
	precision, recall := 0.0, 0.0
	for _, r := range c.Refs {
		if len(r) == 0 || len(c.Got) == 0 {
			continue
		}
		l := float64(lcs(c.Got, r))
		precision, recall = max(precision, l/float64(len(c.Got))), max(recall, l/float64(len(r)))
	}
	if precision == 0 || recall == 0 {
		return 0
	}
	return (1 + beta2) * precision * recall / (recall + beta2*precision)
}

// lcs is the length of the longest common subsequence.
func lcs(a, b []string) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		diagonal := 0
		for k, y := range b {
			above := row[k+1]
			if x == y {
				row[k+1] = diagonal + 1
			} else {
				row[k+1] = max(above, row[k])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

// Meteor matches words, then stems by Porter's algorithm, and returns the best score over references with alpha 0.9, beta 3 and gamma 0.5 (Banerjee and
// Lavie, ACL workshop 2005), 0 to 1.
func Meteor(c Case) float64 {
	best := 0.0
	for _, r := range c.Refs {
		best = max(best, meteor(c.Got, r))
	}
	return best
}

func meteor(got, ref []string) float64 {
	const alpha, beta, gamma = 0.9, 3, 0.5
	to := align(got, ref)
	matches, chunks, last := 0, 0, -2
	for i, j := range to {
		if j < 0 {
			last = -2
			continue
		}
		matches++
		if j != last+1 || i == 0 || to[i-1] < 0 {
			chunks++
		}
		last = j
	}
	if matches == 0 {
		return 0
	}
	precision, recall := float64(matches)/float64(len(got)), float64(matches)/float64(len(ref))
	f := precision * recall / (alpha*precision + (1-alpha)*recall)
	return f * (1 - gamma*math.Pow(float64(chunks)/float64(matches), beta))
}

// align gives for each word its place in the reference, -1 = none: from the end, equal words first, then equal stems.
func align(got, ref []string) []int {
	to, taken := make([]int, len(got)), make([]bool, len(ref))
	for i := range to {
		to[i] = -1
	}
	for _, same := range []func(string) string{func(w string) string { return w }, porter.StemString} {
		refs := make([]string, len(ref))
		for j, w := range ref {
			refs[j] = same(w)
		}
		for i := len(got) - 1; i >= 0; i-- {
			word := same(got[i])
			for j := len(ref) - 1; j >= 0 && to[i] < 0; j-- {
				if !taken[j] && refs[j] == word {
					to[i], taken[j] = j, true
				}
			}
		}
	}
	return to
}
