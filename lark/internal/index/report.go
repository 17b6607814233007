package index

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

//go:embed report.html
var reportText string

var reportPage = template.Must(template.New("report").Parse(reportText))

// bar is a value of a distribution.
type bar struct {
	Name  string
	N     int
	Share float64 // of the largest, in percent
}

// failures are the items that have not succeeded for one reason.
type failures struct {
	Code     string
	N        int
	Examples []client.RunItem
}

// report is what the page shows.
type report struct {
	Run       client.Run
	Made      time.Time
	Took      time.Duration
	PerSecond float64
	States    []bar
	Failures  []failures
	Fields    []distribution
	OverTime  []bar
	Models    []string
	Licences  []string
	HeardS    float64
}

type distribution struct {
	Field string
	Bars  []bar
}

const (
	maxExamples = 5
	maxBars     = 24
	timeBars    = 40
)

// Report writes a run's report as one HTML page without any other file.
func Report(ctx context.Context, gw *client.Client, run client.Run, out io.Writer) error {
	r := report{Run: run, Made: time.Now()}
	byCode := make(map[string]*failures)
	counts := make(map[string]map[string]int)
	add := func(field, value string) {
		if counts[field] == nil {
			counts[field] = make(map[string]int)
		}
		counts[field][value]++
	}
	states := make(map[string]int)
	var ends []time.Time
	err := EachItem(ctx, gw, run.ID, "", true, func(it client.RunItem) error {
		states[it.State]++
		t, _ := rows(it)
		r.HeardS += t.HeardS
		if it.EndedAt != nil {
			ends = append(ends, *it.EndedAt)
		}
		if it.Code != "" {
			f := byCode[it.Code]
			if f == nil {
				f = &failures{Code: it.Code}
				byCode[it.Code] = f
			}
			if f.N++; len(f.Examples) < maxExamples {
				it.Outcomes = nil
				f.Examples = append(f.Examples, it)
			}
		}
		spread(t, add)
		return nil
	})
	if err != nil {
		return err
	}
	if r.Models, r.Licences, err = models(ctx, gw); err != nil {
		return err
	}
	r.States = bars(states, true)
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		r.Failures = append(r.Failures, *byCode[code])
	}
	slices.SortStableFunc(r.Failures, func(a, b failures) int { return b.N - a.N })
	for _, field := range []string{"tempo", "key", "metre", "genre", "instrument", "mood"} {
		if len(counts[field]) > 0 {
			r.Fields = append(r.Fields, distribution{field, bars(counts[field], field != "tempo")})
		}
	}
	r.OverTime = overTime(ends)
	if run.StartedAt != nil {
		end := cmp.Or(run.EndedAt, &r.Made)
		r.Took = end.Sub(*run.StartedAt).Round(time.Second)
		if s := end.Sub(*run.StartedAt).Seconds(); s > 0 {
			r.PerSecond = float64(len(ends)) / s
		}
	}
	if err := reportPage.Execute(out, r); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// spread counts a track's tags; tempi by steps of 10 BPM.
func spread(t Track, add func(field, value string)) {
	if t.TempoBPM != nil {
		low := *t.TempoBPM / 10 * 10
		add("tempo", fmt.Sprintf("%03d-%d BPM", low, low+9))
	}
	if t.Key != nil {
		name := *t.Key
		if t.Mode != nil {
			name += " " + *t.Mode
		}
		add("key", name)
	}
	for field, v := range map[string]*string{"metre": t.Metre, "genre": t.Genre} {
		if v != nil {
			add(field, *v)
		}
	}
	for _, name := range t.Instruments {
		add("instrument", name)
	}
	for _, name := range t.Mood {
		add("mood", name)
	}
}

// bars are the values of a distribution: the most frequent first, or by name.
func bars(counts map[string]int, byCount bool) []bar {
	var out []bar
	top := 0
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, bar{Name: name, N: counts[name]})
		top = max(top, counts[name])
	}
	if byCount {
		slices.SortStableFunc(out, func(a, b bar) int { return b.N - a.N })
	}
	out = out[:min(len(out), maxBars)]
	for i := range out {
		out[i].Share = 100 * float64(out[i].N) / float64(top)
	}
	return out
}

// overTime counts the items that ended in equal stretches of the run.
func overTime(ends []time.Time) []bar {
	if len(ends) < 2 {
		return nil
	}
	first, last := slices.MinFunc(ends, time.Time.Compare), slices.MaxFunc(ends, time.Time.Compare)
	step := last.Sub(first)/timeBars + 1
	out := make([]bar, timeBars)
	top := 0
	for i := range out {
		out[i].Name = strconv.Itoa(int((time.Duration(i) * step).Seconds())) + " s"
	}
	for _, at := range ends {
		b := &out[min(int(at.Sub(first)/step), timeBars-1)]
		b.N++
		top = max(top, b.N)
	}
	for i := range out {
		out[i].Share = 100 * float64(out[i].N) / float64(top)
	}
	return out
}
