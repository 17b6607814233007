// Package modelcheck tests a model bundle on this machine: whether it fits, is whole, loads, and hears and answers as a model should.
package modelcheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lark/internal/doctor"
)

// Finding is the result of one check.
type Finding = doctor.Finding

// States of a finding.
const (
	OK   = doctor.OK
	Warn = doctor.Warn
	Fail = doctor.Fail
)

const (
	// question and tokens are what the decoder is asked, and how far it may answer.
	question = "Describe the music in detail."
	tokens   = 32
	// apart is the least distance of the frames of a tone and of drums, as a share of the frames (roots of mean squares). Equal frames have 0.
	apart = 0.01
)

// Config says what to check.
type Config struct {
	Dir string
	// NativeDir is the folder of llama.cpp's libraries; empty: beside the program.
	NativeDir string
	// Available is how much memory there is, in bytes; 0 where that is not known.
	Available int64
	// Log may be nil.
	Log *slog.Logger
	// Progress is called with the bytes of the bundle that have been verified. It may be nil.
	Progress func(done, total int64)
}

// Speed is what was measured, on the processor. The model is warm.
type Speed struct {
	WindowS       float64 `json:"window_s"`       // length of a full window
	EncodeS       float64 `json:"encode_s"`       // seconds to encode it
	PrefillS      float64 `json:"prefill_s"`      // seconds to read prompt and frames
	PromptTokens  int     `json:"prompt_tokens"`  // of that prompt, frames included
	OutputTokens  int     `json:"output_tokens"`  // of the answer that was measured
	TokensPerS    float64 `json:"tokens_per_s"`   // 0: the model stopped at once
	DistanceShare float64 `json:"distance_share"` // of a tone and drums, see the check "hears"
}

// Report is the result. Checks behind the first that failed are absent.
type Report struct {
	Model    string    `json:"model"`
	Encoder  string    `json:"encoder"`
	Healthy  bool      `json:"healthy"`
	Memory   Memory    `json:"memory"`
	Speed    Speed     `json:"speed"`
	Findings []Finding `json:"findings"`
}

// run is one check of a bundle.
type run struct {
	cfg    Config
	b      *model.Bundle
	report Report
	frames tensor.Matrix
}

// Run checks a bundle up to the first fault, which is a finding. An error says that there is no report: the manifest cannot be read, or ctx has ended.
func Run(ctx context.Context, cfg Config) (Report, error) {
	b, err := model.Read(cfg.Dir)
	if err != nil {
		return Report{}, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int64, int64) {}
	}
	r := &run{cfg: cfg, b: b, report: Report{Model: b.DisplayName(), Encoder: b.EncoderID}}
	// The encoder ends before the decoder begins: our bf16 kernel releases the processor's tiles (AMX), which ggml configures once on each thread.
	for _, check := range []func(context.Context) error{r.memory, r.files, r.encoder, r.decoder} {
		err := check(ctx)
		if ctx.Err() != nil {
			return Report{}, fmt.Errorf("checking %s: %w", cfg.Dir, context.Cause(ctx))
		}
		if err != nil {
			r.add("stopped", Fail, err.Error(), "import the model again, or see docs/models.md")
		}
		if !doctor.Healthy(r.report.Findings) {
			return r.report, nil
		}
	}
	r.add("machine", OK, r.machine(), "")
	r.report.Healthy = true
	return r.report, nil
}

func (r *run) add(check, state, detail, remedy string) {
	r.report.Findings = append(r.report.Findings, Finding{Check: check, State: state, Detail: detail, Remedy: remedy})
}

func (r *run) memory(context.Context) (err error) {
	if r.report.Memory, err = estimate(r.b); err != nil {
		return err
	}
	r.report.Memory.Available = r.cfg.Available
	r.report.Findings = append(r.report.Findings, r.report.Memory.check())
	return nil
}

func (r *run) files(ctx context.Context) error {
	var size int64
	if err := r.b.Verify(ctx, func(done, total int64) { size = total; r.cfg.Progress(done, total) }); err != nil {
		return err
	}
	r.add("files", OK, fmt.Sprintf("%s, every digest is the manifest's", bytes(size)), "")
	return nil
}

// encoder encodes a tone twice and drums once.
func (r *run) encoder(ctx context.Context) (err error) {
	e, err := encoder.Open(ctx, r.b, encoder.Options{Concurrency: 1, Device: encoder.Device{Log: r.cfg.Log}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	rate := r.b.Encoder.Rate()
	samples := int(r.b.Encoder.SpanS * float64(rate))
	sounds := [][]int16{tone(samples, rate), tone(samples, rate), drums(samples, rate)}
	var got [3]tensor.Matrix
	begun := time.Now()
	for i, pcm := range sounds {
		begun = time.Now()
		if got[i], err = e.Encode(ctx, pcm); err != nil {
			return err
		}
	}
	r.report.Speed.WindowS, r.report.Speed.EncodeS = float64(samples)/float64(rate), time.Since(begun).Seconds()
	r.frames = got[2]
	r.compare(got)
	return nil
}

// compare judges the frames of a tone, of the same tone, and of drums.
func (r *run) compare(got [3]tensor.Matrix) {
	const remedy = "the weights are damaged or of another model: import the model again"
	if !tensor.Finite(got[0].Data) || !tensor.Finite(got[2].Data) {
		r.add("encoder", Fail, "frames hold NaN or infinity", remedy)
		return
	}
	if !slices.Equal(got[0].Data, got[1].Data) {
		r.add("encoder", Fail, "the same window gave different frames", "look for faulty memory, and report this with the output of lark doctor")
		return
	}
	s := &r.report.Speed
	r.add("encoder", OK, fmt.Sprintf("engine %s in %s: %d frames of %d values, finite, the same twice; %.1f s of audio in %.2f s", r.b.Encoder.Engine,
		r.b.Encoder.Precision, got[0].Rows, got[0].Cols, s.WindowS, s.EncodeS), "")
	s.DistanceShare = distance(got[0].Data, got[2].Data)
	detail := fmt.Sprintf("the frames of a tone and of drums differ by %.3g of their size", s.DistanceShare)
	if s.DistanceShare < apart {
		r.add("hears", Fail, detail+fmt.Sprintf(", where %.2g is expected", apart), remedy)
		return
	}
	r.add("hears", OK, detail, "")
}

// distance is the root of the mean square of a-b as a share of that of a.
func distance(a, b []float32) float64 {
	var between, size float64
	for i := range min(len(a), len(b)) {
		d := float64(a[i]) - float64(b[i])
		between, size = between+d*d, size+float64(a[i])*float64(a[i])
	}
	if size == 0 {
		return 0
	}
	return math.Sqrt(between / size)
}

// decoder asks about the drums twice.
func (r *run) decoder(ctx context.Context) (err error) {
	if r.b.EncoderOnly() {
		r.add("decoder", OK, "none: the bundle has an encoder only", "")
		return nil
	}
	p, err := projector.Open(r.b)
	if err != nil {
		return err
	}
	soft, err := p.Project(r.frames)
	if err != nil {
		return err
	}
	if !tensor.Finite(soft.Data) {
		r.add("projector", Fail, "rows hold NaN or infinity", "import the model again")
		return nil
	}
	r.add("projector", OK, fmt.Sprintf("%d rows of %d values, finite", soft.Rows, soft.Cols), "")
	if r.b.LLM.Engine == decoder.VLLMServer {
		r.add("decoder", Warn, "not checked: a vLLM server decodes", "ask through lark up, with LARK_VLLM_URL set")
		return nil
	}
	e, err := decoder.Open(r.b, decoder.Options{NativeDir: r.cfg.NativeDir, Device: encoder.DeviceCPU, Log: r.cfg.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return r.ask(ctx, e, soft)
}

func (r *run) ask(ctx context.Context, e decoder.Engine, soft tensor.Matrix) error {
	var texts [2]string
	for i := range texts {
		got, err := e.Answer(ctx, decoder.Request{
			Soft: soft, Job: "check", Questions: []decoder.Question{{Text: question}}, Decode: decoder.Decode{MaxTokens: tokens},
		})
		if err != nil {
			return err
		}
		if got[0].Err != nil {
			return got[0].Err
		}
		texts[i] = got[0].Text
		s := &r.report.Speed
		s.PrefillS, s.PromptTokens, s.OutputTokens = got[0].Prefill.Seconds(), got[0].PromptTokens, got[0].OutputTokens
		if took := got[0].Decode.Seconds(); took > 0 {
			s.TokensPerS = float64(s.OutputTokens) / took
		}
	}
	if texts[0] != texts[1] {
		r.add("decoder", Fail, "the same question got different answers without sampling", "report this with the output of lark doctor")
		return nil
	}
	s := r.report.Speed
	r.add("decoder", OK, fmt.Sprintf("engine %s: a prompt of %d in %.2f s, %d tokens at %.1f a second, the same twice", r.b.LLM.Engine, s.PromptTokens, s.PrefillS,
		s.OutputTokens, s.TokensPerS), "")
	return nil
}

// machine says what the measured speed means.
func (r *run) machine() string {
	s := r.report.Speed
	text := fmt.Sprintf("one window after another, the processor encodes %.3g hours of music in an hour", s.WindowS/s.EncodeS)
	if s.TokensPerS > 0 {
		took := s.EncodeS + s.PrefillS + 64/s.TokensPerS
		text += fmt.Sprintf("; a question about a new window is answered (64 tokens) in %.3g s, about a known one in %.3g s", took, took-s.EncodeS)
	}
	return text + "; lark doctor lists GPUs, which were not used here"
}
