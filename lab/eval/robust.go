package eval

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/mir"
)

// variant is a change of audio that a listener would hardly mind.
type variant struct {
	name, what, file string
	// change writes the changed window to path.
	change func(ctx context.Context, r *run, clip string, pcm []int16, path string) error
}

// cents is by how much one variant is tuned up.
const cents = 50

// variants are the changes of the robustness task.
func variants() []variant {
	ratio := math.Exp2(cents / 1200.0)
	pitch := fmt.Sprintf("asetrate=%d,aresample=%d,atempo=%.9f", int(math.Round(audio.SampleRate*ratio)), audio.SampleRate, 1/ratio)
	return []variant{
		{"mp3_64k", "as MP3 at 64 kbit/s", "clip.mp3", encoded("-b:a", "64k", "-f", "mp3")},
		{"minus_20_db", "20 dB softer", "clip.wav", written(func(_ *run, _ string, pcm []int16) []int16 { return scaled(pcm, 0.1) })},
		{"noise_20_db", "with white noise 20 dB below it", "clip.wav", written(noisy)},
		{"plus_50_cents", "tuned up by 50 cents at the same tempo", "clip.wav", encoded("-af", pitch, "-f", "wav")},
	}
}

// encoded runs the window through ffmpeg.
func encoded(args ...string) func(context.Context, *run, string, []int16, string) error {
	return func(ctx context.Context, r *run, _ string, pcm []int16, path string) error {
		rate := strconv.Itoa(audio.SampleRate)
		args := append([]string{"-nostdin", "-v", "error", "-y", "-f", "s16le", "-ar", rate, "-ac", "1", "-i", "pipe:0"}, append(args, path)...)
		cmd := exec.CommandContext(ctx, r.ffmpeg, args...)
		cmd.Stdin = bytes.NewReader(littleEndian(pcm))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running ffmpeg: %w: %.400s", err, out)
		}
		return nil
	}
}

func written(change func(r *run, clip string, pcm []int16) []int16) func(context.Context, *run, string, []int16, string) error {
	return func(_ context.Context, r *run, clip string, pcm []int16, path string) error {
		return os.WriteFile(path, Wav(change(r, clip, pcm), audio.SampleRate), 0o600)
	}
}

func scaled(pcm []int16, by float64) []int16 {
	out := make([]int16, len(pcm))
	for i, v := range pcm {
		out[i] = int16(math.RoundToEven(float64(v) * by))
	}
	return out
}

// noisy adds white noise whose power is a hundredth of the window's.
func noisy(r *run, clip string, pcm []int16) []int16 {
	power := 0.0
	for _, v := range pcm {
		power += float64(v) * float64(v)
	}
	level := math.Sqrt(power/float64(max(1, len(pcm)))) / 10
	rng, out := shuffler(r.cfg.Seed, clip, -1), make([]int16, len(pcm))
	for i, v := range pcm {
		out[i] = int16(max(math.MinInt16, min(math.MaxInt16, math.RoundToEven(float64(v)+level*rng.NormFloat64()))))
	}
	return out
}

func littleEndian(pcm []int16) []byte {
	out := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		out = binary.LittleEndian.AppendUint16(out, uint16(v))
	}
	return out
}

// Wav is PCM as a mono wav file.
func Wav(pcm []int16, rate int) []byte {
	data := littleEndian(pcm)
	out := append([]byte("RIFF"), make([]byte, 40)...)
	binary.LittleEndian.PutUint32(out[4:], uint32(36+len(data)))
	copy(out[8:], "WAVEfmt ")
	for _, f := range []struct{ at, v uint32 }{{16, 16}, {20, 1 | 1<<16}, {24, uint32(rate)}, {28, uint32(2 * rate)}, {32, 2 | 16<<16}} {
		binary.LittleEndian.PutUint32(out[f.at:], f.v)
	}
	copy(out[36:], "data")
	binary.LittleEndian.PutUint32(out[40:], uint32(len(data)))
	return append(out, data...)
}

// change asks about a clip's facts in every variant.
func (r *run) change(ctx context.Context, i int, pcm []int16, facts []closed) (err error) {
	dir, err := os.MkdirTemp("", "lark-eval-*")
	if err != nil {
		return fmt.Errorf("making scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var questions []string
	for _, c := range facts {
		questions = append(questions, r.wordings.pick(c.name, i))
	}
	r.heard[i].changed = map[string]changed{}
	for _, v := range variants() {
		path := filepath.Join(dir, v.file)
		if err := v.change(ctx, r, r.set.Clips[i].ID, pcm, path); err != nil {
			return fmt.Errorf("making the clip %s: %w", v.what, err)
		}
		var c changed
		if c.answers, _, err = r.answers(ctx, path, questions, nil); err != nil {
			return err
		}
		window, err := r.window(ctx, path)
		if err != nil {
			return err
		}
		c.mir, _ = mir.Analyse(window)
		r.heard[i].changed[v.name] = c
	}
	return nil
}

// changedPairs read the answers about a variant, and engine/mir's readings of it where the task has them.
func (r *run) changedPairs(c closed, variant string, clips []int) (pairs, peer []pair) {
	for _, i := range clips {
		labels, changed := r.set.Clips[i].Labels, r.heard[i].changed[variant]
		want, _ := c.want(labels)
		pairs = append(pairs, pair{c.read(changed.answers[r.wordings.pick(c.name, i)], labels), want})
		if c.mir != nil {
			peer = append(peer, pair{c.mir(changed.mir), want})
		}
	}
	return pairs, peer
}

// scoreRobustness scores the facts on changed audio. Its own figure is the mean share of the score that is kept, over variants and tasks.
func (r *run) scoreRobustness(rep *Report) {
	if !r.does(TaskRobustness) {
		return
	}
	var kept []float64
	for _, v := range variants() {
		for _, c := range r.closed {
			clips := r.clipsOf(c)
			if len(clips) == 0 {
				continue
			}
			clean, first := rep.Summary[c.name], c.figures[0]
			pairs, peer := r.changedPairs(c, v.name, clips)
			f := r.figure(first.metric+", "+v.what, pairs, first.of)
			f.Constant = clean.Constant
			if c.mir != nil {
				measured := first.of(peer)
				f.MIR = &measured
			}
			rep.put("robustness_"+v.name+"_"+c.name, f)
			rep.Robustness = append(rep.Robustness, Robust{
				Variant: v.name, Task: c.name, Metric: first.metric, Clean: clean.Value, Value: f.Value, Low: f.Low, High: f.High, N: f.N, MIR: f.MIR,
			})
			if clean.Value > 0 {
				kept = append(kept, min(1, f.Value/clean.Value))
			}
		}
	}
	if len(kept) == 0 {
		return
	}
	one := 1.0
	f := r.figureOf("mean share of the score kept over variants and tasks", kept)
	f.Constant = &one
	rep.put(TaskRobustness, f)
}
