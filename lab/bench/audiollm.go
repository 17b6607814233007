package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// AudioLLMConfig says how a model with an encoder of Whisper's kind is measured. The decoder is measured as LLMConfig says, with the frames of one window.
type AudioLLMConfig struct {
	LLMConfig
	// Seconds of the window.
	Seconds float64
	// Precisions of the encoder, in turns, in each of Rounds rounds. None measures no encoder.
	Precisions []string
	// Peer is the command of another implementation of the encoder, which gets --model, --precision, --audio (float32 at 16 kHz) and --frames, encodes
	// one window and prints an EncoderRun; empty runs none. It is asked for PeerPrecisions only.
	Peer []string
	// Decoder tells whether the decoder is measured.
	Decoder bool
	// Executable is the lark binary, Scratch a folder for the results, which are removed.
	Executable, Scratch string
	// Log takes what the processes have to say.
	Log io.Writer
}

// AudioLLMReport is the result.
type AudioLLMReport struct {
	Model        string          `json:"model"`
	Machine      string          `json:"machine"`
	Command      string          `json:"command"`
	Load         float64         `json:"load"` // average before the measurement
	AudioSeconds float64         `json:"audio_seconds"`
	Rounds       int             `json:"rounds"`
	Encoder      []EncoderSystem `json:"encoder"`
	// Decoder is nil where it was not measured, DecoderLayers how many layers it has; Memory is the most that engine or loop took.
	Decoder       *LLMReport `json:"decoder"`
	DecoderLayers int        `json:"decoder_layers"`
	Memory        Memory     `json:"decoder_memory"`
}

// benchContext is the decoder's context in measurements: a window, a question and an answer. The published ones are so long that the loop's keys and values
// alone would fill a machine.
const benchContext = 2048

// RunAudioLLM measures the encoder, each system and precision in turns and in processes of their own, and then the decoder.
func RunAudioLLM(ctx context.Context, cfg AudioLLMConfig) (r AudioLLMReport, err error) {
	bundle, err := model.LoadCompleteContext(ctx, cfg.ModelDir)
	if err != nil {
		return r, err
	}
	if bundle.Encoder.Engine != model.Whisper {
		return r, fmt.Errorf("measuring the model: the encoder of %s is of engine %q, not %s", bundle.Name, bundle.Encoder.Engine, model.Whisper)
	}
	cfg.Seconds = min(cfg.Seconds, bundle.Encoder.SpanS)
	r = AudioLLMReport{
		Model: bundle.DisplayName(), Machine: machine(), Load: loadAverage(), AudioSeconds: cfg.Seconds, Rounds: cfg.Rounds, DecoderLayers: bundle.LLM.Layers,
		Command: fmt.Sprintf("lark bench audio-llm --rounds %d --tokens %d --sequences %d --seconds %g --threads %d --precision %q",
			cfg.Rounds, cfg.Tokens, cfg.Sequences, cfg.Seconds, cfg.Threads, strings.Join(cfg.Precisions, ",")),
	}
	if len(cfg.Peer) > 0 {
		r.Command += " --peer ..."
	}
	if len(cfg.Precisions) > 0 {
		if err := r.measureEncoder(ctx, cfg); err != nil {
			return r, err
		}
	}
	if !cfg.Decoder {
		return r, nil
	}
	cfg.Frames = int(cfg.Seconds * bundle.Encoder.FrameRateHz)
	bundle.LLM.Context = min(bundle.LLM.Context, benchContext)
	llm, err := runLLM(ctx, cfg.LLMConfig, bundle)
	r.Decoder, r.Memory = &llm, resident("self")
	return r, err
}

func (r *AudioLLMReport) measureEncoder(ctx context.Context, cfg AudioLLMConfig) (err error) {
	b := encoderBench{cfg: EncoderConfig{Log: cfg.Log}}
	if b.dir, err = os.MkdirTemp(cfg.Scratch, "lark-bench-"); err != nil {
		return fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	clip := filepath.Join(b.dir, "clip")
	if err := writeValues(clip, clipOf(cfg.Seconds)); err != nil {
		return err
	}
	var systems EncoderReport
	for round := range cfg.Rounds {
		var first result
		for _, precision := range cfg.Precisions {
			commands := [][]string{{cfg.Executable, "bench", "clip"}}
			if len(cfg.Peer) > 0 && slices.Contains(PeerPrecisions(), precision) {
				commands = append(commands, slices.Clone(cfg.Peer))
			}
			for i, command := range commands {
				cfg.Progress(fmt.Sprintf("round %d of %d: %s %s", round+1, cfg.Rounds, []string{"larkstream", "peer"}[i], precision))
				frames := filepath.Join(b.dir, "frames")
				run, err := b.run(ctx, append(command, "--model", cfg.ModelDir, "--precision", precision, "--audio", clip, "--frames", frames))
				if err != nil {
					return err
				}
				cfg.Progress(fmt.Sprintf("%s %s: %.2f core-seconds in %.2f s", run.System, run.Precision, run.CoreSeconds, run.WallSeconds))
				var got result
				if got.frames, err = readValues[float32](frames); err != nil {
					return err
				}
				if first.frames == nil {
					first = got
				}
				systems.add(run, got.differs(first))
			}
		}
	}
	r.Encoder = systems.Systems
	return nil
}

// clipOf is a sound whose pitch and loudness change, at the encoder's rate.
func clipOf(seconds float64) []float32 {
	const rate = audiobundle.SampleRate
	samples := chirp(int(seconds * sampleRate))
	out := make([]float32, int(seconds*rate))
	for i := range out { // every so many samples of it: a sound, whatever aliases
		out[i] = float32(samples[min(len(samples)-1, i*sampleRate/rate)]) / (1 << 15)
	}
	return out
}

// ClipConfig says what one process encodes.
type ClipConfig struct {
	ModelDir string
	// Precision is the arithmetic of products; empty is the bundle's.
	Precision tensor.Precision
	// Audio is a file of float32 samples at 16 kHz, Frames a file for the result; empty writes none.
	Audio, Frames string
}

// RunClip encodes one window with an encoder of Whisper's kind. Loading is not measured.
func RunClip(ctx context.Context, cfg ClipConfig) (r EncoderRun, err error) {
	bundle, err := model.Read(cfg.ModelDir)
	if err != nil {
		return r, err
	}
	samples, err := readValues[float32](cfg.Audio)
	if err != nil {
		return r, err
	}
	e, err := encoder.OpenWhisper(ctx, bundle, encoder.WhisperOptions{Precision: cfg.Precision})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	runtime.GC() // what was read to load the weights
	r = EncoderRun{System: "larkstream", Precision: string(cfg.Precision), Layers: e.Config().Layers}
	begun := time.Now()
	var frames tensor.Matrix
	r.CoreSeconds, err = spent(func() (err error) {
		frames, err = e.EncodeSamples(ctx, samples)
		return err
	})
	if err != nil {
		return r, err
	}
	r.WallSeconds, r.Memory = time.Since(begun).Seconds(), resident("self")
	if cfg.Frames != "" {
		err = writeValues(cfg.Frames, frames.Data)
	}
	return r, err
}
