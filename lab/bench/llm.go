package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/decoder/contract"
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
	// Tokens a second over all sequences while all of them are decoded and no prompt is read: by the engine, and by a loop of llama_decode and
	// argmax over the same prompts. One value a round.
	Engine []float64 `json:"engine_tokens_per_second"`
	Bare   []float64 `json:"bare_tokens_per_second"`
	// The same in seconds of processor time for a token; empty where the system does not tell.
	EngineCore []float64 `json:"engine_core_seconds_per_token"`
	BareCore   []float64 `json:"bare_core_seconds_per_token"`
}

// add notes what so many tokens took.
func add(rates, cores *[]float64, tokens int, took stretch) {
	*rates = append(*rates, float64(tokens)/took.Seconds)
	if took.CoreSeconds > 0 {
		*cores = append(*cores, took.CoreSeconds/float64(tokens))
	}
}

// LLMReport is the result.
type LLMReport struct {
	Model    string    `json:"model"`
	Machine  string    `json:"machine"`
	Command  string    `json:"command"`
	Load     float64   `json:"load"`
	Frames   int       `json:"frames"`
	Tokens   int       `json:"tokens"`
	Threads  int       `json:"threads"`
	Rates    []LLMRate `json:"rates"`
	Together stretch   `json:"together"` // Sequences questions on one window in one request
	Apart    stretch   `json:"apart"`    // the same, one request after the other
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
		Command: fmt.Sprintf("lark bench llm --rounds %d --tokens %d --frames %d --sequences %d --threads %d", cfg.Rounds, cfg.Tokens, cfg.Frames, cfg.Sequences, cfg.Threads),
		Load:    loadAverage(), Frames: cfg.Frames, Tokens: cfg.Tokens, Threads: cfg.Threads, Rates: []LLMRate{{Sequences: 1}, {Sequences: cfg.Sequences}},
	}
	if busy := b.report.busy(); busy != "" {
		cfg.Progress(busy)
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
	// stagger is how many steps the last answer to one request begins behind the first, at most.
	stagger int
}

func (b *llmBench) engineRound(ctx context.Context, round int) (err error) {
	d, err := decoder.OpenMeasured(b.bundle, decoder.Options{NativeDir: b.NativeDir, Device: "cpu", Threads: b.Threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if round == 0 {
		if err := b.share(ctx, d); err != nil {
			return err
		}
	}
	for i := range b.report.Rates {
		if err := b.engineRate(ctx, d, i); err != nil {
			return err
		}
	}
	return nil
}

// engineRate answers questions on one window and measures while all of them are being decoded. The answers are longer than those of the loop by
// as many tokens as the first of them has when the last begins.
func (b *llmBench) engineRate(ctx context.Context, d decoder.Measured, i int) error {
	rate := &b.report.Rates[i]
	stagger := 0
	if rate.Sequences > 1 {
		stagger = b.stagger
	}
	p := &pace{answers: rate.Sequences, most: b.Tokens - 1}
	before := d.Stats()
	results, err := b.answer(ctx, d, p, b.request(rate.Sequences, b.Tokens+stagger))
	if err != nil {
		return err
	}
	after := d.Stats()
	if p.steps == 0 {
		return fmt.Errorf("measuring the decoder: %d answers were not decoded together", rate.Sequences)
	}
	add(&rate.Engine, &rate.EngineCore, p.steps*rate.Sequences, p.took)
	b.prompt = results[0].PromptTokens
	steps := float64(after.Steps - before.Steps)
	b.report.Step = (after.Busy - before.Busy).Seconds() / steps * 1e3
	b.report.Overhead = b.report.Step - (after.Computing-before.Computing).Seconds()/steps*1e3
	return nil
}

// answer answers a request under the eyes of p.
func (b *llmBench) answer(ctx context.Context, d decoder.Measured, p *pace, req decoder.Request) ([]decoder.Result, error) {
	begun := now()
	d.Watch(p.watch)
	results, err := d.Answer(ctx, req)
	d.Watch(nil)
	if err = errors.Join(err, whole(results)); err != nil {
		return nil, err
	}
	took := begun.until(now())
	b.Progress(fmt.Sprintf("%d answers of %d tokens took %s", len(results), req.Decode.MaxTokens, took))
	return results, nil
}

// whole refuses answers that are shorter than asked for.
func whole(results []decoder.Result) error {
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
		if r.Finish != contract.FinishLength {
			return fmt.Errorf("measuring the decoder: an answer ended by itself after %d tokens; take another seed of the model", r.OutputTokens)
		}
	}
	return nil
}

func (b *llmBench) request(questions, tokens int) decoder.Request {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a load, not a secret
	req := decoder.Request{Soft: noise(rng, b.Frames, b.bundle.LLM.Hidden), Job: "bench"}
	req.Decode.MaxTokens = tokens
	for i := range questions {
		req.Questions = append(req.Questions, decoder.Question{Index: i, Text: "What instruments do you hear in this piece?"})
	}
	return req
}

// share measures what it saves to ask all questions on a window at once, and learns how far apart their answers begin.
func (b *llmBench) share(ctx context.Context, d decoder.Measured) error {
	before := d.Stats().Prefixes
	began, p := now(), &pace{}
	if _, err := b.answer(ctx, d, p, b.request(b.Sequences, b.Tokens)); err != nil {
		return err
	}
	b.report.Together, b.stagger = began.until(now()), p.reading
	between := d.Stats().Prefixes
	began = now()
	for range b.Sequences {
		if _, err := b.answer(ctx, d, &pace{}, b.request(1, b.Tokens)); err != nil {
			return err
		}
	}
	b.report.Apart = began.until(now())
	b.report.Prefixes = [2]int64{between - before, d.Stats().Prefixes - between}
	return nil
}
