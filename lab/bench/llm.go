package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model"
)

// LLMConfig says how a decoder on llama.cpp is measured.
type LLMConfig struct {
	ModelDir string
	// NativeDir is the folder of the libraries; empty: beside the executable.
	NativeDir string
	Rounds    int
	// Tokens of every answer, and Frames of the soft prompt.
	Tokens, Frames int
	// Sequences is how many answers are decoded together, besides one alone.
	Sequences int
	// Threads of engine and loop; 0: all processors.
	Threads  int
	Progress func(string)
}

// LLMRate is how fast answers grow, beside a bare loop.
type LLMRate struct {
	Sequences int `json:"sequences"`
	// Tokens a second over all sequences: by the engine, and by a loop of llama_decode and argmax over the same prompts. One value a round.
	Engine []float64 `json:"engine_tokens_per_second"`
	Bare   []float64 `json:"bare_tokens_per_second"`
}

// LLMReport is the result.
type LLMReport struct {
	Model    string    `json:"model"`
	Machine  string    `json:"machine"`
	Command  string    `json:"command"`
	Load     float64   `json:"load"`
	Frames   int       `json:"frames"`
	Tokens   int       `json:"tokens"`
	Rates    []LLMRate `json:"rates"`
	Together float64   `json:"together_seconds"` // Sequences questions on one window in one request
	Apart    float64   `json:"apart_seconds"`    // the same, one request after the other
	// Prefixes are how often the window was read, together and apart.
	Prefixes [2]int64 `json:"prefixes"`
	// Overhead is what the scheduler takes of a step, the choice of tokens included, in milliseconds; Step is the whole.
	Overhead float64 `json:"overhead_ms_per_step"`
	Step     float64 `json:"ms_per_step"`
}

// RunLLM measures engine and bare loop in turns, each with the model to itself.
func RunLLM(ctx context.Context, cfg LLMConfig) (LLMReport, error) {
	bundle, err := model.LoadCompleteContext(ctx, cfg.ModelDir)
	if err != nil {
		return LLMReport{}, err
	}
	if bundle.LLM.Engine != model.LlamaCPP {
		return LLMReport{}, fmt.Errorf("measuring the decoder: the bundle %s is for engine %q, not %s", bundle.Name, bundle.LLM.Engine, model.LlamaCPP)
	}
	return runLLM(ctx, cfg, bundle)
}

func runLLM(ctx context.Context, cfg LLMConfig, bundle *model.Bundle) (LLMReport, error) {
	if cfg.Threads == 0 {
		cfg.Threads = runtime.GOMAXPROCS(0)
	}
	b := &llmBench{LLMConfig: cfg, bundle: bundle}
	b.report = LLMReport{
		Model: bundle.DisplayName(), Machine: fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Command: fmt.Sprintf("lark bench llm --rounds %d --tokens %d --frames %d --sequences %d", cfg.Rounds, cfg.Tokens, cfg.Frames, cfg.Sequences),
		Load:    loadAverage(), Frames: cfg.Frames, Tokens: cfg.Tokens, Rates: []LLMRate{{Sequences: 1}, {Sequences: cfg.Sequences}},
	}
	for round := range cfg.Rounds {
		cfg.Progress(fmt.Sprintf("round %d of %d: the engine", round+1, cfg.Rounds))
		if err := b.engineRound(ctx, round); err != nil {
			return b.report, err
		}
		cfg.Progress(fmt.Sprintf("round %d of %d: the bare loop", round+1, cfg.Rounds))
		if err := b.bareRound(ctx); err != nil {
			return b.report, err
		}
	}
	return b.report, nil
}

type llmBench struct {
	LLMConfig
	bundle *model.Bundle
	report LLMReport
	prompt int // positions of a prompt, frames and question included
}

func (b *llmBench) engineRound(ctx context.Context, round int) (err error) {
	d, err := decoder.OpenMeasured(b.bundle, decoder.Options{NativeDir: b.NativeDir, Device: "cpu", Threads: b.Threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for i := range b.report.Rates {
		if err := b.engineRate(ctx, d, i); err != nil {
			return err
		}
	}
	if round > 0 {
		return nil
	}
	return b.share(ctx, d)
}

// engineRate answers questions on one window and measures while all of them are being decoded.
func (b *llmBench) engineRate(ctx context.Context, d decoder.Measured, i int) error {
	rate := &b.report.Rates[i]
	before := d.Stats()
	results, err := d.Answer(ctx, b.request(rate.Sequences))
	if err != nil {
		return err
	}
	after := d.Stats()
	speed, err := overlap(results)
	if err != nil {
		return err
	}
	rate.Engine = append(rate.Engine, speed)
	b.prompt = results[0].PromptTokens
	steps := float64(after.Steps - before.Steps)
	b.report.Step = (after.Busy - before.Busy).Seconds() / steps * 1e3
	b.report.Overhead = b.report.Step - (after.Computing-before.Computing).Seconds()/steps*1e3
	return nil
}

func (b *llmBench) request(questions int) decoder.Request {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a load, not a secret
	req := decoder.Request{Soft: noise(rng, b.Frames, b.bundle.LLM.Hidden), Job: "bench"}
	req.Decode.MaxTokens = b.Tokens
	for i := range questions {
		req.Questions = append(req.Questions, decoder.Question{Index: i, Text: "What instruments do you hear in this piece?"})
	}
	return req
}

// overlap is tokens a second of all answers while all of them are decoded. An answer's first token comes with its prompt.
func overlap(results []decoder.Result) (float64, error) {
	var from, to time.Time
	speed := 0.0
	for _, r := range results {
		if r.Err != nil {
			return 0, r.Err
		}
		if r.OutputTokens < 2 || r.Finish != "length" {
			return 0, fmt.Errorf("measuring the decoder: an answer ended by itself after %d tokens; take another seed of the model", r.OutputTokens)
		}
		if began := r.Ended.Add(-r.Decode); began.After(from) {
			from = began
		}
		if to.IsZero() || r.Ended.Before(to) {
			to = r.Ended
		}
		speed += float64(r.OutputTokens-1) / r.Decode.Seconds()
	}
	if !to.After(from) {
		return 0, errors.New("measuring the decoder: the answers were not decoded together; ask for more --tokens")
	}
	return speed, nil
}

// share measures what it saves to ask all questions on a window at once.
func (b *llmBench) share(ctx context.Context, d decoder.Measured) error {
	before := d.Stats().Prefixes
	began := time.Now()
	if _, err := d.Answer(ctx, b.request(b.Sequences)); err != nil {
		return err
	}
	b.report.Together = time.Since(began).Seconds()
	between := d.Stats().Prefixes
	began = time.Now()
	for range b.Sequences {
		if _, err := d.Answer(ctx, b.request(1)); err != nil {
			return err
		}
	}
	b.report.Apart = time.Since(began).Seconds()
	b.report.Prefixes = [2]int64{between - before, d.Stats().Prefixes - between}
	return nil
}
