package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// WindowConfig says what one process encodes.
type WindowConfig struct {
	ModelDir string
	// Precision is the precision of the prior's products.
	Precision tensor.Precision
	// Seconds of audio; what lies beyond the encoder's span is not heard.
	Seconds float64
	// Layers to run, from the first; 0 is all.
	Layers int
	// Windows are in flight at once.
	Windows int
	// Codes and Frames are files for the result, little-endian int32 and float32; empty writes none.
	Codes, Frames string
}

// EncoderPart is what a part of the work took.
type EncoderPart struct {
	Name        string  `json:"name"`
	CoreSeconds float64 `json:"core_seconds"`
	// GFLOP are the products' floating-point operations, 0 for what has none.
	GFLOP float64 `json:"gflop,omitempty"`
}

// EncoderRun is what a system took for its windows, in a process of its own. It is the form that peers print as well.
type EncoderRun struct {
	System    string `json:"system"`
	Precision string `json:"precision"`
	Layers    int    `json:"layers"`
	// CoreSeconds is processor time, which other work on the machine changes little.
	CoreSeconds float64 `json:"core_seconds"`
	WallSeconds float64 `json:"wall_seconds"`
	// Parts are told with one window in flight.
	Parts  []EncoderPart `json:"parts"`
	Memory Memory        `json:"memory"`
	// Ceilings, by precision, are what a core reaches on operands in its first-level cache, GFLOP/s; the mean of before and after.
	Ceilings map[string]float64 `json:"ceilings_gflops_per_core,omitempty"`
}

// RunWindow encodes the clip and measures it part by part.
func RunWindow(ctx context.Context, cfg WindowConfig) (r EncoderRun, err error) {
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return r, err
	}
	if cfg.Layers, _, err = depth(bundle, cfg.Layers); err != nil {
		return r, err
	}
	bundle.Encoder.Config["layers"] = cfg.Layers
	pcm := chirp(int(cfg.Seconds * sampleRate))
	clock := &partClock{windows: cfg.Windows, seconds: map[encoder.JukeboxPart]float64{}}
	engine, err := encoder.OpenJukebox(bundle, encoder.JukeboxOptions{Precision: cfg.Precision, Windows: cfg.Windows, Mark: clock.mark})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	r = EncoderRun{System: "larkstream", Precision: string(cfg.Precision), Layers: cfg.Layers}
	if err := r.measure(ctx, cfg, engine, pcm, clock); err != nil {
		return r, err
	}
	r.Memory = clock.memory
	if cfg.Windows > 1 {
		return r, nil
	}
	flops := engine.Flops(len(pcm))
	for _, part := range slices.Sorted(maps.Keys(flops)) {
		r.Parts = append(r.Parts, EncoderPart{Name: string(part), CoreSeconds: clock.seconds[part], GFLOP: flops[part] / 1e9})
	}
	return r, nil
}

// depth is how many layers to run of all that the encoder has; asking for 0 is asking for all.
func depth(bundle *model.Bundle, layers int) (run, all int, err error) {
	all, _ = bundle.Encoder.Config["layers"].(int)
	if layers < 0 || layers > all {
		return 0, 0, fmt.Errorf("measuring the encoder: it has %d layers, not %d", all, layers)
	}
	if layers == 0 {
		layers = all
	}
	return layers, all, nil
}

// measure encodes all windows at once, between two measurements of the ceilings.
func (r *EncoderRun) measure(ctx context.Context, cfg WindowConfig, engine *encoder.JukeboxEncoder, pcm []int16, clock *partClock) error {
	before, err := Ceilings(ceilingRounds)
	if err != nil {
		return err
	}
	frames := make([][]float32, cfg.Windows)
	begun := time.Now()
	r.CoreSeconds, err = spent(func() error {
		group, ctx := errgroup.WithContext(ctx)
		for i := range frames {
			group.Go(func() error {
				t, err := engine.Encode(ctx, pcm)
				frames[i] = t.Data
				return err
			})
		}
		return group.Wait()
	})
	clock.mark("")
	r.WallSeconds = time.Since(begun).Seconds()
	if err = errors.Join(err, clock.err); err != nil {
		return err
	}
	after, err := Ceilings(ceilingRounds)
	if err != nil {
		return err
	}
	r.Ceilings = map[string]float64{}
	for name := range before {
		r.Ceilings[name] = (before[name] + after[name]) / 2
	}
	return writeResult(ctx, cfg, engine, pcm, frames[0])
}

func writeResult(ctx context.Context, cfg WindowConfig, engine *encoder.JukeboxEncoder, pcm []int16, frames []float32) error {
	if cfg.Frames != "" {
		if err := writeValues(cfg.Frames, frames); err != nil {
			return err
		}
	}
	if cfg.Codes == "" {
		return nil
	}
	codes, err := engine.Codes(ctx, pcm)
	if err != nil {
		return err
	}
	return writeValues(cfg.Codes, codes)
}

// writeValues writes values as little-endian bytes.
func writeValues[T int32 | float32](path string, values []T) error {
	raw, err := binary.Append(nil, binary.LittleEndian, values)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// ceilingRounds are about a second's work.
const ceilingRounds = 1_000_000

// bf16x2Products is how many products in bfloat16 make one of BF16x2.
const bf16x2Products = 3

// Ceilings are the GFLOP/s that the kernel in use reaches on a core, by precision, on operands in the first-level cache; rounds is how
// much work measures them. All processors work, as in products: some share the unit that multiplies tiles.
func Ceilings(rounds int) (map[string]float64, error) {
	rates := map[string]float64{}
	for _, precision := range []tensor.Precision{tensor.F32, tensor.BF16} {
		var flops float64
		seconds, err := spent(func() error {
			flops = tensor.TileFlops(precision, rounds)
			return nil
		})
		if err != nil {
			return nil, err
		}
		rates[string(precision)] = flops / seconds / 1e9
	}
	rates[string(tensor.BF16x2)] = rates[string(tensor.BF16)] / bf16x2Products
	return rates, nil
}

// Precisions that can be measured.
func Precisions() []string {
	var names []string
	for _, p := range tensor.Precisions() {
		names = append(names, string(p))
	}
	return names
}

// spent is the processor time that do takes.
func spent(do func() error) (float64, error) {
	begun, err := processorSeconds()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	ended, err := processorSeconds()
	return ended - begun, err
}

// partClock adds processor time up by part, and keeps the most memory seen where a part begins. With several windows in flight
// nobody can tell whose time it was.
type partClock struct {
	windows int
	lock    sync.Mutex
	part    encoder.JukeboxPart
	since   float64
	seconds map[encoder.JukeboxPart]float64
	memory  Memory
	err     error
}

func (c *partClock) mark(next encoder.JukeboxPart) {
	c.lock.Lock()
	defer c.lock.Unlock()
	now, err := processorSeconds()
	if c.part != "" && c.windows == 1 {
		c.seconds[c.part] += now - c.since
	}
	c.memory = c.memory.max(resident("self"))
	later, again := processorSeconds() // what was just done belongs to no part
	c.err = errors.Join(c.err, err, again)
	c.part, c.since = next, later
}

// chirp is a sound whose pitch and loudness change.
func chirp(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		t := float64(i) / sampleRate
		pcm[i] = int16(9000 * (1 + math.Sin(3*t)) * math.Sin(2*math.Pi*(200*t+40*t*t)))
	}
	return pcm
}
