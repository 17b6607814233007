package eval

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

// CompareFormat names the form of a comparison.
const CompareFormat = "larkstream.eval.compare/v1"

// NamedReport is a report and the name that tables give it.
type NamedReport struct {
	Name   string
	Report Report
}

// Comparison is several reports of one set beside each other.
type Comparison struct {
	Format string     `json:"format"`
	Clips  int        `json:"clips"`
	Models []Compared `json:"models"`
	Rows   []Row      `json:"rows"`
}

// Compared is a report of a comparison.
type Compared struct {
	Name   string `json:"name"`
	Model  string `json:"model"`
	Digest string `json:"digest"`
	Set    string `json:"set"`
	// Grounding is what becomes of each task's score with foreign audio.
	Grounding []Ground `json:"grounding,omitempty"`
}

// Row is one line of the summaries.
type Row struct {
	Name   string `json:"name"`
	Metric string `json:"metric"`
	// Figures are in the order of Models; null = the report has none.
	Figures []*Figure `json:"figures"`
	// Changes count, in the order of Models, the answers that score higher and lower than those of the first model; empty where a row is of no answers of its own.
	Changes  []Change `json:"changes,omitempty"`
	Constant *float64 `json:"constant"`
	MIR      *float64 `json:"mir"`
}

// Change counts answers whose score is not that of the first model's answer.
type Change struct {
	Higher int `json:"higher"`
	Lower  int `json:"lower"`
}

// Compare lays reports beside each other. They must be of the same questions about the same clips: a task that two of them have must have the same items in both, whatever
// the folder of the set was called.
func Compare(reports []NamedReport) (Comparison, error) {
	if len(reports) < 2 {
		return Comparison{}, errors.New("a comparison needs two reports or more")
	}
	out := Comparison{Format: CompareFormat, Clips: reports[0].Report.Clips}
	names := map[string]bool{}
	var order []string
	for _, r := range reports {
		if names[r.Name] {
			return out, fmt.Errorf("two reports are called %s: name them, as NAME=FILE", r.Name)
		}
		names[r.Name] = true
		out.Models = append(out.Models, Compared{r.Name, r.Report.Model, r.Report.Digest, r.Report.Set, r.Report.Grounding})
		for _, name := range r.Report.Order {
			if !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	asked := make([]map[string][]Item, len(reports)) // by task
	for i, r := range reports {
		asked[i] = byTask(r.Report.Items)
	}
	for i := range reports {
		for j := range i {
			if err := sameQuestions(reports[j], reports[i], asked[j], asked[i]); err != nil {
				return out, err
			}
		}
	}
	for _, name := range order {
		out.Rows = append(out.Rows, rowOf(name, reports, asked))
	}
	return out, nil
}

// byTask groups items by task, sorted by clip and question.
func byTask(items []Item) map[string][]Item {
	out := map[string][]Item{}
	for _, i := range items {
		out[i.Task] = append(out[i.Task], i)
	}
	for _, of := range out {
		slices.SortStableFunc(of, func(a, b Item) int { return strings.Compare(a.Clip+"\n"+a.Question, b.Clip+"\n"+b.Question) })
	}
	return out
}

func sameQuestions(a, b NamedReport, askedA, askedB map[string][]Item) error {
	for task, first := range askedA {
		second, both := askedB[task]
		if both && !slices.EqualFunc(first, second, func(x, y Item) bool { return x.Clip == y.Clip && x.Question == y.Question && x.Want == y.Want }) {
			return fmt.Errorf("%s and %s were asked other questions about %s, or about other clips: run lark eval of both with the same set, --seed, --limit and --questions", a.Name, b.Name, task)
		}
	}
	return nil
}

// rowOf is a line of all summaries. A line that is called as a task has the task's items.
func rowOf(name string, reports []NamedReport, asked []map[string][]Item) Row {
	row := Row{Name: name}
	for _, r := range reports {
		f, ok := r.Report.Summary[name]
		if !ok {
			row.Figures = append(row.Figures, nil)
			continue
		}
		row.Figures = append(row.Figures, &f)
		row.Metric = f.Metric
		if row.Constant == nil {
			row.Constant = f.Constant
		}
		if row.MIR == nil {
			row.MIR = f.MIR
		}
	}
	first := asked[0][name]
	if len(first) == 0 {
		return row
	}
	for i := range reports {
		c := Change{}
		for k, item := range asked[i][name] {
			switch {
			case item.Score > first[k].Score:
				c.Higher++
			case item.Score < first[k].Score:
				c.Lower++
			}
		}
		row.Changes = append(row.Changes, c)
	}
	return row
}

// WriteComparison prints the comparison as a Markdown table.
func WriteComparison(w io.Writer, c Comparison) {
	for _, m := range c.Models {
		fmt.Fprintf(w, "%s: %s, digest %.16s\n", m.Name, m.Model, m.Digest)
	}
	fmt.Fprint(w, "\n| task | metric |")
	for _, m := range c.Models {
		fmt.Fprintf(w, " %s (95 %%) |", m.Name)
	}
	fmt.Fprintf(w, " constant answer | engine/mir |\n| --- | --- |%s --- | --- |\n", strings.Repeat(" --- |", len(c.Models)))
	for _, r := range c.Rows {
		fmt.Fprintf(w, "| %s | %s |", r.Name, r.Metric)
		for i := range r.Figures {
			fmt.Fprintf(w, " %s |", r.Cell(i))
		}
		fmt.Fprintf(w, " %s | %s |\n", optional(r.Constant), optional(r.MIR))
	}
}

// Cell is a model's figure with its interval and, behind the first model's, how many answers score higher and lower than its; empty = there is none.
func (r Row) Cell(model int) string {
	f := r.Figures[model]
	if f == nil {
		return ""
	}
	text := fmt.Sprintf("%s (%s to %s)", digits(f.Value), digits(f.Low), digits(f.High))
	if model > 0 && len(r.Changes) > 0 && r.Figures[0] != nil {
		text += fmt.Sprintf(", +%d -%d", r.Changes[model].Higher, r.Changes[model].Lower)
	}
	return text
}

//go:embed compare.html
var compareText string

var comparePage = template.Must(template.New("compare").Funcs(template.FuncMap{"digits": digits, "optional": optional}).Parse(compareText))

// WriteComparisonPage writes the comparison as one HTML file that needs no other.
func WriteComparisonPage(w io.Writer, c Comparison) error {
	if err := comparePage.Execute(w, c); err != nil {
		return fmt.Errorf("writing page: %w", err)
	}
	return nil
}
