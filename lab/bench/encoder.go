package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
)

// EncoderConfig says what to measure.
type EncoderConfig struct {
	ModelDir string
	// Seconds of audio; what lies beyond the encoder's span is not heard.
	Seconds float64
	// Layers to run, from the first; 0 is all.
	Layers int
	// Precisions to run, in turns, in each of Rounds rounds.
	Precisions []string
	Rounds     int
	// Peer is the command of another implementation, which gets --model, --precision, --layers, --audio, --codes and --frames, encodes one
	// window and prints an EncoderRun; empty runs none. It is asked for PeerPrecisions only.
	Peer []string
	// Executable is the lark binary.
	Executable string
	// Scratch is a folder for the results; they are removed.
	Scratch string
	// Log takes what the processes have to say.
	Log io.Writer
	// Progress is told what is being measured.
	Progress func(what string)
}

// PeerPrecisions lists the precisions that a peer has.
func PeerPrecisions() []string { return []string{"f32", "bf16"} }

// encoderBench is one measurement.
type encoderBench struct {
	cfg EncoderConfig
	dir string
}

// RunEncoder encodes the same clip with every precision and with the peer in turns, each time in a process of its own.
func RunEncoder(ctx context.Context, cfg EncoderConfig) (r EncoderReport, err error) {
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return r, err
	}
	layers, all, err := depth(bundle, cfg.Layers)
	if err != nil {
		return r, err
	}
	cfg.Layers = layers
	b := encoderBench{cfg: cfg}
	if b.dir, err = os.MkdirTemp(cfg.Scratch, "lark-bench-"); err != nil {
		return r, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := writeClip(b.audio(), chirp(int(cfg.Seconds*sampleRate))); err != nil {
		return r, err
	}
	r = newEncoderReport(cfg, bundle, all)
	for round := range cfg.Rounds {
		if err := b.round(ctx, &r, round); err != nil {
			return r, err
		}
	}
	return r, b.memory(ctx, &r)
}

func (b *encoderBench) audio() string { return filepath.Join(b.dir, "clip.wav") }

// round runs every system once, and in the first one compares the results.
func (b *encoderBench) round(ctx context.Context, r *EncoderReport, round int) error {
	var reference result
	for _, precision := range b.cfg.Precisions {
		commands := [][]string{b.own(precision, b.cfg.Layers, 1)}
		if len(b.cfg.Peer) > 0 && slices.Contains(PeerPrecisions(), precision) {
			commands = append(commands, b.peer(precision))
		}
		for i, command := range commands {
			b.cfg.Progress(fmt.Sprintf("round %d of %d: %s %s", round+1, b.cfg.Rounds, []string{"larkstream", "peer"}[i], precision))
			name := filepath.Join(b.dir, fmt.Sprintf("%d-%s-%d", round, precision, i))
			run, err := b.run(ctx, append(command, "--codes", name+".codes", "--frames", name+".frames"))
			if err != nil {
				return err
			}
			got, err := readResult(name)
			if err != nil {
				return err
			}
			if reference.frames == nil {
				reference = got
			}
			r.add(run, got.differs(reference))
		}
	}
	return nil
}

// own is the command of a process that encodes that many windows at once.
func (b *encoderBench) own(precision string, layers, windows int) []string {
	return []string{
		b.cfg.Executable, "bench", "window", "--model", b.cfg.ModelDir, "--precision", precision, "--layers", strconv.Itoa(layers),
		"--seconds", fmt.Sprint(b.cfg.Seconds), "--windows", strconv.Itoa(windows),
	}
}

func (b *encoderBench) peer(precision string) []string {
	return append(slices.Clone(b.cfg.Peer), "--model", b.cfg.ModelDir, "--precision", precision, "--layers", strconv.Itoa(b.cfg.Layers), "--audio", b.audio())
}

// run runs a process that prints an EncoderRun.
func (b *encoderBench) run(ctx context.Context, command []string) (EncoderRun, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = b.cfg.Log
	// It makes current builds of OpenBLAS slower where it is set for old ones.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OPENBLAS_CORETYPE=") })
	out, err := cmd.Output()
	if err != nil {
		return EncoderRun{}, fmt.Errorf("running %s: %w", strings.Join(command[:min(len(command), 3)], " "), err)
	}
	var r EncoderRun
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("reading what %s printed: %w", command[0], err)
	}
	return r, nil
}

// memory measures what a second window in flight takes. It depends on no layer but the first.
func (b *encoderBench) memory(ctx context.Context, r *EncoderReport) error {
	for _, precision := range b.cfg.Precisions {
		b.cfg.Progress("memory of a second window: " + precision)
		var took [2]int64
		for i := range took {
			run, err := b.run(ctx, b.own(precision, 1, i+1))
			if err != nil {
				return err
			}
			took[i] = run.Memory.Anonymous
		}
		r.SecondWindow[precision] = took[1] - took[0]
	}
	return nil
}

// result is what an encoder gives.
type result struct {
	codes  []int32
	frames []float32
}

func readResult(name string) (r result, err error) {
	if r.codes, err = readValues[int32](name + ".codes"); err != nil {
		return r, err
	}
	r.frames, err = readValues[float32](name + ".frames")
	return r, err
}

func readValues[T int32 | float32](path string) ([]T, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	values := make([]T, len(raw)/4)
	if _, err := binary.Decode(raw, binary.LittleEndian, values); err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	return values, nil
}

// Difference is how far a result is from the first one of its round.
type Difference struct {
	// Codes that differ.
	Codes int `json:"codes"`
	// Frames is the length of the frames' difference, as a share of their length.
	Frames float64 `json:"frames"`
}

func (r result) differs(reference result) Difference {
	d := Difference{Codes: max(len(r.codes), len(reference.codes)) - min(len(r.codes), len(reference.codes))}
	for i := range min(len(r.codes), len(reference.codes)) {
		if r.codes[i] != reference.codes[i] {
			d.Codes++
		}
	}
	if len(r.frames) != len(reference.frames) {
		d.Frames = 1
		return d
	}
	var apart, length float64
	for i, want := range reference.frames {
		apart += math.Pow(float64(r.frames[i])-float64(want), 2)
		length += math.Pow(float64(want), 2)
	}
	d.Frames = math.Sqrt(apart / length)
	return d
}

// writeClip writes a 16-bit mono wav.
func writeClip(path string, pcm []int16) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making the clip: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	if err := errors.Join(writeWavHeader(out, len(pcm)), binary.Write(out, binary.LittleEndian, pcm), out.Flush()); err != nil {
		return fmt.Errorf("writing the clip: %w", err)
	}
	return nil
}
