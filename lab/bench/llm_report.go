package bench

import (
	"fmt"
	"io"
	"runtime"
)

// Write prints the report as Markdown.
func (r LLMReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s. Prompts with %d frames, answers of %d tokens, %d threads.\nCommand: `%s`\n\n", r.Model, r.Machine, r.Frames, r.Tokens, r.Threads, r.Command)
	if busy := r.busy(); busy != "" {
		fmt.Fprintf(w, "%s\n\n", busy)
	}
	fmt.Fprintf(w, "| measure | engine | bare loop | engine : bare |\n| --- | --- | --- | --- |\n")
	for _, rate := range r.Rates {
		engine, bare := quantile(rate.Engine, 0.5), quantile(rate.Bare, 0.5)
		fmt.Fprintf(w, "| tokens/s, %s | %.2f (rounds: %s) | %.2f (rounds: %s) | %.2f |\n", sequences(rate.Sequences), engine,
			rounds(rate.Engine, same), bare, rounds(rate.Bare, same), engine/bare)
	}
	for _, rate := range r.Rates {
		if engine, bare := quantile(rate.EngineCore, 0.5), quantile(rate.BareCore, 0.5); engine > 0 && bare > 0 {
			fmt.Fprintf(w, "| core-seconds a token, %s | %.3f (rounds: %s) | %.3f (rounds: %s) | %.2f times as fast |\n", sequences(rate.Sequences), engine,
				rounds(rate.EngineCore, same), bare, rounds(rate.BareCore, same), bare/engine)
		}
	}
	n := r.Rates[len(r.Rates)-1].Sequences
	fmt.Fprintf(w, "\n| measure | value |\n| --- | --- |\n")
	fmt.Fprintf(w, "| %d questions on one window, in one request | %s, the window read %d times |\n", n, r.Together, r.Prefixes[0])
	fmt.Fprintf(w, "| the same, one request after the other | %s, the window read %d times |\n", r.Apart, r.Prefixes[1])
	fmt.Fprintf(w, "| scheduling and choosing tokens, %s | %.3f ms of a step's %.1f ms |\n", sequences(n), r.Overhead, r.Step)
}

// busy says what other work does to the figures; it is empty where there was little of it.
func (r LLMReport) busy() string {
	if r.Load <= float64(runtime.NumCPU())/4 {
		return ""
	}
	text := fmt.Sprintf("The machine was busy with other work (load average %.1f before the run): processor time says more than the clock; measure again", r.Load)
	if r.Threads > 1 {
		text += ", or with `--threads 1`: threads of the library wait for one another without letting go of the processor, so that steps take ever longer, in processor time too"
	}
	return text + "."
}

func sequences(n int) string {
	if n == 1 {
		return "1 answer"
	}
	return fmt.Sprintf("%d answers", n)
}

func same(v float64) float64 { return v }

// String gives both times, or the one that is known.
func (s stretch) String() string {
	if s.CoreSeconds == 0 {
		return fmt.Sprintf("%.1f s", s.Seconds)
	}
	return fmt.Sprintf("%.1f s, %.1f core-seconds", s.Seconds, s.CoreSeconds)
}
