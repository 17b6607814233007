package bench

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/cpu"

	"github.com/larkstream/larkstream/engine/tensor"
)

// Pipeline is what the real processes took for one round.
type Pipeline struct {
	Windows int     `json:"windows"`
	Seconds float64 `json:"seconds"`
	// PeakRSS is in bytes, by stage; empty where the system does not tell.
	PeakRSS map[string]int64 `json:"peak_rss"`
	// Processor is the processor time of these windows, in seconds, by stage; empty where the system does not tell.
	Processor map[string]float64 `json:"processor_s"`
}

// Report is the result of a measurement.
type Report struct {
	Model   string `json:"model"`
	Digest  string `json:"digest"`
	Machine string `json:"machine"`
	Command string `json:"command"`
	// Load is the load average before the measurement. Other work takes more from one process than from six.
	Load     float64    `json:"load"`
	Plain    []Plain    `json:"plain"`
	Pipeline []Pipeline `json:"pipeline"`
	Hops     []Hop      `json:"hops"`
	Repeat   Repeat     `json:"repeat"`
}

func newReport(cfg Config) Report {
	return Report{
		Load:    loadAverage(),
		Machine: machine(),
		Command: fmt.Sprintf("lark bench pipeline --windows %d --rounds %d --jobs %d", cfg.Windows, cfg.Rounds, cfg.Jobs),
	}
}

func machine() string {
	kernel, _ := tensor.Kernel() // what is passed over is told by lark doctor
	return fmt.Sprintf("%s/%s, %d processors (%s), %s, kernel %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), Processor(), runtime.Version(), kernel)
}

// Processor is what the processor calls itself, where Linux tells, and whether it has AMX.
func Processor() string {
	name := "of unknown name"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	if cpu.X86.HasAMXBF16 {
		return name + ", with AMX"
	}
	return name + ", without AMX"
}

// Rates are windows a second over all rounds.
func (r Report) Rates() (plain, pipeline float64) {
	var windows, seconds float64
	for _, p := range r.Plain {
		windows, seconds = windows+float64(p.Windows), seconds+p.Seconds
	}
	plain = windows / seconds
	windows, seconds = 0, 0
	for _, p := range r.Pipeline {
		windows, seconds = windows+float64(p.Windows), seconds+p.Seconds
	}
	return plain, windows / seconds
}

// processes is how many processes the pipeline ran in.
func (r Report) processes() int {
	if len(r.Pipeline) == 0 {
		return 0
	}
	return len(r.Pipeline[len(r.Pipeline)-1].PeakRSS)
}

// Write prints the report as Markdown.
func (r Report) Write(w io.Writer) {
	plain, pipeline := r.Rates()
	fmt.Fprintf(w, "Model %s, digest %.16s. %s.\nCommand: `%s`\n\n", r.Model, r.Digest, r.Machine, r.Command)
	if r.Load > float64(runtime.NumCPU())/4 {
		fmt.Fprintf(w, "The machine was busy with other work (load average %.1f before the run), which favours many processes over one: measure again.\n\n", r.Load)
	}
	fmt.Fprintf(w, "| measure | value |\n| --- | --- |\n")
	fmt.Fprintf(w, "| plain loop over the engines, one process | %.2f windows/s (rounds: %s) |\n", plain, rounds(r.Plain, func(p Plain) float64 { return float64(p.Windows) / p.Seconds }))
	fmt.Fprintf(w, "| pipeline, %d processes | %.2f windows/s (rounds: %s) |\n", r.processes(), pipeline,
		rounds(r.Pipeline, func(p Pipeline) float64 { return float64(p.Windows) / p.Seconds }))
	fmt.Fprintf(w, "| pipeline : plain loop | %.2f |\n", pipeline/plain)
	r.writeProcessor(w)
	for _, h := range r.Hops {
		fmt.Fprintf(w, "| hop %s, added time | median %.1f ms, 95 %% below %.1f ms (n = %d) |\n", h.Name, h.MedianMS, h.P95MS, h.N)
	}
	fmt.Fprintf(w, "| new question about a known window, submission to outcome | median %.1f ms, 95 %% below %.1f ms (n = %d) |\n",
		r.Repeat.MedianMS, r.Repeat.P95MS, r.Repeat.N)
	fmt.Fprintf(w, "| of which the decoder | median %.1f ms |\n", r.Repeat.LLMMedianMS)
	r.writeMemory(w)
}

// writeProcessor tells the processor time of an answer. Unlike the time on the clock it hardly depends on what else the machine does.
func (r Report) writeProcessor(w io.Writer) {
	var plain, plainWindows, pipeline, windows float64
	for _, p := range r.Plain {
		plain, plainWindows = plain+p.Processor, plainWindows+float64(p.Windows)
	}
	stages := map[string]float64{}
	for _, p := range r.Pipeline {
		windows += float64(p.Windows)
		for stage, seconds := range p.Processor {
			stages[stage] += seconds
			pipeline += seconds
		}
	}
	if plain == 0 || pipeline == 0 {
		fmt.Fprintf(w, "| processor time | not told by this system |\n")
		return
	}
	answers := float64(len(Questions()))
	perAnswer := func(seconds, windows float64) float64 { return seconds / windows / answers * 1000 }
	var parts []string
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", stage, perAnswer(stages[stage], windows)))
	}
	fmt.Fprintf(w, "| processor time of an answer, plain loop | %.1f ms |\n", perAnswer(plain, plainWindows))
	fmt.Fprintf(w, "| processor time of an answer, pipeline | %.1f ms: %s |\n", perAnswer(pipeline, windows), strings.Join(parts, ", "))
	fmt.Fprintf(w, "| plain loop : pipeline in processor time | %.2f |\n", perAnswer(plain, plainWindows)/perAnswer(pipeline, windows))
}

func (r Report) writeMemory(w io.Writer) {
	peaks := map[string]int64{}
	for _, p := range r.Pipeline {
		for stage, peak := range p.PeakRSS {
			peaks[stage] = max(peaks[stage], peak)
		}
	}
	var own int64
	for _, p := range r.Plain {
		own = max(own, p.PeakRSS)
	}
	if own == 0 || len(peaks) == 0 {
		fmt.Fprintf(w, "| peak memory | not told by this system |\n")
		return
	}
	var parts []string
	for _, stage := range slices.Sorted(maps.Keys(peaks)) {
		parts = append(parts, fmt.Sprintf("%s %.0f", stage, mib(peaks[stage])))
	}
	fmt.Fprintf(w, "| peak resident memory, MiB | %s; plain loop %.0f |\n", strings.Join(parts, ", "), mib(own))
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func rounds[T any](all []T, rate func(T) float64) string {
	var parts []string
	for _, r := range all {
		parts = append(parts, fmt.Sprintf("%.2f", rate(r)))
	}
	return strings.Join(parts, ", ")
}
