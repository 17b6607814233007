package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// SoakConfig says how a decoder is kept busy.
type SoakConfig struct {
	ModelDir string
	// NativeDir is the folder of llama.cpp's libraries; empty: beside the executable.
	NativeDir string
	Duration  time.Duration
	// Pause is how often all requests are ended to look at what the idle decoder still holds.
	Pause time.Duration
	// Clients ask at the same time, each Rate times a second at most; 0 is as fast as answers come.
	Clients int
	Rate    float64
	// Threads of the decoder; 0: all processors.
	Threads int
	Seed    uint64
	// Progress is told every count.
	Progress func(SoakCount)
}

// SoakCount is what has happened since the beginning.
type SoakCount struct {
	Seconds   float64 `json:"seconds"`
	Requests  int     `json:"requests"`
	Questions int     `json:"questions"`
	Answered  int     `json:"answered"`
	// Failed questions have an error of their own; ended requests were cancelled or ran out of time.
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled_requests"`
	Expired   int `json:"expired_requests"`
	// Held is what the idle decoder holds: positions, sequences and promises. All must be 0.
	Held [3]int64 `json:"held_when_idle"`
	// Anonymous is the process's own resident memory, bytes.
	Anonymous int64 `json:"anonymous_bytes"`
}

// SoakReport is the result of a soak.
type SoakReport struct {
	Model   string      `json:"model"`
	Machine string      `json:"machine"`
	Clients int         `json:"clients"`
	Seed    uint64      `json:"seed"`
	Counts  []SoakCount `json:"counts"`
}

var (
	errUserGone = errors.New("the user has gone")
	// errLeak says that the idle decoder still held something.
	errLeak = errors.New("the idle decoder still holds positions, sequences or promises")
)

// RunSoak asks random questions about random windows, cancels some and gives others a deadline, and looks in every pause at
// what the idle decoder holds. Anything held, and any answer missing, is an error.
func RunSoak(ctx context.Context, cfg SoakConfig) (r SoakReport, err error) {
	bundle, err := model.LoadCompleteContext(ctx, cfg.ModelDir)
	if err != nil {
		return r, err
	}
	d, err := decoder.OpenMeasured(bundle, decoder.Options{NativeDir: cfg.NativeDir, Threads: cfg.Threads})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r = SoakReport{Model: bundle.DisplayName(), Machine: machine(), Clients: cfg.Clients, Seed: cfg.Seed}
	s := &soak{cfg: cfg, decoder: d, bundle: bundle}
	begun := time.Now()
	for round := uint64(0); time.Since(begun) < cfg.Duration; round++ {
		if err := s.round(ctx, round, min(cfg.Pause, cfg.Duration-time.Since(begun))); err != nil {
			return r, err
		}
		s.count.Seconds = time.Since(begun).Seconds()
		stats := d.Stats()
		s.count.Held = [3]int64{stats.Used, stats.Sequences, stats.Promised}
		s.count.Anonymous = resident("self").Anonymous
		r.Counts = append(r.Counts, s.count)
		cfg.Progress(s.count)
		if s.count.Held != [3]int64{} {
			return r, fmt.Errorf("soaking the decoder: %w: %v", errLeak, s.count.Held)
		}
	}
	return r, nil
}

type soak struct {
	cfg     SoakConfig
	decoder decoder.Measured
	bundle  *model.Bundle
	lock    sync.Mutex
	count   SoakCount
}

// round lets all clients ask until the time is over, and waits for their answers.
func (s *soak) round(ctx context.Context, round uint64, length time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	over := time.Now().Add(length)
	for client := range s.cfg.Clients {
		rng := rand.New(rand.NewPCG(s.cfg.Seed, round<<16|uint64(client))) //nolint:gosec // a load, not a secret
		group.Go(func() error {
			for time.Now().Before(over) {
				if err := s.ask(ctx, rng, fmt.Sprintf("job-%d", client%3)); err != nil {
					return err
				}
				if err := s.wait(ctx, rng); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// wait spreads a client's requests over time.
func (s *soak) wait(ctx context.Context, rng *rand.Rand) error {
	if s.cfg.Rate <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(rng.ExpFloat64() / s.cfg.Rate * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ask sends one request. One in five is cancelled after some pieces of text, one in ten has a deadline that it may miss.
func (s *soak) ask(ctx context.Context, rng *rand.Rand, job string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req := s.request(rng, job)
	switch fate := rng.IntN(10); {
	case fate < 2:
		left := rng.IntN(20)
		req.OnToken = func(int, string) { // called by one goroutine at a time
			if left--; left < 0 {
				cancel(errUserGone)
			}
		}
	case fate < 3:
		limited, stop := context.WithTimeout(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		defer stop()
		ctx = limited
	}
	results, err := s.decoder.Answer(ctx, req)
	return s.note(len(req.Questions), results, err)
}

func (s *soak) note(questions int, results []decoder.Result, err error) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.count.Requests++
	s.count.Questions += questions
	switch {
	case errors.Is(err, errUserGone):
		s.count.Cancelled++
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		s.count.Expired++
		return nil
	case err != nil:
		return fmt.Errorf("soaking the decoder: %w", err)
	case len(results) != questions:
		return fmt.Errorf("soaking the decoder: %d results for %d questions", len(results), questions)
	}
	for _, r := range results {
		switch {
		case r.Err != nil && !errors.Is(r.Err, decoder.ErrPromptTooLong):
			return fmt.Errorf("soaking the decoder: question %d: %w", r.Index, r.Err)
		case r.Err != nil:
			s.count.Failed++
		default:
			s.count.Answered++
		}
	}
	return nil
}

// request is a window of random length with up to six questions; a few questions are longer than the context.
func (s *soak) request(rng *rand.Rand, job string) decoder.Request {
	req := decoder.Request{Soft: noise(rng, 1+rng.IntN(240), s.bundle.LLM.Hidden), Job: job}
	req.Decode.MaxTokens = 1 + rng.IntN(48)
	if rng.IntN(2) == 0 {
		req.Decode.Temperature, req.Decode.TopP, req.Decode.Seed = 0.2+rng.Float32(), 0.5+rng.Float32()/2, rng.Uint64()
	}
	if rng.IntN(6) == 0 && s.decoder.Constrains(decoder.SchemaTags) {
		req.Schema = decoder.SchemaTags
	}
	for i := range 1 + rng.IntN(6) {
		words := 1 + rng.IntN(12)
		if rng.IntN(200) == 0 {
			words = s.bundle.LLM.Context
		}
		var text strings.Builder
		for range words {
			fmt.Fprintf(&text, "word%d ", rng.IntN(1000))
		}
		req.Questions = append(req.Questions, decoder.Question{Index: i, Text: text.String()})
	}
	return req
}

// noise is a soft prompt of normally distributed values.
func noise(rng *rand.Rand, frames, width int) tensor.Matrix {
	t := tensor.Matrix{Rows: frames, Cols: width, Data: make([]float32, frames*width)}
	for i := range t.Data {
		t.Data[i] = float32(rng.NormFloat64() / math.Sqrt(float64(width)))
	}
	return t
}

// Write prints the report as Markdown.
func (r SoakReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s. %d clients, seed %d.\n\n", r.Model, r.Machine, r.Clients, r.Seed)
	fmt.Fprintf(w, "| after | requests | questions | answered | too long | cancelled | expired | held when idle | own memory |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for i, c := range r.Counts {
		if i%max(1, len(r.Counts)/10) == 0 || i == len(r.Counts)-1 {
			c.Write(w)
		}
	}
}

// Write prints a line of the table.
func (c SoakCount) Write(w io.Writer) {
	fmt.Fprintf(w, "| %.0f s | %d | %d | %d | %d | %d | %d | %v | %.0f MiB |\n",
		c.Seconds, c.Requests, c.Questions, c.Answered, c.Failed, c.Cancelled, c.Expired, c.Held, mib(c.Anonymous))
}
