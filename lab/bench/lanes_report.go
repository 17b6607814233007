package bench

import (
	"fmt"
	"io"
	"strconv"
	"time"
)

// LanesReport is what people waited and what lanes cost.
type LanesReport struct {
	Machine string `json:"machine"`
	Command string `json:"command"`
	// Load is the load average before the measurement.
	Load float64 `json:"load"`
	// Handler is what the test engines take for a window and for an answer.
	Handler time.Duration `json:"handler_ns"`
	Queued  int           `json:"queued"`
	// Idle and Behind are what people waited on the idle system and with Queued bulk windows before them.
	Idle   Waits `json:"idle"`
	Behind Waits `json:"behind"`
	// ChunkerMS is the longest handler of the catalogue, HandlerMS one running handler of each stage together.
	ChunkerMS float64 `json:"chunker_ms"`
	HandlerMS float64 `json:"handler_ms"`
	// With and Without are windows a second in the bulk lane, and in the other lane without bounds, round by round.
	With    []float64 `json:"with"`
	Without []float64 `json:"without"`
	// Tenants are what a small tenant waits beside a large one, by lane; TenantWindows of each were in Kafka at once.
	Tenants       []TenantsRound `json:"tenants,omitempty"`
	TenantWindows int            `json:"tenant_windows,omitempty"`
}

// Waits are the times from submission to the answer.
type Waits struct {
	Known Wait `json:"known"`
	New   Wait `json:"new"`
}

// Wait sums up single waits.
type Wait struct {
	MedianMS float64 `json:"median_ms"`
	P95MS    float64 `json:"p95_ms"`
	N        int     `json:"n"`
}

func newWait(ms []float64) Wait {
	return Wait{MedianMS: quantile(ms, 0.5), P95MS: quantile(ms, 0.95), N: len(ms)}
}

func newLanesReport(cfg LanesConfig) LanesReport {
	return LanesReport{
		Machine: machine(), Load: loadAverage(), Queued: cfg.Queued, Handler: cfg.Handler, TenantWindows: cfg.TenantWindows,
		Command: fmt.Sprintf("lark bench lanes --queued %d --questions %d --windows %d --rounds %d --handler %s --tenant-jobs %d --tenant-windows %d",
			cfg.Queued, cfg.Questions, cfg.Windows, cfg.Rounds, cfg.Handler, cfg.TenantJobs, cfg.TenantWindows),
	}
}

// Ratio is the throughput with lanes against without, of all rounds together.
func (r LanesReport) Ratio() float64 {
	// Rounds have equal windows, so their times are the inverses of their rates.
	var with, without float64
	for i := range r.With {
		with, without = with+1/r.With[i], without+1/r.Without[i]
	}
	return without / with
}

// Write prints the report as Markdown.
func (r LanesReport) Write(w io.Writer) {
	fmt.Fprintf(w, "%s. Load average %.1f before the run.\nCommand: `%s`\n\n", r.Machine, r.Load, r.Command)
	fmt.Fprintf(w, "| question | idle system | behind %d bulk windows | longer by (median) |\n| --- | --- | --- | --- |\n", r.Queued)
	for _, row := range []struct {
		name         string
		idle, behind Wait
	}{{"on a known track", r.Idle.Known, r.Behind.Known}, {"on a new track", r.Idle.New, r.Behind.New}} {
		fmt.Fprintf(w, "| %s | median %.0f ms, 95 %% below %.0f ms (n = %d) | median %.0f ms, 95 %% below %.0f ms (n = %d) | %.0f ms |\n", row.name,
			row.idle.MedianMS, row.idle.P95MS, row.idle.N, row.behind.MedianMS, row.behind.P95MS, row.behind.N, row.behind.MedianMS-row.idle.MedianMS)
	}
	fmt.Fprintf(w, "\nOne running handler of the catalogue in each stage takes %.0f ms together, of which the chunker %.0f ms.\n\n", r.HandlerMS, r.ChunkerMS)
	each := func(v float64) float64 { return v }
	fmt.Fprintf(w, "| bulk throughput | windows/s |\n| --- | --- |\n| with lanes | %s |\n| without | %s |\n| with : without | %.2f |\n",
		rounds(r.With, each), rounds(r.Without, each), r.Ratio())
	if len(r.Tenants) == 0 {
		return
	}
	most := "the default number of"
	if r.TenantWindows > 0 {
		most = strconv.Itoa(r.TenantWindows)
	}
	fmt.Fprintf(w, "\n| lane, %s windows of each tenant in Kafka at once | last of %d jobs, alone | behind %d jobs of another tenant | times |\n| --- | --- | --- | --- |\n",
		most, smallJobs, r.Tenants[0].Jobs)
	for _, t := range r.Tenants {
		fmt.Fprintf(w, "| %s | %.2f s | %.2f s | %.1f |\n", t.Lane, t.AloneS, t.BesideS, t.BesideS/t.AloneS)
	}
}
