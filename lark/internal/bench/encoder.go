package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/larkstream/larkstream/services/encoder-svc/encoder"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/tensor"
)

// EncoderConfig says what to measure.
type EncoderConfig struct {
	ModelDir string
	// Seconds of audio; what lies beyond the encoder's span is not heard.
	Seconds float64
	// Layers to run, from the first; 0 is all.
	Layers int
}

// EncoderPart is what a part of the work took.
type EncoderPart struct {
	Name        string  `json:"name"`
	CoreSeconds float64 `json:"core_seconds"`
	GFLOP       float64 `json:"gflop"`
}

// EncoderReport is the result: processor time, which other work on the machine changes little, and the machine's ceiling from the same
// run.
type EncoderReport struct {
	Model   string `json:"model"`
	Machine string `json:"machine"`
	// Ceiling is what a core reaches on operands in its first-level cache, GFLOP/s: the mean of before and after.
	Ceiling      float64       `json:"ceiling_gflops_per_core"`
	Precision    string        `json:"precision"`
	AudioSeconds float64       `json:"audio_seconds"`
	Layers       int           `json:"layers"`
	AllLayers    int           `json:"all_layers"`
	Parts        []EncoderPart `json:"parts"`
	WallSeconds  float64       `json:"wall_seconds"`
	// PeakRSS is in bytes; 0 where the system does not tell.
	PeakRSS int64 `json:"peak_rss"`
}

// ceilingRounds are about a second's work.
const ceilingRounds = 1_000_000

// RunEncoder encodes one clip of music-like sound and measures it part by part.
func RunEncoder(ctx context.Context, cfg EncoderConfig) (r EncoderReport, err error) {
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return r, err
	}
	all, ok := bundle.Encoder.Config["layers"].(int)
	if cfg.Layers > 0 {
		if !ok || cfg.Layers > all {
			return r, fmt.Errorf("measuring the encoder: it has no %d layers", cfg.Layers)
		}
		bundle.Encoder.Config["layers"] = cfg.Layers
	} else {
		cfg.Layers = all
	}
	clock := &partClock{seconds: map[encoder.JukeboxPart]float64{}}
	engine, err := encoder.OpenJukebox(bundle, encoder.JukeboxOptions{Mark: clock.mark})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	pcm := chirp(int(cfg.Seconds * 44100))
	before, err := ceiling()
	if err != nil {
		return r, err
	}
	begun := time.Now()
	if _, err := engine.Encode(ctx, pcm); err != nil {
		return r, err
	}
	clock.mark("")
	wall := time.Since(begun).Seconds()
	after, err := ceiling()
	if err = errors.Join(err, clock.err); err != nil {
		return r, err
	}
	r = EncoderReport{
		Model: bundle.DisplayName(), Machine: machine(), Ceiling: (before + after) / 2, Precision: bundle.Encoder.Precision, WallSeconds: wall,
		AudioSeconds: float64(min(len(pcm), engine.WindowSamples())) / 44100, Layers: cfg.Layers, AllLayers: all, PeakRSS: peakRSS("self"),
	}
	flops := engine.Flops(len(pcm))
	for _, part := range slices.Sorted(maps.Keys(flops)) {
		r.Parts = append(r.Parts, EncoderPart{Name: string(part), CoreSeconds: clock.seconds[part], GFLOP: flops[part] / 1e9})
	}
	return r, nil
}

func machine() string {
	kernel, _ := tensor.Kernel() // a kernel asked for in vain is told by lark doctor
	return fmt.Sprintf("%s/%s, %d processors, %s, kernel %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), kernel)
}

// ceiling is GFLOP/s of a core.
func ceiling() (float64, error) {
	begun, err := processorSeconds()
	if err != nil {
		return 0, err
	}
	flops := tensor.TileFlops(tensor.F32, ceilingRounds)
	ended, err := processorSeconds()
	return flops / (ended - begun) / 1e9, err
}

// partClock adds processor time up by part.
type partClock struct {
	part    encoder.JukeboxPart
	since   float64
	seconds map[encoder.JukeboxPart]float64
	err     error
}

func (c *partClock) mark(next encoder.JukeboxPart) {
	now, err := processorSeconds()
	c.err = errors.Join(c.err, err)
	if c.part != "" {
		c.seconds[c.part] += now - c.since
	}
	c.part, c.since = next, now
}

// chirp is a sound whose pitch and loudness change.
func chirp(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		t := float64(i) / 44100
		pcm[i] = int16(9000 * (1 + math.Sin(3*t)) * math.Sin(2*math.Pi*(200*t+40*t*t)))
	}
	return pcm
}

// Write prints the report as Markdown.
func (r EncoderReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s, %s. %s.\nCommand: `lark bench encoder`; %.3f s of audio, %d of %d layers.\n\n", r.Model, r.Precision, r.Machine, r.AudioSeconds, r.Layers, r.AllLayers)
	fmt.Fprintf(w, "| part | core-seconds | GFLOP | GFLOP/s per core | of the ceiling |\n| --- | --- | --- | --- | --- |\n")
	fmt.Fprintf(w, "| ceiling | | | %.1f | |\n", r.Ceiling)
	all, whole := EncoderPart{Name: "all"}, EncoderPart{Name: fmt.Sprintf("for %d layers", r.AllLayers)}
	for _, p := range r.Parts {
		r.row(w, p)
		all.CoreSeconds, all.GFLOP = all.CoreSeconds+p.CoreSeconds, all.GFLOP+p.GFLOP
		times := float64(r.AllLayers) / float64(r.Layers)
		if p.Name == "vq-vae" {
			times = 1
		}
		whole.CoreSeconds, whole.GFLOP = whole.CoreSeconds+times*p.CoreSeconds, whole.GFLOP+times*p.GFLOP
	}
	r.row(w, all)
	if r.Layers < r.AllLayers {
		r.row(w, whole)
	}
	fmt.Fprintf(w, "\nWall time %.1f s. ", r.WallSeconds)
	if r.PeakRSS == 0 {
		fmt.Fprintf(w, "This system does not tell the peak resident memory.\n")
		return
	}
	fmt.Fprintf(w, "Peak resident memory %.0f MiB, mapped weights included.\n", mib(r.PeakRSS))
}

func (r EncoderReport) row(w io.Writer, p EncoderPart) {
	if p.GFLOP == 0 || p.CoreSeconds == 0 {
		fmt.Fprintf(w, "| %s | %.2f | | | |\n", p.Name, p.CoreSeconds)
		return
	}
	rate := p.GFLOP / p.CoreSeconds
	fmt.Fprintf(w, "| %s | %.2f | %.1f | %.1f | %.0f %% |\n", p.Name, p.CoreSeconds, p.GFLOP, rate, 100*rate/r.Ceiling)
}
