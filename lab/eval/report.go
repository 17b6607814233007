package eval

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Figure is one number of the summary.
type Figure struct {
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
	// Low and High are the 95 % bootstrap interval over clips.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// N is how many answers the figure is of.
	N int `json:"n"`
	// Constant is what the best constant answer scores, and MIR what engine/mir scores, on the same clips; null = there is none.
	Constant *float64 `json:"constant"`
	MIR      *float64 `json:"mir"`
}

// Item is one answer, read and scored.
type Item struct {
	Clip     string `json:"clip"`
	Task     string `json:"task"`
	Question string `json:"question"`
	Answer   string `json:"answer"`
	// Read is what the answer was read as, "" = it could not be read, and Want what is true.
	Read  string  `json:"read"`
	Want  string  `json:"want"`
	Score float64 `json:"score"`
	// MIR is engine/mir's reading.
	MIR string `json:"mir,omitempty"`
	// Likelihoods are of the choices, in the order in which Read and Want count them.
	Likelihoods []Likelihood `json:"likelihoods,omitempty"`
}

// Unread tells whether the answer of a closed task could not be read, which counts as wrong.
func (i Item) Unread() bool {
	return i.Read == "" && i.Task != TaskCaptions && i.Task != TaskUnanswerable
}

// LeftOut is a clip that could not be asked about.
type LeftOut struct {
	Clip   string `json:"clip"`
	Reason string `json:"reason"`
}

// Ground says what becomes of a task's score when the audio is shuffled between clips.
type Ground struct {
	Task     string  `json:"task"`
	Metric   string  `json:"metric"`
	True     float64 `json:"true_audio"`
	Shuffled float64 `json:"shuffled_audio"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Constant float64 `json:"constant"`
	// Falls: with foreign audio the score is not above the constant answer's. Hears: with its own audio it is above the interval of foreign audio.
	// Beats: with its own audio it is above the constant answer's.
	Falls bool `json:"falls_to_constant"`
	Hears bool `json:"hears_the_audio"`
	Beats bool `json:"beats_constant"`
}

// Verdict is the finding in a sentence.
func (g Ground) Verdict() string {
	switch {
	case g.Falls && g.Hears && g.Beats:
		return "grounded: with foreign audio the score falls to the constant answer's"
	case g.Hears && g.Beats:
		return "partly a prior: with foreign audio the score falls, but not to the constant answer's"
	case g.Hears:
		return "it hears the audio, and yet scores no better than a constant answer"
	}
	return "a prior: the score does not depend on the audio"
}

// Robust is a task's score on changed audio.
type Robust struct {
	Variant string  `json:"variant"`
	Task    string  `json:"task"`
	Metric  string  `json:"metric"`
	Clean   float64 `json:"clean"`
	Value   float64 `json:"value"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	N       int     `json:"n"`
	// MIR is engine/mir's score on the same audio; null = there is none.
	MIR *float64 `json:"mir"`
}

// Confusion counts what each true class was read as; the last column is of answers that could not be read or that named no class.
type Confusion struct {
	Task    string   `json:"task"`
	Classes []string `json:"classes"`
	Read    []string `json:"read"`
	Counts  [][]int  `json:"counts"`
}

// Report is the result of an evaluation.
type Report struct {
	Format  string            `json:"format"`
	Set     string            `json:"set"`
	Model   string            `json:"model"`
	Digest  string            `json:"digest"`
	Seed    uint64            `json:"seed"`
	Clips   int               `json:"clips"`
	Summary map[string]Figure `json:"summary"`
	// Order lists the summary's names as tables show them.
	Order      []string       `json:"order"`
	Families   []Family       `json:"families,omitempty"`
	Keys       map[string]int `json:"key_relations,omitempty"`
	Confusions []Confusion    `json:"confusions,omitempty"`
	Grounding  []Ground       `json:"grounding,omitempty"`
	Robustness []Robust       `json:"robustness,omitempty"`
	// Unread are the answers that could not be read.
	Unread        []Item    `json:"unread"`
	LeftOut       []LeftOut `json:"left_out"`
	IgnoredLabels []string  `json:"ignored_labels,omitempty"`
	Items         []Item    `json:"items"`
}

// ReportFormat names the form of the report.
const ReportFormat = "larkstream.eval/v1"

func (r *Report) put(name string, f Figure) {
	if r.Summary == nil {
		r.Summary = map[string]Figure{}
	}
	r.Summary[name] = f
	r.Order = append(r.Order, name)
}

// finish fills what follows from the items.
func (r *Report) finish() {
	r.Unread = []Item{}
	for _, i := range r.Items {
		if i.Unread() {
			r.Unread = append(r.Unread, i)
		}
	}
	if r.LeftOut == nil {
		r.LeftOut = []LeftOut{}
	}
}

// WriteTable prints the summary as a Markdown table.
func WriteTable(w io.Writer, r Report) {
	fmt.Fprintf(w, "%s, digest %.16s, %d clips of %s\n\n", r.Model, r.Digest, r.Clips, r.Set)
	fmt.Fprintf(w, "| task | metric | model (95 %%) | constant answer | engine/mir | n |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, name := range r.Order {
		f := r.Summary[name]
		fmt.Fprintf(w, "| %s | %s | %s (%s to %s) | %s | %s | %d |\n", name, f.Metric, digits(f.Value), digits(f.Low), digits(f.High), optional(f.Constant), optional(f.MIR), f.N)
	}
	fmt.Fprintln(w)
	for _, g := range r.Grounding {
		fmt.Fprintf(w, "Shuffled audio, %s (%s): %s with its own audio, %s with foreign audio, %s constant. %s.\n", g.Task, g.Metric, digits(g.True), digits(g.Shuffled), digits(g.Constant), sentence(g.Verdict()))
	}
	if n := len(r.Unread); n > 0 {
		fmt.Fprintf(w, "%d answers could not be read and count as wrong; the report lists them.\n", n)
	}
	if n := len(r.LeftOut); n > 0 {
		fmt.Fprintf(w, "%d clips were left out because they could not be read, the first: %s: %s\n", n, r.LeftOut[0].Clip, r.LeftOut[0].Reason)
	}
	if len(r.IgnoredLabels) > 0 {
		fmt.Fprintf(w, "Labels that no task knows were ignored: %s\n", strings.Join(r.IgnoredLabels, ", "))
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func digits(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return digits(*v)
}

// confusion counts items of a task.
func confusion(task string, pairs []pair) Confusion {
	c := Confusion{Task: task, Classes: trueClasses(pairs)}
	slices.Sort(c.Classes)
	c.Read = append(slices.Clone(c.Classes), "other or not read")
	c.Counts = make([][]int, len(c.Classes))
	for i := range c.Counts {
		c.Counts[i] = make([]int, len(c.Read))
	}
	for _, p := range pairs {
		column := slices.Index(c.Classes, p.got)
		if column < 0 {
			column = len(c.Classes)
		}
		c.Counts[slices.Index(c.Classes, p.want)][column]++
	}
	return c
}

const maxReport = 1 << 30

// ReadReport reads a report that lark eval wrote.
func ReadReport(path string) (Report, error) {
	var rep Report
	file, err := os.Open(path)
	if err != nil {
		return rep, fmt.Errorf("reading report: %w", err)
	}
	defer file.Close()
	if err := json.NewDecoder(io.LimitReader(file, maxReport)).Decode(&rep); err != nil {
		return rep, fmt.Errorf("reading report %s: %w", path, err)
	}
	if rep.Format != ReportFormat {
		return rep, fmt.Errorf("reading report %s: it is no report of lark eval", path)
	}
	return rep, nil
}

// ReadCaptions reads the captions of another run's report, by clip.
func ReadCaptions(path string) (map[string]string, error) {
	rep, err := ReadReport(path)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, i := range rep.Items {
		if i.Task == TaskCaptions {
			out[i.Clip] = i.Answer
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading report %s: it has no captions", path)
	}
	return out, nil
}
