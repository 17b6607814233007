// Package combine makes one answer about a track out of the answers about its windows.
//
// A fact is combined by rule: what most windows say, weighted by what they heard. A description has no rule; the model is asked for one, over
// the windows' descriptions (Question).
package combine

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
)

// Rules by which answers are combined.
const (
	Median = "median" // of the tempos that agree, octaves apart or not
	Vote   = "vote"   // what most windows say
	Union  = "union"  // everything that any window says, with how many say it
	Joined = "joined" // the answers one behind the other
	Model  = "model"  // the model was asked about the windows' answers
)

// Answer is what was said about one window.
type Answer struct {
	Window int
	Text   string
	// Weight is what the answer counts in a vote, such as the seconds heard; above 0.
	Weight float64
}

// Result is an answer about the whole track.
type Result struct {
	Rule, Text string
	// Windows are those whose answers say so.
	Windows []int
	// Share is their part of the weight of all answers, 0 to 1.
	Share float64
}

// kind is a fact that a question may ask for, and how answers with it are combined.
type kind struct {
	asks    *regexp.Regexp
	combine func(answers []Answer) (Result, bool)
}

func kinds() []kind {
	return []kind{
		{regexp.MustCompile(`(?i)\b(tempo|bpm|beats per minute|how fast)\b`), tempo},
		{regexp.MustCompile(`(?i)\b(key|tonality|tonic)\b`), vote(keyIn, "The key is %s.")},
		{regexp.MustCompile(`(?i)\b(time signature|metre|meter)\b`), vote(tags.MetreIn, "The time signature is %s.")},
		{regexp.MustCompile(`(?i)\binstruments?\b`), instruments},
	}
}

var yesNoQuestion = regexp.MustCompile(`(?i)^\W*(is|are|was|were|does|do|did|has|have|can|could|will)\b`)

// Facts combines answers to a question for one fact: tempo, key, metre, instruments, or yes and no. ok is false if the question asks for something
// else or for several things, or if less than half of the answers (by weight) name the fact.
func Facts(question string, answers []Answer) (r Result, ok bool) {
	answers = slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool { return !(a.Weight > 0) })
	if len(answers) == 0 {
		return Result{}, false
	}
	if yesNoQuestion.MatchString(question) {
		if r, ok := vote(yesNo, "%s.")(answers); ok {
			return r, true
		}
	}
	asked := slices.DeleteFunc(kinds(), func(k kind) bool { return !k.asks.MatchString(question) })
	if len(asked) != 1 {
		return Result{}, false
	}
	return asked[0].combine(answers)
}

func keyIn(text string) string {
	tonic, mode := tags.KeyIn(text)
	return strings.TrimSpace(tonic + " " + mode)
}

func yesNo(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch strings.ToLower(strings.Trim(word, ",.!;:")) {
	case "yes":
		return "Yes"
	case "no":
		return "No"
	}
	return ""
}

func total(answers []Answer) (sum float64) {
	for _, a := range answers {
		sum += a.Weight
	}
	return sum
}

// vote takes the value of the most weight; of equals, what is said first. Weight that names no value counts against all.
func vote(read func(string) string, sentence string) func([]Answer) (Result, bool) {
	return func(answers []Answer) (Result, bool) {
		value, r := elect(answers, read)
		r.Text = fmt.Sprintf(sentence, value)
		return r, value != ""
	}
}

// elect is the value of the most weight, "" if less than half of the weight names any.
func elect(answers []Answer, read func(string) string) (string, Result) {
	weight, windows, named := map[string]float64{}, map[string][]int{}, 0.0
	best := ""
	for _, a := range answers {
		if v := read(a.Text); v != "" {
			weight[v] += a.Weight
			windows[v] = append(windows[v], a.Window)
			named += a.Weight
		}
	}
	whole := total(answers)
	if named < whole/2 || named == 0 {
		return "", Result{}
	}
	for _, a := range answers {
		if v := read(a.Text); v != "" && weight[v] > weight[best] {
			best = v
		}
	}
	return best, Result{Rule: Vote, Windows: windows[best], Share: weight[best] / whole}
}

// reading is a tempo that a window names.
type reading struct {
	Answer
	bpm float64
}

// within is how far two tempos may lie apart and still agree, as in evaluations of tempo (Gouyon et al., 2006).
const within = 0.04

// tempo takes the tempo that most windows agree with, half and double counting as agreement, and of these the median.
func tempo(answers []Answer) (Result, bool) {
	bpm, r := tempoOf(answers, tags.TempoIn)
	r.Text = fmt.Sprintf("The tempo is %s BPM.", strconv.FormatFloat(math.Round(bpm*10)/10, 'f', -1, 64))
	return r, bpm > 0
}

// tempoOf combines tempos that read finds in the answers; 0 if less than half of the weight names one.
func tempoOf(answers []Answer, read func(string) float64) (float64, Result) {
	var all []reading
	named := 0.0
	for _, a := range answers {
		if bpm := read(a.Text); bpm > 0 && !math.IsInf(bpm, 0) {
			all = append(all, reading{a, bpm})
			named += a.Weight
		}
	}
	whole := total(answers)
	if len(all) == 0 || named < whole/2 {
		return 0, Result{}
	}
	var agreeing []reading
	most, direct := 0.0, 0.0
	for _, centre := range all {
		group, weight, same := around(centre.bpm, all)
		if weight > most || weight == most && same > direct {
			agreeing, most, direct = group, weight, same
		}
	}
	r := Result{Rule: Median, Share: most / whole}
	for _, a := range agreeing {
		r.Windows = append(r.Windows, a.Window)
	}
	return median(agreeing, most), r
}

// around are the readings that agree with a tempo, brought into its octave. same is the weight of those that were in it.
func around(centre float64, all []reading) (group []reading, weight, same float64) {
	for _, a := range all {
		for _, factor := range []float64{1, 2, 0.5} {
			if math.Abs(a.bpm*factor/centre-1) > within {
				continue
			}
			if factor == 1 {
				same += a.Weight
			}
			a.bpm *= factor
			group, weight = append(group, a), weight+a.Weight
			break
		}
	}
	return group, weight, same
}

// median is the reading at half of the weight.
func median(list []reading, weight float64) float64 {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b reading) int { return cmp.Compare(a.bpm, b.bpm) })
	sum := 0.0
	for _, a := range list {
		if sum += a.Weight; sum >= weight/2 {
			return a.bpm
		}
	}
	return 0
}

// instruments names all that any window hears, the most heard first, with the number of windows.
func instruments(answers []Answer) (Result, bool) {
	list, windows, r := unite(answers, tags.InstrumentsIn)
	var named []string
	for _, v := range list {
		named = append(named, fmt.Sprintf("%s (%d of %d)", v, windows[v], len(answers)))
	}
	r.Text = fmt.Sprintf("Heard in the windows: %s.", strings.Join(named, ", "))
	return r, len(list) > 0
}

// unite lists the words of all answers, those of the most weight first; none if less than half of the weight names any.
func unite(answers []Answer, read func(string) []string) (words []string, windows map[string]int, r Result) {
	weight, windows, named := map[string]float64{}, map[string]int{}, 0.0
	for _, a := range answers {
		found := read(a.Text)
		for _, w := range found {
			if weight[w] == 0 {
				words = append(words, w)
			}
			weight[w] += a.Weight
			windows[w]++
		}
		if len(found) > 0 {
			r.Windows = append(r.Windows, a.Window)
			named += a.Weight
		}
	}
	if whole := total(answers); named < whole/2 || whole == 0 {
		return nil, nil, Result{}
	}
	slices.SortStableFunc(words, func(a, b string) int { return cmp.Compare(weight[b], weight[a]) })
	r.Rule, r.Share = Union, named/total(answers)
	return words, windows, r
}
