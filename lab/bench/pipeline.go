package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/engines"
)

// Config says what to measure.
type Config struct {
	ModelDir string
	// Source is the piece from which the windows are made, at least 25 s.
	Source string
	// Windows go through the pipeline and through the plain loop, in each of Rounds rounds.
	Windows, Rounds int
	// Jobs of a single window measure the hops and the repeated question.
	Jobs int
	// Executable is the lark binary, which runs the plain loop in a process of its own.
	Executable string
	// Start starts the whole system on an empty data folder.
	Start func(ctx context.Context, dataDir string) (Stack, error)
	// Scratch is a folder for tracks and data folders; they are removed.
	Scratch string
	// Log takes what the plain loop's process writes to its standard error.
	Log io.Writer
	// Progress is told what is being measured.
	Progress func(what string)
}

// Stack is the whole system, running in processes of its own.
type Stack interface {
	// GatewayURL is where jobs are submitted.
	GatewayURL() string
	// GatewayAdminURL is where the gateway shows traces.
	GatewayAdminURL() string
	// Processes gives the process id of every running stage, by its name.
	Processes() map[string]int
	// Stop ends every process; ctx bounds the wait.
	Stop(ctx context.Context)
}

// Questions are asked of every window.
func Questions() []string { return []string{"What key is this in?", "How fast is it?"} }

// uploads is how many tracks are submitted at once.
const uploads = 4

// Run measures everything, the plain loop and the pipeline in turns.
func Run(ctx context.Context, cfg Config) (_ Report, err error) {
	dir, err := os.MkdirTemp(cfg.Scratch, "lark-bench-")
	if err != nil {
		return Report{}, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	cfg.Progress("making tracks")
	r := newReport(cfg)
	paths, err := prepare(ctx, cfg, dir, &r)
	if err != nil {
		return Report{}, err
	}
	for round := range cfg.Rounds {
		cfg.Progress(fmt.Sprintf("round %d of %d: plain loop", round+1, cfg.Rounds))
		plain, err := plainProcess(ctx, cfg, paths)
		if err != nil {
			return Report{}, err
		}
		r.Plain = append(r.Plain, plain)
		cfg.Progress(fmt.Sprintf("round %d of %d: pipeline", round+1, cfg.Rounds))
		data := filepath.Join(dir, "data"+strconv.Itoa(round))
		if err := r.pipeline(ctx, cfg, data, paths, round == cfg.Rounds-1); err != nil {
			return Report{}, err
		}
	}
	return r, nil
}

func prepare(ctx context.Context, cfg Config, dir string, r *Report) (_ []string, err error) {
	set, err := engines.Open(ctx, cfg.ModelDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	r.Model, r.Digest = set.Bundle.DisplayName(), set.Bundle.Digest
	return makeTracks(ctx, set, cfg.Source, dir, cfg.Windows)
}

// pipeline measures one round through the real processes on an empty data folder. The last round also measures what single
// jobs take.
func (r *Report) pipeline(ctx context.Context, cfg Config, data string, paths []string, last bool) error {
	stack, err := cfg.Start(ctx, data)
	if err != nil {
		return err
	}
	defer stack.Stop(context.WithoutCancel(ctx))
	gw, err := client.New(stack.GatewayURL(), nil)
	if err != nil {
		return err
	}
	gw = gw.WithToken(os.Getenv(client.EnvToken))
	worked := stackProcessor(stack)
	seconds, refs, err := throughput(ctx, gw, paths, cfg.Windows)
	if err != nil {
		return err
	}
	r.Pipeline = append(r.Pipeline, Pipeline{
		Windows: cfg.Windows, Seconds: seconds, PeakRSS: stackMemory(stack), Processor: since(worked, stackProcessor(stack)),
	})
	if !last {
		return nil
	}
	cfg.Progress("single jobs")
	m := &meter{gw: gw, admin: stack.GatewayAdminURL(), ref: refs[0]}
	if r.Hops, err = m.hops(ctx, cfg.Jobs); err != nil {
		return err
	}
	r.Repeat, err = m.repeats(ctx, cfg.Jobs)
	return err
}

// throughput submits every track and waits until every question is answered. It returns the hashes of the tracks.
func throughput(ctx context.Context, gw *client.Client, paths []string, windows int) (float64, []string, error) {
	refs, answered := make([]string, len(paths)), make([]int, len(paths))
	slots := make(chan struct{}, uploads)
	began := time.Now()
	jobs, ctx := errgroup.WithContext(ctx)
	for i, path := range paths {
		jobs.Go(func() error {
			slots <- struct{}{}
			job, err := submit(ctx, gw, path)
			<-slots
			if err != nil {
				return err
			}
			end, _, err := gw.Wait(ctx, job.ID, nil)
			refs[i], answered[i] = job.Audio.SHA256, end.Counts.Answered
			return err
		})
	}
	if err := jobs.Wait(); err != nil {
		return 0, nil, err
	}
	seconds := time.Since(began).Seconds()
	total := 0
	for _, n := range answered {
		total += n
	}
	if want := windows * len(Questions()); total != want {
		return 0, nil, fmt.Errorf("measuring the pipeline: %d of %d questions were answered", total, want)
	}
	return seconds, refs, nil
}

func submit(ctx context.Context, gw *client.Client, path string) (client.Job, error) {
	file, err := os.Open(path)
	if err != nil {
		return client.Job{}, fmt.Errorf("opening track: %w", err)
	}
	defer file.Close()
	sub := client.Submission{Questions: Questions(), Plan: client.PlanAll}
	return gw.Submit(ctx, sub, &client.Upload{Name: filepath.Base(path), Reader: file}, client.SubmitOptions{})
}

// stackProcessor is the processor time of every process so far, in seconds.
func stackProcessor(stack Stack) map[string]float64 {
	times := map[string]float64{}
	for stage, pid := range stack.Processes() {
		if seconds := processorOf(strconv.Itoa(pid)); seconds > 0 {
			times[stage] = seconds
		}
	}
	return times
}

// since is what was used between two readings.
func since(before, after map[string]float64) map[string]float64 {
	used := map[string]float64{}
	for stage, seconds := range after {
		used[stage] = seconds - before[stage]
	}
	return used
}

// stackMemory is the peak resident size of every process.
func stackMemory(stack Stack) map[string]int64 {
	peaks := map[string]int64{}
	for stage, pid := range stack.Processes() {
		if peak := PeakRSS(strconv.Itoa(pid)); peak > 0 {
			peaks[stage] = peak
		}
	}
	return peaks
}
