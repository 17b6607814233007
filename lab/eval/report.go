package eval

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/larkstream/larkstream/engine/tags"
)

// Answers are a model's answers about one clip, by kind of question.
type Answers map[string]string

// Kinds of questions.
const (
	KindTempo       = "tempo"
	KindKey         = "key"
	KindMetre       = "metre"
	KindDrums       = "drums"
	KindInstruments = "instruments"
	// KindUnknowable asks what audio cannot tell.
	KindUnknowable = "unknowable"
)

// Kinds lists the kinds of questions asked of every clip.
func Kinds() []string {
	return []string{KindTempo, KindKey, KindMetre, KindDrums, KindInstruments, KindUnknowable}
}

// Score is one figure of the report.
type Score struct {
	Name string `json:"name"`
	// Model and Constant are between 0 and 1; Constant is what the best constant answer scores on the same clips.
	Model    float64 `json:"model"`
	Constant float64 `json:"constant"`
	N        int     `json:"n"`
}

// Report is the result of an evaluation.
type Report struct {
	Model  string  `json:"model"`
	Digest string  `json:"digest"`
	Clips  int     `json:"clips"`
	Scores []Score `json:"scores"`
}

// Summarise scores the answers; labels and answers belong together by position.
func Summarise(labels []Label, answers []Answers) []Score {
	s := &sums{labels: labels, answers: answers}
	tempo := func(octaves bool) (func(string, Label) float64, func() float64) {
		return func(a string, l Label) float64 { return truth(tempoRight(tags.TempoIn(a), l.TempoBPM, octaves)) },
			func() float64 { return constantTempo(labels, octaves) }
	}
	acc1, const1 := tempo(false)
	acc2, const2 := tempo(true)
	return []Score{
		s.mean("tempo within 4 %", KindTempo, acc1, const1),
		s.mean("tempo within 4 %, octaves allowed", KindTempo, acc2, const2),
		s.mean("key exact", KindKey, func(a string, l Label) float64 { return truth(parseKey(a) == l.key()) },
			func() float64 { return constantKey(labels, func(got, want key) float64 { return truth(got == want) }) }),
		s.mean("key MIREX-weighted", KindKey, func(a string, l Label) float64 { return mirex(parseKey(a), l.key()) },
			func() float64 { return constantKey(labels, mirex) }),
		s.mean("metre", KindMetre, func(a string, l Label) float64 { return truth(tags.MetreIn(a) == l.Metre) },
			func() float64 { return majority(labels, func(l Label) string { return l.Metre }) }),
		s.mean("drums", KindDrums, func(a string, l Label) float64 {
			yes, ok := parseYesNo(a)
			return truth(ok && yes == l.Drums)
		}, func() float64 { return majority(labels, func(l Label) string { return strconv.FormatBool(l.Drums) }) }),
		s.instruments(),
		s.mean("refuses what audio cannot tell", KindUnknowable, func(a string, _ Label) float64 { return truth(tags.Refuses(a)) }, func() float64 { return 1 }),
		s.falseRefusals(),
	}
}

func truth(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

type sums struct {
	labels  []Label
	answers []Answers
}

// mean is the mean score of the answers to one kind of question.
func (s *sums) mean(name, kind string, score func(string, Label) float64, constant func() float64) Score {
	total := 0.0
	for i, l := range s.labels {
		total += score(s.answers[i][kind], l)
	}
	return Score{Name: name, Model: total / float64(max(1, len(s.labels))), Constant: constant(), N: len(s.labels)}
}

func (s *sums) instruments() Score {
	var o overlap
	for i, l := range s.labels {
		o.add(parseFamilies(s.answers[i][KindInstruments]), l.Families)
	}
	return Score{Name: "instruments F1", Model: o.f1(), Constant: constantFamilies(s.labels), N: len(s.labels)}
}

// falseRefusals is how often what audio does tell was refused; lower is better, and a model that always answers scores 0.
func (s *sums) falseRefusals() Score {
	refused, asked := 0.0, 0
	for i := range s.labels {
		for _, kind := range Kinds() {
			if kind != KindUnknowable {
				refused += truth(tags.Refuses(s.answers[i][kind]))
				asked++
			}
		}
	}
	return Score{Name: "refuses what audio tells (lower is better)", Model: refused / float64(max(1, asked)), N: asked}
}

// constantTempo is the score of the best single tempo from 40 to 220.
func constantTempo(labels []Label, octaves bool) float64 {
	best := 0.0
	for bpm := 40.0; bpm <= 220; bpm++ {
		total := 0.0
		for _, l := range labels {
			total += truth(tempoRight(bpm, l.TempoBPM, octaves))
		}
		best = max(best, total)
	}
	return best / float64(max(1, len(labels)))
}

func constantKey(labels []Label, score func(got, want key) float64) float64 {
	best := 0.0
	for tonic := range 12 {
		for _, mode := range []string{"major", "minor"} {
			total := 0.0
			for _, l := range labels {
				total += score(key{tonic, mode}, l.key())
			}
			best = max(best, total)
		}
	}
	return best / float64(max(1, len(labels)))
}

// majority is the share of the most frequent value.
func majority(labels []Label, value func(Label) string) float64 {
	counts, best := map[string]int{}, 0
	for _, l := range labels {
		counts[value(l)]++
		best = max(best, counts[value(l)])
	}
	return float64(best) / float64(max(1, len(labels)))
}

// constantFamilies is the F1 of the best single list: the most frequent families, as many as serve best.
func constantFamilies(labels []Label) float64 {
	counts := map[string]int{}
	for _, l := range labels {
		for _, f := range l.Families {
			counts[f]++
		}
	}
	ranked := Families()
	slices.SortStableFunc(ranked, func(a, b string) int { return counts[b] - counts[a] })
	best := 0.0
	for n := 1; n <= len(ranked); n++ {
		var o overlap
		for _, l := range labels {
			o.add(ranked[:n], l.Families)
		}
		best = max(best, o.f1())
	}
	return best
}

// WriteTable prints a report as a Markdown table.
func WriteTable(w io.Writer, r Report) {
	fmt.Fprintf(w, "%s, digest %.16s, %d clips\n\n", r.Model, r.Digest, r.Clips)
	fmt.Fprintf(w, "| measure | model | constant answer | n |\n| --- | --- | --- | --- |\n")
	for _, s := range r.Scores {
		fmt.Fprintf(w, "| %s | %.3f | %.3f | %d |\n", s.Name, s.Model, s.Constant, s.N)
	}
}
