package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/npy"
)

const sampleRate = 44100

// encodeRun is one run of lark model encode.
type encodeRun struct {
	codes, out string
	files      []string
	audio      *audio.Decoder
	jukebox    *encoder.JukeboxEncoder
}

func (a *app) encodeCommand() *cobra.Command {
	var r encodeRun
	var modelDir, precision, device string
	cmd := &cobra.Command{
		Use: "encode --model FOLDER [--precision NAME] [--device NAME] [--codes FILE] [--out FILE] AUDIO...", Short: "Run a Jukebox encoder on audio files", Args: cobra.MinimumNArgs(1),
		Long: `Runs the encoder of a bundle alone on the start of each file: 23.777 s of it are heard, and loudness is normalised by the peak of
the whole file, as the reference does. --out takes the frames [n, width] in float32, --codes the codes of the VQ-VAE in
int32, both as NumPy reads them. With several files they name folders, in which each file's array gets its name.`,
		Example: "  lark model encode --model jukebox-5b --out frames.npy song.wav",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if modelDir == "" {
				return usage(errors.New("--model is needed"))
			}
			options := encoder.JukeboxOptions{Precision: tensor.Precision(precision)}
			if _, err := tensor.ParsePrecision(precision); precision != "" && err != nil {
				return usage(fmt.Errorf("--precision: %w", err))
			}
			bundle, err := model.Load(modelDir)
			if err != nil {
				return err
			}
			r.jukebox, err = encoder.OpenJukeboxOn(cmd.Context(), bundle, options, encoder.Device{Name: device, NativeDir: os.Getenv("LARK_NATIVE_DIR"), Log: a.log})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.jukebox.Close()) }()
			if r.audio, err = audio.NewDecoder(cmd.Context(), audio.DefaultConfig()); err != nil {
				return err
			}
			r.files = args
			return a.encodeAll(cmd.Context(), &r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&modelDir, "model", "", "`folder` of the bundle")
	f.StringVar(&precision, "precision", "", "`name` of the arithmetic: f32, bf16x2 or bf16; default: the bundle's")
	f.StringVar(&device, "device", encoder.DeviceCPU, "`name` of the device: cpu, auto, cuda, vulkan, metal (cuda:1: the second) or ggml-cpu, all but cpu with the libraries in\nLARK_NATIVE_DIR or beside the program, see docs/gpu.md")
	f.StringVar(&r.codes, "codes", "", "`file` for the codes, .npy")
	f.StringVar(&r.out, "out", "", "`file` for the frames, .npy")
	return cmd
}

// encodeAll goes on behind a file that cannot be encoded; the errors come back together.
func (a *app) encodeAll(ctx context.Context, r *encodeRun) error {
	var faults []error
	for _, file := range r.files {
		if err := a.encodeFile(ctx, r, file); err != nil {
			faults = append(faults, fmt.Errorf("encoding %s: %w", file, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(faults...)
}

func (a *app) encodeFile(ctx context.Context, r *encodeRun, file string) error {
	pcm, err := r.audio.DecodeFile(ctx, file)
	if err != nil {
		return err
	}
	if r.codes != "" {
		codes, err := r.jukebox.Codes(ctx, pcm)
		if err != nil {
			return err
		}
		path, err := r.target(r.codes, file)
		if err != nil {
			return err
		}
		if err := npy.WriteFile(path, codes, len(codes)); err != nil {
			return err
		}
	}
	begun := time.Now()
	frames, err := r.jukebox.Encode(ctx, pcm)
	if err != nil {
		return err
	}
	heard := float64(min(len(pcm), r.jukebox.WindowSamples())) / sampleRate
	a.printf("%s: %d frames of %d values from %.3f s in %.1f s\n", file, frames.Rows, frames.Cols, heard, time.Since(begun).Seconds())
	if r.out == "" {
		return nil
	}
	path, err := r.target(r.out, file)
	if err != nil {
		return err
	}
	return npy.WriteFile(path, frames.Data, frames.Rows, frames.Cols)
}

// target is the array's path for a file: to itself when there is one file, else a path in the folder to.
func (r *encodeRun) target(to, file string) (string, error) {
	if len(r.files) == 1 {
		return to, nil
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return "", fmt.Errorf("making the folder of the arrays: %w", err)
	}
	return filepath.Join(to, filepath.Base(file)+".npy"), nil
}
