package eval

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// resamples of a bootstrap interval.
const resamples = 1000

// interval is the 95 % percentile interval of a figure by bootstrap over n clips (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
// section 13.3): value is computed on n clips drawn with replacement. The same seed gives the same interval.
func interval(seed uint64, n int, value func(draw []int) float64) (low, high float64) {
	if n == 0 {
		return 0, 0
	}
	rng := rand.New(rand.NewPCG(seed, 0x6c61726b)) //nolint:gosec // repeatable on purpose
	values, draw := make([]float64, resamples), make([]int, n)
	for i := range values {
		for k := range draw {
			draw[k] = rng.IntN(n)
		}
		values[i] = value(draw)
	}
	slices.Sort(values)
	return values[resamples*25/1000], values[resamples*975/1000-1]
}

// pair is what an answer was read as and what is true; got "" = it could not be read.
type pair struct{ got, want string }

// measure is a figure over pairs, 0 to 1.
type measure func(pairs []pair) float64

// mean of a score of each pair.
func mean(score func(p pair) float64) measure {
	return func(pairs []pair) float64 {
		total := 0.0
		for _, p := range pairs {
			total += score(p)
		}
		return total / float64(max(1, len(pairs)))
	}
}

func truth(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

func exact(p pair) float64 { return truth(p.got != "" && p.got == p.want) }

// balanced is the mean over the true classes of the share of their clips that are right.
func balanced(pairs []pair) float64 {
	right, all := map[string]float64{}, map[string]float64{}
	for _, p := range pairs {
		all[p.want]++
		right[p.want] += exact(p)
	}
	total := 0.0
	for class, n := range all {
		total += right[class] / n
	}
	return total / float64(max(1, len(all)))
}

// Family is how well one instrument family is told. Precision, Recall and F1 are 0 to 1.
type Family struct {
	Name      string  `json:"name"`
	Clips     int     `json:"clips"`
	Named     int     `json:"named"`
	Both      int     `json:"both"`
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
}

func list(reading string) []string {
	if reading == "" {
		return nil
	}
	return strings.Split(reading, ",")
}

// families counts each family that is true or named somewhere, by name.
func families(pairs []pair) []Family {
	count := map[string]*Family{}
	get := func(name string) *Family {
		if count[name] == nil {
			count[name] = &Family{Name: name}
		}
		return count[name]
	}
	for _, p := range pairs {
		named, true_ := list(p.got), list(p.want)
		for _, f := range true_ {
			get(f).Clips++
		}
		for _, f := range named {
			get(f).Named++
			if slices.Contains(true_, f) {
				get(f).Both++
			}
		}
	}
	var out []Family
	for _, f := range count {
		f.Precision, f.Recall = float64(f.Both)/float64(max(1, f.Named)), float64(f.Both)/float64(max(1, f.Clips))
		f.F1 = 2 * float64(f.Both) / float64(max(1, f.Clips+f.Named))
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// microF1 counts all families of all clips together.
func microF1(pairs []pair) float64 {
	both, sum := 0, 0
	for _, f := range families(pairs) {
		both += f.Both
		sum += f.Clips + f.Named
	}
	return 2 * float64(both) / float64(max(1, sum))
}

// macroF1 is the mean F1 of the families that are true of some clip.
func macroF1(pairs []pair) float64 {
	total, n := 0.0, 0
	for _, f := range families(pairs) {
		if f.Clips > 0 {
			total += f.F1
			n++
		}
	}
	return total / float64(max(1, n))
}

// tempoTolerance is the usual 4 %, see Gouyon et al., "An experimental comparison of audio tempo induction algorithms", 2006.
const tempoTolerance = 0.04

// tempoWithin is accuracy 1 (factor 1) and accuracy 2 (also 2, 1/2, 3 and 1/3) of Gouyon et al.
func tempoWithin(factors ...float64) func(p pair) float64 {
	return func(p pair) float64 {
		got, err1 := strconv.ParseFloat(p.got, 64)
		want, err2 := strconv.ParseFloat(p.want, 64)
		if err1 != nil || err2 != nil || want <= 0 {
			return 0
		}
		return truth(slices.ContainsFunc(factors, func(f float64) bool {
			ratio := got / want / f
			return ratio > 1-tempoTolerance && ratio < 1+tempoTolerance
		}))
	}
}

// pitchClass of the tonics in the spelling of readings, C = 0.
var pitchClass = map[string]int{"C": 0, "Db": 1, "D": 2, "Eb": 3, "E": 4, "F": 5, "F#": 6, "G": 7, "Ab": 8, "A": 9, "Bb": 10, "B": 11}

// Relations of a key that was answered to the true one.
const (
	relSame     = "same"
	relFifth    = "fifth"
	relRelative = "relative"
	relParallel = "parallel"
	relOther    = "other"
	relNone     = "not read"
)

// keyRelation names how an answered key lies to the true one.
func keyRelation(p pair) string {
	tonic, mode, found := strings.Cut(p.got, " ")
	trueTonic, trueMode, _ := strings.Cut(p.want, " ")
	if !found {
		return relNone
	}
	apart := (pitchClass[tonic] - pitchClass[trueTonic] + 12) % 12
	switch {
	case p.got == p.want:
		return relSame
	case mode == trueMode && (apart == 7 || apart == 5):
		return relFifth
	case trueMode == "major" && mode == "minor" && apart == 9, trueMode == "minor" && mode == "major" && apart == 3:
		return relRelative
	case apart == 0:
		return relParallel
	}
	return relOther
}

// mirex is the weighted score of MIREX's key detection task. https://www.music-ir.org/mirex/wiki/2021:Audio_Key_Detection
func mirex(p pair) float64 {
	return map[string]float64{relSame: 1, relFifth: 0.5, relRelative: 0.3, relParallel: 0.2}[keyRelation(p)]
}
