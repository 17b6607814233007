package bench

import (
	"fmt"
	"io"
	"runtime"
	"strings"
)

// GatewayReport is what submissions took.
type GatewayReport struct {
	Machine string `json:"machine"`
	Command string `json:"command"`
	// Load is the load average before the measurement.
	Load    float64 `json:"load"`
	Jobs    int     `json:"jobs"`
	Clients int     `json:"clients"`
	// Rounds are in the order of their measurement.
	Rounds []GatewayRound `json:"rounds"`
}

// GatewayRound is one measurement on an empty database.
type GatewayRound struct {
	Database      string  `json:"database"`
	JobsPerSecond float64 `json:"jobs_per_s"`
	// MedianMS, P99MS and MaxMS are from the request to its answer.
	MedianMS float64 `json:"median_ms"`
	P99MS    float64 `json:"p99_ms"`
	MaxMS    float64 `json:"max_ms"`
	// Processor is the processor time of the gateway and of the broker in seconds, by process; empty where the system does not tell. Submitting
	// is the processor time of the clients. PostgreSQL's is not measured.
	Processor  map[string]float64 `json:"processor_s"`
	Submitting float64            `json:"submitting_s"`
	// Streams are the event streams after the jobs; nil without any.
	Streams *StreamsRound `json:"streams,omitempty"`
}

func newGatewayReport(cfg GatewayConfig) GatewayReport {
	return GatewayReport{
		Machine: machine(), Load: loadAverage(), Jobs: cfg.Jobs, Clients: cfg.Clients,
		Command: fmt.Sprintf("lark bench gateway --jobs %d --clients %d --rounds %d --streams %d --databases %s", cfg.Jobs, cfg.Clients, cfg.Rounds, cfg.Streams, strings.Join(cfg.Databases, ",")),
	}
}

// Write prints the report as Markdown.
func (r GatewayReport) Write(w io.Writer) {
	fmt.Fprintf(w, "%s. Load average %.1f before the run.\nCommand: `%s`\n\n", r.Machine, r.Load, r.Command)
	if r.Load > float64(runtime.NumCPU())/4 {
		fmt.Fprintf(w, "The machine was busy with other work: jobs/s and times mean little, processor time somewhat more.\n\n")
	}
	fmt.Fprintf(w, "| database | accepted jobs/s | median | 99 %% below | longest | processor time of a job: gateway | broker | client |\n")
	fmt.Fprintf(w, "| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, g := range r.Rounds {
		each := func(seconds float64) float64 { return seconds / float64(r.Jobs) * 1000 }
		fmt.Fprintf(w, "| %s | %.0f | %.1f ms | %.1f ms | %.1f ms | %.2f ms | %.2f ms | %.2f ms |\n", g.Database, g.JobsPerSecond, g.MedianMS, g.P99MS, g.MaxMS,
			each(g.Processor["gateway"]), each(g.Processor["broker"]), each(g.Submitting))
	}
	if len(r.Rounds) == 0 || r.Rounds[0].Streams == nil {
		return
	}
	fmt.Fprintf(w, "\n| database | event streams at once | opened in | own memory of the gateway before | with them | of each | a job's end reaches the last watcher after the first |\n")
	fmt.Fprintf(w, "| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, g := range r.Rounds {
		s := g.Streams
		fmt.Fprintf(w, "| %s | %d | %.1f s | %.0f MB | %.0f MB | %.0f kB | %.2f s |\n", g.Database, s.Streams, s.OpenedS, float64(s.Before.Anonymous)/1e6, float64(s.Open.Anonymous)/1e6,
			float64(s.Open.Anonymous-s.Before.Anonymous)/1000/float64(s.Streams), s.SpreadS)
	}
}
