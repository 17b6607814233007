// Package nano is the encoder of lark-nano in plain Go: a window of audio in, about 10.8 frames a second out.
// docs/lark-nano.md, section 4, is its specification.
package nano

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/larkstream/larkstream/engine/encoder/features"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Width is the number of values in a frame.
const Width = 192

// File is the name of the weights in a bundle.
const File = "encoder.safetensors"

const (
	normEps      = 1e-5
	seen         = 72 // semitones that each pitch class sees
	pitchClasses = 12
	qualities    = 3
	stepFrames   = 4 // frames per harmony step
	lagGain      = 4 // of tempograms and of the pulse
	timbreIn     = features.Semitones + features.MelCols
	timbreWidth  = 192
	harmonyWidth = 64
	rhythmWidth1 = 32
	rhythmWidth2 = 48
	rhythmRows   = features.Lags / 2
	rhythmOut    = 192
	pooledWidth  = 128
	keyWidth     = 2 * 2 * pitchClasses
	reach        = 36 // semitones that the colour branch sees from each place
	places       = features.Semitones - reach + 1
	colourWidth  = 64
	tintWidth    = 96 // of the colour branch's rows and of its pooled vector
	families     = 12 // of instruments
	firstBeat    = 8  // row of the pulse that is the fastest beat: 238 a minute
	beats        = 65 // down to 37.5 a minute
	metres       = 6
	contextWidth = 64
	pulseWidth   = 64
	globalWidth  = 256
	hiddenWidth  = 256
)

// layers lists the linear layers of every version: their inputs and outputs.
var layers = map[string][2]int{
	"timbre.conv": {3 * timbreIn, timbreWidth}, "timbre.hidden": {timbreWidth, timbreWidth}, "timbre.pool": {2 * timbreWidth, pooledWidth},
	"harmony.conv": {3 * seen, harmonyWidth}, "harmony.chord": {harmonyWidth, qualities}, "harmony.hidden": {harmonyWidth, harmonyWidth},
	"harmony.pool": {2 * harmonyWidth, harmonyWidth}, "harmony.key": {harmonyWidth, 2},
	"rhythm.conv1": {7 * features.Groups, rhythmWidth1}, "rhythm.conv2": {7 * rhythmWidth1, rhythmWidth2}, "rhythm.dense": {rhythmRows * rhythmWidth2, rhythmOut},
	"mix.spread": {globalWidth, Width}, "mix.up": {Width, hiddenWidth}, "mix.down": {hiddenWidth, Width},
}

// Version 0 has no branch of colour and families, so that less is mixed.
var (
	layers0 = map[string][2]int{
		"mix.global": {pooledWidth + keyWidth + rhythmOut, globalWidth}, "mix.local": {timbreWidth + qualities*pitchClasses, Width},
	}
	layers1 = map[string][2]int{
		"colour.conv": {2 * reach, colourWidth}, "colour.hidden": {colourWidth, colourWidth}, "colour.row": {2 * colourWidth, tintWidth},
		"colour.pool": {2 * tintWidth, tintWidth}, "family.active": {tintWidth + timbreWidth, families},
		"family.pool": {pooledWidth + tintWidth + 2*families, families},
		"mix.global":  {pooledWidth + keyWidth + rhythmOut + tintWidth + families, globalWidth},
		"mix.local":   {timbreWidth + qualities*pitchClasses + tintWidth + families, Width},
	}
)

// Version 2 has the pulse too.
var layers2 = map[string][2]int{
	"pulse.context": {rhythmOut + pooledWidth, contextWidth}, "pulse.seen": {2 * len(ratios) * features.PulseCols, pulseWidth},
	"pulse.hidden": {pulseWidth, pulseWidth}, "pulse.joint": {pulseWidth, metres},
	"mix.global": {pooledWidth + keyWidth + rhythmOut + tintWidth + families + beats + metres, globalWidth},
}

// Version 3 has what engine/mir hears as well, of keys and of beats.
var layers3 = map[string][2]int{
	"harmony.pool": {2*harmonyWidth + features.KeyCols, harmonyWidth}, "pulse.seen": {len(ratios) * (2*features.PulseCols + 1), pulseWidth},
}

// layer is y = x Wᵀ + b.
type layer struct {
	in, out      int
	weight, bias []float32
}

// apply returns the layer's output for x [rows, in].
func (l layer) apply(x []float32, rows int) []float32 {
	y := make([]float32, rows*l.out)
	tensor.MatMulT(y, x, l.weight, rows, l.out, l.in)
	tensor.AddBias(y, l.bias, rows)
	return y
}

// activate returns gelu of the layer's output.
func (l layer) activate(x []float32, rows int) []float32 {
	y := l.apply(x, rows)
	tensor.GELU(y)
	return y
}

// Encoder holds the weights. It may be used by several goroutines.
type Encoder struct {
	extractor *features.Extractor
	layers    map[string]layer
	coloured  bool      // has the branch of colour and families
	hearing   bool      // reads what engine/mir hears
	beatBias  []float32 // of the branch of the pulse; nil without it
	norm, out []float32 // weights of the two RMS norms
}

// Load reads the weights from dir/encoder.safetensors.
func Load(dir string) (*Encoder, error) {
	file, err := model.OpenSafetensors(filepath.Join(dir, File))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	e := &Encoder{extractor: features.New(), layers: make(map[string]layer, len(layers))}
	read := func(name string, shape ...int) []float32 {
		if err != nil {
			return nil
		}
		var values []float32
		if values, err = file.F32(name, shape...); err == nil && !tensor.Finite(values) {
			err = fmt.Errorf("reading %s of %s: it holds values that are not finite", name, dir)
		}
		return values
	}
	sizes, own := maps.Clone(layers), layers0
	if _, e.coloured = file.Info("colour.conv.weight"); e.coloured {
		own = layers1
	}
	maps.Copy(sizes, own)
	if _, pulsing := file.Info("pulse.joint.weight"); pulsing && e.coloured {
		maps.Copy(sizes, layers2)
		e.beatBias = read("pulse.beat.bias", beats)
		if pool, _ := file.Info("harmony.pool.weight"); slices.Equal(pool.Shape, []int{harmonyWidth, layers3["harmony.pool"][0]}) {
			e.hearing = true
			maps.Copy(sizes, layers3)
		}
	}
	for name, size := range sizes {
		e.layers[name] = layer{in: size[0], out: size[1], weight: read(name+".weight", size[1], size[0]), bias: read(name+".bias", size[1])}
	}
	e.norm, e.out = read("mix.norm.weight", Width), read("mix.out.weight", Width)
	if err != nil {
		return nil, fmt.Errorf("loading the encoder: %w", err)
	}
	return e, nil
}

// errNotFinite reports a fault of the weights: features are bounded.
var errNotFinite = errors.New("frames hold values that are not finite")

// Encode returns n frames of width values each, row-major, of mono PCM at 44.1 kHz. Windows below 1 s give
// features.ErrTooShort, above 25 s features.ErrTooLong. ctx is looked at between layers.
func (e *Encoder) Encode(ctx context.Context, pcm []int16) (frames []float32, n, width int, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, 0, err
	}
	f, err := e.extractor.Extract(pcm)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("encoding a window: %w", err)
	}
	frames, err = e.forward(ctx, f)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("encoding a window: %w", err)
	}
	return frames, f.Semitones.Rows, Width, nil
}

// forward returns frames [T, Width].
func (e *Encoder) forward(ctx context.Context, f *features.Features) ([]float32, error) {
	semitones := scaleSemitones(f.Semitones)
	local, pooled := e.timbre(semitones, scaleMel(f.Mel))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	chords, keys := e.harmony(semitones, f.Keys)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rhythm := e.rhythm(f.Tempograms)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	global, slow := slices.Concat(pooled, keys, rhythm), []features.Matrix{chords}
	if e.coloured {
		rows, tint, err := e.colour(ctx, semitones)
		if err != nil {
			return nil, err
		}
		active, there := e.families(rows, local, pooled, tint)
		global, slow = slices.Concat(global, tint, there), append(slow, rows, active)
	}
	if e.beatBias != nil {
		global = append(global, e.pulse(f.Pulse, f.Beats, rhythm, pooled)...)
	}
	frames := e.mix(local, slow, global, f.Semitones.Rows)
	if !tensor.Finite(frames) {
		return nil, errNotFinite
	}
	return frames, nil
}
