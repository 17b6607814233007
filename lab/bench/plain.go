package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/lab/engines"
)

// answering is how many windows the plain loop answers at once, as many as llm-svc by default.
const answering = 8

// Plain is what a plain loop over the engines took.
type Plain struct {
	Windows int     `json:"windows"`
	Seconds float64 `json:"seconds"`
	// PeakRSS is in bytes; 0 where the system does not tell.
	PeakRSS int64 `json:"peak_rss"`
	// Processor is the processor time of these windows, in seconds; 0 where the system does not tell.
	Processor float64 `json:"processor_s"`
}

// RunPlain cuts, measures, encodes, projects and answers every window of the tracks in this process, and compares the answers with what was
// measured: all the work that the pipeline does by default. As many windows are measured and encoded at once as there are processors, and as many answered as
// llm-svc does.
func RunPlain(ctx context.Context, modelDir string, paths, questions []string) (_ Plain, err error) {
	set, err := engines.Open(ctx, modelDir)
	if err != nil {
		return Plain{}, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	began, worked := time.Now(), processorOf("self")
	l := &loop{set: set, questions: questions, encoding: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if err := l.run(ctx, paths); err != nil {
		return Plain{}, err
	}
	return Plain{
		Windows: int(l.windows.Load()), Seconds: time.Since(began).Seconds(), PeakRSS: PeakRSS("self"), Processor: processorOf("self") - worked,
	}, nil
}

type loop struct {
	set       *engines.Set
	questions []string
	encoding  chan struct{}
	windows   atomic.Int64
}

func (l *loop) run(ctx context.Context, paths []string) error {
	windows, ctx := errgroup.WithContext(ctx)
	windows.SetLimit(answering + runtime.GOMAXPROCS(0))
	for _, path := range paths {
		_, err := l.set.Cut(ctx, path, plan.All, func(w cut.FileWindow) error {
			windows.Go(func() error { return l.window(ctx, w.PCM) })
			return ctx.Err()
		})
		if err != nil {
			return errors.Join(err, windows.Wait())
		}
	}
	return windows.Wait()
}

func (l *loop) window(ctx context.Context, pcm []int16) error {
	l.encoding <- struct{}{}
	measured := check.Window(audio.Resample(pcm, l.set.Bundle.Encoder.Rate(), audio.SampleRate))
	prompt, err := l.set.Prompt(ctx, pcm)
	<-l.encoding
	if err != nil {
		return err
	}
	answers, err := l.set.Answer(ctx, prompt, l.questions)
	if err != nil {
		return err
	}
	for _, a := range answers {
		check.Text(a.Text, measured)
	}
	l.windows.Add(1)
	return nil
}

// plainProcess runs the plain loop in a process of its own, so that its memory can be told.
func plainProcess(ctx context.Context, cfg Config, paths []string) (Plain, error) {
	args := append([]string{"bench", "plain", "--model", cfg.ModelDir}, paths...)
	cmd := exec.CommandContext(ctx, cfg.Executable, args...)
	cmd.Stderr = cfg.Log
	out, err := cmd.Output()
	if err != nil {
		return Plain{}, fmt.Errorf("running the plain loop: %w", err)
	}
	var p Plain
	if err := json.Unmarshal(out, &p); err != nil {
		return Plain{}, fmt.Errorf("reading what the plain loop took: %w", err)
	}
	return p, nil
}
