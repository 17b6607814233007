// Package ask puts questions about a track to a gateway and prints the answers as they come.
package ask

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

// Gateway is what asking needs of a gateway; *client.Client is one.
type Gateway interface {
	Submit(ctx context.Context, sub client.Submission, upload *client.Upload, opts client.SubmitOptions) (client.Job, error)
	Watch(ctx context.Context, jobID string, opts client.WatchOptions, fn func(client.Event) error) error
	Get(ctx context.Context, jobID string) (client.Job, error)
	Outcomes(ctx context.Context, jobID string) ([]client.Outcome, error)
	Cancel(ctx context.Context, jobID string) (client.Job, error)
	List(ctx context.Context, opts client.ListOptions) (client.JobList, error)
}

var _ Gateway = (*client.Client)(nil)

// Config says what to ask and how to print it.
type Config struct {
	// Track is a file, an http(s) URL, or Stdin.
	Track string
	// In is read where Track is Stdin.
	In        io.Reader
	Questions []string
	// Schema is the form of the answers: empty = free text, client.SchemaTags = tags, which need no questions.
	Schema string
	// Lane is event.LaneInteractive (also when empty) or event.LaneBulk.
	Lane string
	// Strict refuses a damaged track.
	Strict bool
	// Combine asks for one answer more for each question, of the whole track.
	Combine bool
	// Windows is auto, all, or spans; see ParseWindows.
	Windows string
	Decode  client.Decode
	// Timeout is when unanswered questions end as expired; 0 = never.
	Timeout time.Duration
	// JSON prints one object per outcome, as they come, instead of text.
	JSON bool
	Out  io.Writer
	// Live prints the text of answers while it is made. Without it, text comes at the end, in the order of the track.
	Live bool
	// Notice is told in a sentence what the user has to know while the answers are waited for; nil tells nobody.
	Notice func(text string)
	// Status takes the progress; nil shows none.
	Status *terminal.Line
}

// Stdin as a track is the audio on standard input.
const Stdin = "-"

// Result is what became of the job.
type Result struct {
	Job      client.Job
	Outcomes []client.Outcome
}

// Answered tells whether every question was.
func (r Result) Answered() bool { return r.Job.State == client.StateSucceeded }

const (
	// grace is how much longer than the job's deadline to wait for its outcomes.
	grace = 15 * time.Second
	// cancelWait bounds the wait for the outcomes of a cancelled job.
	cancelWait = 10 * time.Second
	// submitWait bounds how long a submission may go on after an interrupt.
	submitWait = 3 * time.Second
	// settleWait bounds how long the gateway is asked what became of a submission that was given up, settleEvery is how often.
	settleWait  = 5 * time.Second
	settleEvery = 200 * time.Millisecond
	// awayLimit is how long the gateway may be away before the wait for the answers ends.
	awayLimit = time.Minute
)

// errTimeout ends the wait for a job whose deadline has passed and whose outcomes do not come.
var errTimeout = errors.New("the gateway did not end the job in time")

// Run submits the job, prints what comes and returns when the job has ended. When ctx ends first, the job is cancelled, and
// its outcomes are printed all the same; the error is then ctx's cause.
func Run(ctx context.Context, gw Gateway, cfg Config) (Result, error) {
	job, err := settle(ctx, gw, cfg)
	if err != nil {
		return Result{}, err
	}
	p := newPrinter(gw, cfg, job.ID)
	watch := ctx
	if cfg.Timeout > 0 {
		var cancel context.CancelFunc
		watch, cancel = context.WithTimeoutCause(ctx, cfg.Timeout+grace, errTimeout)
		defer cancel()
	}
	err = gw.Watch(watch, job.ID, p.watchOptions(), func(ev client.Event) error { return p.event(watch, ev) })
	if watch.Err() == nil {
		if err != nil {
			return Result{}, err
		}
		return p.finish(ctx)
	}
	return p.cancelled(context.WithoutCancel(ctx), context.Cause(watch))
}

// settle submits the job. After the end of ctx the submission may go on for a moment, and one that is then given up is looked for by its idempotency
// key: a job that the gateway has taken can so be cancelled, and does not run on without anybody who knows its id.
func settle(ctx context.Context, gw Gateway, cfg Config) (client.Job, error) {
	key := rand.Text() // a proxy that sends the request twice makes one job
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(submitWait, abort) })()
	job, err := submit(sending, gw, cfg, key)
	if err == nil || ctx.Err() == nil {
		return job, err
	}
	job, made, lookup := taken(context.WithoutCancel(ctx), gw, key)
	switch {
	case lookup != nil:
		return job, fmt.Errorf("%w; whether the gateway has taken the job is not known, lark jobs list tells: %w", context.Cause(ctx), lookup)
	case !made:
		return job, fmt.Errorf("%w; the gateway has not taken the job", context.Cause(ctx))
	}
	return job, nil
}

// taken finds out whether a submission that was given up has made a job. The gateway may still be handling it. It is asked twice before it is
// believed that there is none, since it may not have begun.
func taken(ctx context.Context, gw Gateway, key string) (client.Job, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for none := 0; none < 2; {
		list, err := gw.List(ctx, client.ListOptions{IdempotencyKey: key})
		problem, answered := client.AsProblem(err)
		switch {
		case err == nil && len(list.Jobs) > 0:
			return list.Jobs[0], true, nil
		case err == nil:
			none++
		case !answered || !problem.Retryable:
			return client.Job{}, false, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return client.Job{}, false, errors.Join(context.Cause(ctx), err)
		}
	}
	return client.Job{}, false, nil
}

func submit(ctx context.Context, gw Gateway, cfg Config, key string) (client.Job, error) {
	opts := client.SubmitOptions{IdempotencyKey: key}
	plan, spans, err := ParseWindows(cfg.Windows)
	if err != nil {
		return client.Job{}, err
	}
	sub := client.Submission{Questions: cfg.Questions, Options: client.Options{ResponseSchema: cfg.Schema, Strict: cfg.Strict, Lane: cfg.Lane, Combine: cfg.Combine}, Plan: plan, Spans: spans, DeadlineS: cfg.Timeout.Seconds()}
	if cfg.Decode != (client.Decode{}) {
		sub.Decode = &cfg.Decode
	}
	if IsURL(cfg.Track) {
		sub.AudioURL = cfg.Track
		return gw.Submit(ctx, sub, nil, opts)
	}
	if cfg.Track == Stdin {
		return gw.Submit(ctx, sub, &client.Upload{Name: "stdin", Reader: cfg.In}, opts)
	}
	file, err := os.Open(cfg.Track)
	if err != nil {
		return client.Job{}, fmt.Errorf("opening track: %w", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.IsDir() {
		return client.Job{}, fmt.Errorf("opening track: %s is not a file", cfg.Track)
	}
	return gw.Submit(ctx, sub, &client.Upload{Name: filepath.Base(cfg.Track), Reader: file}, opts)
}

// IsURL tells whether a track is to be fetched by the gateway.
func IsURL(track string) bool {
	return strings.HasPrefix(track, "http://") || strings.HasPrefix(track, "https://")
}

// printer prints one job.
type printer struct {
	gw      Gateway
	cfg     Config
	jobID   string
	screen  *screen
	lines   *lines
	planned bool
}

func newPrinter(gw Gateway, cfg Config, jobID string) *printer {
	return &printer{
		gw: gw, cfg: cfg, jobID: jobID,
		screen: newScreen(cfg.Out, cfg.Status, cfg.Live, cfg.Questions), lines: newLines(cfg.Out),
	}
}

// watchOptions tell the user that the gateway is away, and bound the wait for it.
func (p *printer) watchOptions() client.WatchOptions {
	notice := func(format string, args ...any) {
		if p.cfg.Notice != nil {
			p.screen.erase()
			p.cfg.Notice(fmt.Sprintf(format, args...))
		}
	}
	return client.WatchOptions{
		Patience: awayLimit,
		Lost: func(err error) {
			notice("%v; job %s waits for the gateway, trying again for %s", err, p.jobID, awayLimit)
		},
		Back: func() { notice("the gateway is back, job %s goes on", p.jobID) },
	}
}

func (p *printer) event(ctx context.Context, ev client.Event) error {
	switch {
	case ev.Progress != nil:
		p.screen.progress(*ev.Progress)
	case ev.Outcome != nil && p.cfg.JSON:
		p.screen.erase()
		p.lines.outcome(*ev.Outcome)
	case ev.Outcome != nil && p.cfg.Live:
		p.plan(ctx)
		p.screen.outcome(*ev.Outcome)
	case ev.Token != nil && p.cfg.Live && !p.cfg.JSON && p.cfg.Schema == "": // half a JSON object tells nobody anything
		p.plan(ctx)
		p.screen.token(*ev.Token)
	}
	return p.lines.err
}

// plan asks once which windows the track has, for the headings.
func (p *printer) plan(ctx context.Context) {
	if p.planned {
		return
	}
	job, err := p.gw.Get(ctx, p.jobID)
	if err != nil || job.Counts.Windows == 0 {
		return // a heading with a number has to do
	}
	p.planned = true
	p.screen.plan(job.Windows)
	if !p.cfg.JSON { // there, each outcome has the warnings of its track
		p.screen.warn(job.Warnings)
	}
}

// finish prints what the stream has not told.
func (p *printer) finish(ctx context.Context) (Result, error) {
	p.screen.erase()
	p.plan(ctx)
	outcomes, err := p.gw.Outcomes(ctx, p.jobID)
	if err != nil {
		return Result{}, err
	}
	sortOutcomes(outcomes)
	for _, o := range outcomes {
		if p.cfg.JSON {
			p.lines.outcome(o)
		} else {
			p.screen.outcome(o)
		}
	}
	job, err := p.gw.Get(ctx, p.jobID)
	if err != nil {
		return Result{}, err
	}
	return Result{Job: job, Outcomes: outcomes}, p.lines.err
}

// cancelled ends the job and prints the outcomes that it still gives.
func (p *printer) cancelled(ctx context.Context, cause error) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, cancelWait)
	defer cancel()
	p.screen.erase()
	if _, err := p.gw.Cancel(ctx, p.jobID); err != nil {
		if problem, ok := client.AsProblem(err); !ok || problem.Code != client.CodeJobEnded { // it has ended just now: its outcomes are all there
			return Result{}, fmt.Errorf("%w; job %s may go on, lark jobs cancel ends it: %w", cause, p.jobID, err)
		}
	}
	cancelled := Result{Job: client.Job{ID: p.jobID, State: client.StateCancelling}}
	if err := p.gw.Watch(ctx, p.jobID, client.WatchOptions{}, func(client.Event) error { return nil }); err != nil {
		return cancelled, errors.Join(cause, err)
	}
	result, err := p.finish(ctx)
	if result.Job.ID == "" {
		result = cancelled
	}
	return result, errors.Join(cause, err)
}
