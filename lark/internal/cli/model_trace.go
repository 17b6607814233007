package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/engine/trace"
	"github.com/larkstream/larkstream/lab/npy"
)

// traceRun is one run of lark model trace.
type traceRun struct {
	model, out, precision, device, question string
	tokens                                  int
}

func (a *app) traceCommand() *cobra.Command {
	var r traceRun
	cmd := &cobra.Command{
		Use: "trace --model FOLDER [--precision f32] --question TEXT [--tokens 16] --out FOLDER FILE", Short: "Write every step from audio to tokens as arrays", Args: cobra.ExactArgs(1),
		Long: `Hears a file as the model's family does, in one prompt (all windows of a track for the Flamingos, a whole clip of up to 300 s for Qwen2.5-Omni), asks the
question, and writes every step into a folder as NumPy reads it, for comparisons with another implementation:

  mel.npy         log-mel spectrogram [frames, 128]: 3000 for each full window, and two more than the audio has for the last
  enc_pooled.npy  frames behind the encoder's last norm, which are what is stored [n, width]
  projected.npy   rows that stand in the prompt for the audio [n, width of the decoder]
  prompt_ids.npy  the prompt, with a placeholder for each of these rows, int32
  logits.npy      scores after the last position of the prompt [vocabulary]
  greedy.npy      the most likely tokens that follow, int32; stop tokens do not stop

With --precision f32 all is computed in float32, whatever the types of the weights; the decoder then takes memory for all its weights in float32. Without
it, all is computed as it is for answers.`,
		Example: `  lark model trace --model qwen2.5-omni-7b --question "What is the tempo?" --out trace song.wav`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.model == "" || r.out == "" || r.question == "" {
				return usage(errors.New("--model, --question and --out are needed"))
			}
			if _, err := tensor.ParsePrecision(r.precision); r.precision != "" && err != nil {
				return usage(fmt.Errorf("--precision: %w", err))
			}
			if r.tokens < 1 {
				return usage(fmt.Errorf("--tokens %d is below 1", r.tokens))
			}
			return a.trace(cmd, &r, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.model, "model", "", "`folder` of the bundle")
	f.StringVar(&r.precision, "precision", "", "`name` of the arithmetic: f32, bf16x2 or bf16; default: the bundle's")
	f.StringVar(&r.device, "device", encoder.DeviceCPU, "`name` of the encoder's device, see lark model encode")
	f.StringVar(&r.question, "question", "", "`text` of the question")
	f.IntVar(&r.tokens, "tokens", 16, "tokens to decode")
	f.StringVar(&r.out, "out", "", "`folder` for the arrays")
	return cmd
}

func (a *app) trace(cmd *cobra.Command, r *traceRun, file string) error {
	b, err := model.LoadComplete(r.model)
	if err != nil {
		return err
	}
	files, err := audio.NewDecoder(cmd.Context(), audio.DefaultConfig())
	if err != nil {
		return err
	}
	samples, err := files.At(b.Encoder.Rate()).DecodeFloats(cmd.Context(), file)
	if err != nil {
		return err
	}
	native := os.Getenv("LARK_NATIVE_DIR")
	steps, err := trace.Run(cmd.Context(), b, trace.Config{
		Precision: tensor.Precision(r.precision), Device: encoder.Device{Name: r.device, NativeDir: native, Log: a.log},
		Question: r.question, Tokens: r.tokens, NativeDir: native, Log: a.log,
	}, samples)
	if err != nil {
		return fmt.Errorf("tracing %s: %w", file, err)
	}
	if err := os.MkdirAll(r.out, 0o750); err != nil {
		return fmt.Errorf("making the folder of the arrays: %w", err)
	}
	if err := writeSteps(r.out, steps); err != nil {
		return err
	}
	a.printf("%s: %.2f s heard, %d rows in a prompt of %d, %d tokens, in %s\n", file, steps.HeardS, steps.Projected.Rows, len(steps.PromptIDs), len(steps.Greedy), r.out)
	return nil
}

func writeSteps(dir string, s trace.Steps) error {
	matrix := func(name string, m tensor.Matrix) error {
		return npy.WriteFile(filepath.Join(dir, name+".npy"), m.Data, m.Rows, m.Cols)
	}
	ids := func(name string, list []int32) error {
		return npy.WriteFile(filepath.Join(dir, name+".npy"), list, len(list))
	}
	return errors.Join(
		matrix("mel", s.Mel), matrix("enc_pooled", s.Pooled), matrix("projected", s.Projected), ids("prompt_ids", s.PromptIDs),
		npy.WriteFile(filepath.Join(dir, "logits.npy"), s.Logits, len(s.Logits)), ids("greedy", s.Greedy))
}
