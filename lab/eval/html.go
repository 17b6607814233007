package eval

import (
	"context"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
)

const (
	// shownClips is how many clips with wrong answers can be played, and shownSeconds how much of each.
	shownClips   = 40
	shownSeconds = 12
	// ShownRate is a quarter of the rate of windows: 11,025 Hz.
	ShownRate = audio.SampleRate / 4
	// shownRows bounds the lists of answers.
	shownRows = 500
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"digits": digits, "optional": optional, "percent": func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) },
	"shade": shade, "share": func(n, of int) float64 { return float64(n) / float64(max(1, of)) },
}).Parse(pageText))

// shade is the background of a table's cell for a share of 0 to 1.
func shade(share float64) template.CSS {
	return template.CSS(fmt.Sprintf("background:rgba(38,99,166,%.2f)", min(1, share)*0.8)) //nolint:gosec // a number of our own
}

// wrongClip is a clip with wrong answers and its sound.
type wrongClip struct {
	Clip  string
	Items []Item
	Audio template.URL
}

type point struct{ X, Y float64 }

type pageData struct {
	Report

	Rows       []pageRow
	Wrong      []wrongClip
	WrongCount int
	Tempi      []point
	Lines      []tempoLine
	Tables     []pageTable
}

type pageRow struct {
	Name string
	Figure
}

type pageTable struct {
	Confusion

	Totals []int
}

// tempoLine is the line of answers at a multiple of the tempo, within the plot.
type tempoLine struct {
	Name           string
	X1, Y1, X2, Y2 float64
}

// plot maps 0 to maxTempo onto a square of plotSize.
const (
	maxTempo = 240.0
	plotSize = 400.0
)

func onPlot(wanted, got float64) point {
	return point{min(wanted, maxTempo) / maxTempo * plotSize, plotSize - min(got, maxTempo)/maxTempo*plotSize}
}

// WritePage writes the report as one HTML file that needs no other: tables, confusion matrices, answered against true tempo, and clips with wrong
// answers to be played. setDir is the set's folder, from which their audio is read again.
func WritePage(ctx context.Context, w io.Writer, rep Report, setDir string) error {
	d := pageData{Report: rep}
	for _, name := range rep.Order {
		d.Rows = append(d.Rows, pageRow{name, rep.Summary[name]})
	}
	d.plotTempi()
	for _, c := range rep.Confusions {
		t := pageTable{Confusion: c}
		for _, row := range c.Counts {
			sum := 0
			for _, n := range row {
				sum += n
			}
			t.Totals = append(t.Totals, sum)
		}
		d.Tables = append(d.Tables, t)
	}
	d.Unread = rep.Unread[:min(len(rep.Unread), shownRows)]
	if err := d.wrong(ctx, setDir); err != nil {
		return err
	}
	if err := page.Execute(w, d); err != nil {
		return fmt.Errorf("writing page: %w", err)
	}
	return nil
}

func (d *pageData) plotTempi() {
	for _, i := range d.Items {
		if i.Task != TaskTempo {
			continue
		}
		want, err1 := strconv.ParseFloat(i.Want, 64)
		got, err2 := strconv.ParseFloat(i.Read, 64)
		if err1 == nil && err2 == nil {
			d.Tempi = append(d.Tempi, onPlot(want, got))
		}
	}
	for _, f := range []struct {
		name   string
		factor float64
	}{{"true", 1}, {"double", 2}, {"half", 0.5}} {
		end := min(maxTempo, maxTempo/f.factor)
		a, b := onPlot(0, 0), onPlot(end, end*f.factor)
		d.Lines = append(d.Lines, tempoLine{f.name, a.X, a.Y, b.X, b.Y})
	}
}

// wrong gathers the clips with wrong answers, the most wrong first.
func (d *pageData) wrong(ctx context.Context, setDir string) error {
	byClip := map[string][]Item{}
	for _, i := range d.Items {
		if i.Score < 0.5 && i.Task != TaskCaptions {
			byClip[i.Clip] = append(byClip[i.Clip], i)
		}
	}
	for clip, items := range byClip {
		d.Wrong = append(d.Wrong, wrongClip{Clip: clip, Items: items})
	}
	slices.SortFunc(d.Wrong, func(a, b wrongClip) int {
		if n := len(b.Items) - len(a.Items); n != 0 {
			return n
		}
		if a.Clip < b.Clip {
			return -1
		}
		return 1
	})
	d.WrongCount = len(d.Wrong)
	d.Wrong = d.Wrong[:min(len(d.Wrong), shownClips)]
	set, err := ReadSet(setDir, 0)
	if err != nil {
		return err
	}
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return err
	}
	cutter := cut.New(files, "")
	for i := range d.Wrong {
		at := slices.IndexFunc(set.Clips, func(c Clip) bool { return c.ID == d.Wrong[i].Clip })
		if at < 0 {
			continue
		}
		_, err := cutter.CutFile(ctx, set.Path(set.Clips[at]), plan.NewRule(plan.Auto, nil, plan.Hearing{SpanS: plan.LeastWindowS, Rate: plan.SampleRate}), func(w cut.FileWindow) error {
			d.Wrong[i].Audio = template.URL("data:audio/wav;base64," + base64.StdEncoding.EncodeToString(Wav(Quarter(w.PCM), ShownRate))) //nolint:gosec // bytes of our own making
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Quarter takes means of four samples of the first seconds: enough to hear what is played, at a quarter of the size.
func Quarter(pcm []int16) []int16 {
	pcm = pcm[:min(len(pcm), shownSeconds*audio.SampleRate)]
	out := make([]int16, len(pcm)/4)
	for i := range out {
		sum := 0
		for _, v := range pcm[4*i : 4*i+4] {
			sum += int(v)
		}
		out[i] = int16(sum / 4)
	}
	return out
}
