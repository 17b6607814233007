package bench

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// EncoderReport is the result of a measurement of the encoder.
type EncoderReport struct {
	Model        string  `json:"model"`
	Machine      string  `json:"machine"`
	Command      string  `json:"command"`
	Load         float64 `json:"load"` // average before the measurement
	AudioSeconds float64 `json:"audio_seconds"`
	Layers       int     `json:"layers"`
	AllLayers    int     `json:"all_layers"`
	Rounds       int     `json:"rounds"`
	// Ceilings, by precision, are the medians of what a core reaches on operands in its first-level cache, GFLOP/s.
	Ceilings map[string]float64 `json:"ceilings_gflops_per_core"`
	Systems  []EncoderSystem    `json:"systems"`
	// SecondWindow is what another window in flight adds to the memory of the process, in bytes by precision.
	SecondWindow map[string]int64 `json:"second_window_bytes"`
}

// EncoderSystem is what a system took with one precision.
type EncoderSystem struct {
	// EncoderRun holds the medians of Runs, but of memory the most.
	EncoderRun
	// Difference from the first system.
	Difference Difference   `json:"difference"`
	Runs       []EncoderRun `json:"runs"`
}

func newEncoderReport(cfg EncoderConfig, bundle *model.Bundle, all int) EncoderReport {
	command := fmt.Sprintf("lark bench encoder --layers %d --rounds %d --precision %s", cfg.Layers, cfg.Rounds, strings.Join(cfg.Precisions, ","))
	if len(cfg.Peer) > 0 {
		command += " --peer ..."
	}
	return EncoderReport{
		Model: bundle.DisplayName(), Machine: machine(), Command: command, Load: loadAverage(), Rounds: cfg.Rounds, Layers: cfg.Layers, AllLayers: all,
		AudioSeconds: min(cfg.Seconds, bundle.Encoder.SpanS), SecondWindow: map[string]int64{},
	}
}

// add takes a run in.
func (r *EncoderReport) add(run EncoderRun, d Difference) {
	at := slices.IndexFunc(r.Systems, func(s EncoderSystem) bool { return s.System == run.System && s.Precision == run.Precision })
	if at < 0 {
		at = len(r.Systems)
		r.Systems = append(r.Systems, EncoderSystem{Difference: d})
	}
	s := &r.Systems[at]
	s.Runs = append(s.Runs, run)
	s.EncoderRun = medianRun(s.Runs)
	r.fill(s)
}

// fill gives the system the operations of each part, which a peer does not tell, and takes the ceilings over.
func (r *EncoderReport) fill(s *EncoderSystem) {
	for i := range s.Parts {
		for _, known := range r.Systems[0].Parts {
			if known.Name == s.Parts[i].Name {
				s.Parts[i].GFLOP = known.GFLOP
			}
		}
	}
	r.Ceilings = map[string]float64{}
	for name := range r.Systems[0].Ceilings {
		r.Ceilings[name] = median(r.runs(), func(run EncoderRun) float64 { return run.Ceilings[name] })
	}
}

// runs are all that measured ceilings.
func (r *EncoderReport) runs() []EncoderRun {
	var all []EncoderRun
	for _, s := range r.Systems {
		if s.Ceilings != nil {
			all = append(all, s.Runs...)
		}
	}
	return all
}

func median(runs []EncoderRun, of func(EncoderRun) float64) float64 {
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = of(run)
	}
	return quantile(values, 0.5)
}

func medianRun(runs []EncoderRun) EncoderRun {
	m := runs[0]
	m.CoreSeconds = median(runs, func(r EncoderRun) float64 { return r.CoreSeconds })
	m.WallSeconds = median(runs, func(r EncoderRun) float64 { return r.WallSeconds })
	m.Parts = slices.Clone(m.Parts)
	for i := range m.Parts {
		m.Parts[i].CoreSeconds = median(runs, func(r EncoderRun) float64 { return r.part(m.Parts[i].Name).CoreSeconds })
	}
	for _, r := range runs {
		m.Memory = m.Memory.max(r.Memory)
	}
	return m
}

func (r EncoderRun) part(name string) EncoderPart {
	for _, p := range r.Parts {
		if p.Name == name {
			return p
		}
	}
	return EncoderPart{Name: name}
}

// whole is all parts together, and what they come to with that many times as many layers.
func (r EncoderRun) whole(times float64) EncoderPart {
	var all EncoderPart
	for _, p := range r.Parts {
		t := times
		if p.Name == partVQVAE {
			t = 1
		}
		all.CoreSeconds, all.GFLOP = all.CoreSeconds+t*p.CoreSeconds, all.GFLOP+t*p.GFLOP
	}
	return all
}

const (
	partVQVAE     = "vq-vae"
	partAttention = "attention"
)

// Write prints the report as Markdown.
func (r EncoderReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s.\nCommand: `%s`; %.3f s of audio, %d of %d layers, medians of %d rounds.\n\n", r.Model, r.Machine, r.Command, r.AudioSeconds, r.Layers, r.AllLayers, r.Rounds)
	if r.Load > float64(runtime.NumCPU())/4 {
		fmt.Fprintf(w, "The machine was busy with other work (load average %.1f before the run), which makes caches colder and wall time meaningless.\n\n", r.Load)
	}
	fmt.Fprintf(w, "| precision | ceiling, GFLOP/s per core |\n| --- | --- |\n")
	for _, s := range r.Systems {
		if s.Ceilings != nil {
			fmt.Fprintf(w, "| %s | %.1f |\n", s.Precision, r.Ceilings[s.Precision])
		}
	}
	for _, s := range r.Systems {
		r.writeSystem(w, s)
	}
	r.writeRatios(w)
	r.writeMemory(w)
}

// writeSystem prints a system's parts. VQ-VAE and attention are compared with the ceiling of float32, in which they are in every
// precision of ours.
func (r EncoderReport) writeSystem(w io.Writer, s EncoderSystem) {
	fmt.Fprintf(w, "\n%s, %s:\n\n| part | core-seconds | GFLOP | GFLOP/s per core | of the ceiling |\n| --- | --- | --- | --- | --- |\n", s.System, s.Precision)
	ceiling := r.Ceilings[s.Precision]
	for _, p := range s.Parts {
		if p.Name == partVQVAE || p.Name == partAttention {
			p.row(w, cmp.Or(r.Ceilings[string(tensor.F32)], ceiling))
		} else {
			p.row(w, ceiling)
		}
	}
	all := s.whole(1)
	all.Name = "all"
	all.row(w, ceiling)
	if r.Layers < r.AllLayers {
		all = s.whole(float64(r.AllLayers) / float64(r.Layers))
		all.Name = fmt.Sprintf("%d layers, extrapolated", r.AllLayers)
		all.row(w, ceiling)
	}
	fmt.Fprintf(w, "\nWall time %.1f s.\n", s.WallSeconds)
}

func (p EncoderPart) row(w io.Writer, ceiling float64) {
	if p.GFLOP == 0 || p.CoreSeconds == 0 {
		fmt.Fprintf(w, "| %s | %.2f | | | |\n", p.Name, p.CoreSeconds)
		return
	}
	rate := p.GFLOP / p.CoreSeconds
	fmt.Fprintf(w, "| %s | %.2f | %.1f | %.1f | %.0f %% |\n", p.Name, p.CoreSeconds, p.GFLOP, rate, 100*rate/ceiling)
}

// writeRatios prints how many times as fast each of ours is as each of the peer's.
func (r EncoderReport) writeRatios(w io.Writer) {
	if !slices.ContainsFunc(r.Systems, func(s EncoderSystem) bool { return s.Ceilings == nil }) {
		return // no peer
	}
	times := float64(r.AllLayers) / float64(r.Layers)
	estimated := ""
	if r.Layers < r.AllLayers {
		estimated = fmt.Sprintf(", %d layers extrapolated", r.AllLayers)
	}
	fmt.Fprintf(w, "\n| speed | core-seconds of one by the other's%s | wall time |\n| --- | --- | --- |\n", estimated)
	for _, ours := range r.Systems {
		for _, peer := range r.Systems {
			if ours.Ceilings != nil && peer.Ceilings == nil {
				fmt.Fprintf(w, "| %s %s : %s %s | %.2f | %.2f |\n", ours.System, ours.Precision, peer.System, peer.Precision,
					peer.whole(times).CoreSeconds/ours.whole(times).CoreSeconds, peer.WallSeconds/ours.WallSeconds)
			}
		}
	}
}

func (r EncoderReport) writeMemory(w io.Writer) {
	fmt.Fprintf(w, "\n| system | peak resident, MiB | own memory | pages of files | a second window adds | codes that differ | frames differ by |\n")
	fmt.Fprintf(w, "| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, s := range r.Systems {
		second := ""
		if size, known := r.SecondWindow[s.Precision]; known && s.Ceilings != nil {
			second = fmt.Sprintf("%.0f", mib(size))
		}
		fmt.Fprintf(w, "| %s %s | %.0f | %.0f | %.0f | %s | %d | %.2g |\n", s.System, s.Precision, mib(s.Memory.Peak), mib(s.Memory.Anonymous), mib(s.Memory.File),
			second, s.Difference.Codes, s.Difference.Frames)
	}
}
