package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// IndexReport is what runs over a catalogue cost.
type IndexReport struct {
	Machine string `json:"machine"`
	Command string `json:"command"`
	// Load is the load average before the measurement.
	Load  float64 `json:"load"`
	Items int     `json:"items"`
	// Rounds has one measurement for each database.
	Rounds []IndexRound `json:"rounds"`
}

// IndexRound is one run on an empty database.
type IndexRound struct {
	Database string `json:"database"`
	// FillS is how long it took to add the items, ExportS to export and reconcile them, in seconds; Fill and Export are the processor time of the gateway
	// and of the broker for it, by process.
	FillS   float64            `json:"fill_s"`
	Fill    map[string]float64 `json:"fill_processor_s"`
	ExportS float64            `json:"export_s"`
	Export  map[string]float64 `json:"export_processor_s"`
	// Parts are the tenths of the run, in their order.
	Parts []IndexPart `json:"parts"`
	// Peak is the largest resident size of each process in bytes; "bench" is the process that fills, answers and exports.
	Peak map[string]int64 `json:"peak_bytes"`
}

// IndexPart is a tenth of a run.
type IndexPart struct {
	// Items have ended when it ended; it took Seconds, and the processes Processor, in seconds.
	Items     int                `json:"items"`
	Seconds   float64            `json:"seconds"`
	Processor map[string]float64 `json:"processor_s"`
	// Anonymous is the memory of each process at its end, in bytes, without pages of mapped files. StatusMS is the longest that a question for the run's
	// state took.
	Anonymous map[string]int64 `json:"anonymous_bytes"`
	StatusMS  float64          `json:"status_ms"`
}

func newIndexReport(cfg IndexConfig) IndexReport {
	return IndexReport{
		Machine: machine(), Load: loadAverage(), Items: cfg.Items,
		Command: fmt.Sprintf("lark bench index --items %d --databases %s", cfg.Items, strings.Join(cfg.Databases, ",")),
	}
}

// Slopes are how the time for all items and the gateway's processor time for them grow with the number of items, on logarithmic axes between the first tenth and the
// whole run: 1 where each item takes as long as the one before it, 2 where the time grows with the square.
func (r IndexRound) Slopes() (clock, processor float64) {
	if len(r.Parts) < 2 {
		return 1, 1
	}
	var seconds, worked float64
	for _, p := range r.Parts {
		seconds, worked = seconds+p.Seconds, worked+p.Processor["gateway"]
	}
	first, last := r.Parts[0], r.Parts[len(r.Parts)-1]
	items := math.Log(float64(last.Items) / float64(first.Items))
	return math.Log(seconds/first.Seconds) / items, math.Log(worked/first.Processor["gateway"]) / items
}

// Later is the processor time that the gateway spends on an item after the first tenth, over the time in the first tenth: 1 where the cost of an item does not grow
// with the number of items before it.
func (r IndexRound) Later() float64 {
	if len(r.Parts) < 2 {
		return 1
	}
	first, last := r.Parts[0], r.Parts[len(r.Parts)-1]
	var rest float64
	for _, p := range r.Parts[1:] {
		rest += p.Processor["gateway"]
	}
	before := first.Processor["gateway"] / float64(first.Items)
	return rest / float64(last.Items-first.Items) / before
}

// Write prints the report as Markdown.
func (r IndexReport) Write(w io.Writer) {
	fmt.Fprintf(w, "%s. Load average %.1f before the run.\nCommand: `%s`\n", r.Machine, r.Load, r.Command)
	for _, round := range r.Rounds {
		each := func(seconds float64) float64 { return seconds / float64(r.Items) * 1000 }
		fmt.Fprintf(w, "\n%s: filling took %.1f s (gateway %.2f ms of processor time an item), exporting and reconciling %.1f s (gateway %.2f ms).\n",
			round.Database, round.FillS, each(round.Fill["gateway"]), round.ExportS, each(round.Export["gateway"]))
		clock, processor := round.Slopes()
		fmt.Fprintf(w, "The time for all items grows with their number to the power of %.3f from the first tenth to the whole, the gateway's processor time to the power of %.3f (1 = in proportion). "+
			"An item costs the gateway %.2f times after the first tenth what it costs in the first tenth. Peak memory: %s.\n\n", clock, processor, round.Later(), peaks(round.Peak))
		fmt.Fprintf(w, "| items ended | items/s | processor time of an item: gateway | broker | memory: gateway | broker | longest status query |\n")
		fmt.Fprintf(w, "| --- | --- | --- | --- | --- | --- | --- |\n")
		before := 0
		for _, p := range round.Parts {
			n := float64(max(1, p.Items-before))
			fmt.Fprintf(w, "| %d | %.0f | %.2f ms | %.2f ms | %d MB | %d MB | %.0f ms |\n", p.Items, n/p.Seconds, p.Processor["gateway"]/n*1000,
				p.Processor["broker"]/n*1000, p.Anonymous["gateway"]/1e6, p.Anonymous["broker"]/1e6, p.StatusMS)
			before = p.Items
		}
	}
}

func peaks(sizes map[string]int64) string {
	var out []string
	for _, name := range []string{"gateway", "broker", "bench"} {
		out = append(out, fmt.Sprintf("%s %d MB", name, sizes[name]/1e6))
	}
	return strings.Join(out, ", ")
}
