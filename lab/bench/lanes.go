package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// LanesConfig says how a catalogue and people are made to meet.
type LanesConfig struct {
	// Queued bulk windows lie before the people's questions, of which there are Questions on a known and as many on a new track.
	Queued, Questions int
	// Windows go through the bulk lane and, in turns, through the other lane, in each of Rounds rounds.
	Windows, Rounds int
	// TenantJobs are the jobs of a large tenant before a small one comes, with TenantWindows windows of each tenant in Kafka at once; 0 jobs measures none.
	TenantJobs, TenantWindows int
	// Handler is how long the test engines take for a window, and for an answer.
	Handler time.Duration
	// Start starts the whole system with test engines on an empty data folder; env is added to its environment.
	Start func(ctx context.Context, dataDir string, env []string) (Stack, error)
	// Scratch is a folder for data folders; they are removed.
	Scratch string
	// Progress is told what is being measured.
	Progress func(what string)
}

const (
	// trackWindows are in each job of the catalogue, of a second each, on one track. Job k begins k times shift later, which stays below a
	// second, so that no window comes twice; a shift is more than eight samples.
	trackWindows = 10
	trackSeconds = trackWindows + 2
	shift        = 0.0002
	// maxQueued is how many windows the shift leaves room for.
	maxQueued = int(1/shift)*trackWindows - trackWindows
	// submitting is how many requests submit at once.
	submitting = 8
	// begun of the catalogue's windows are answered before people ask: then every stage is busy.
	begun = 40
)

// MaxQueued is the most windows that LanesConfig.Queued and Windows may be.
func MaxQueued() int { return maxQueued }

// RunLanes measures what people wait on the idle system and behind a catalogue, and what lanes cost the catalogue.
func RunLanes(ctx context.Context, cfg LanesConfig) (_ LanesReport, err error) {
	dir, err := os.MkdirTemp(cfg.Scratch, "lark-bench-")
	if err != nil {
		return LanesReport{}, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	r := newLanesReport(cfg)
	l := &lanes{LanesConfig: cfg, report: &r, dir: dir}
	if cfg.TenantJobs > 0 {
		if err := l.tenants(ctx); err != nil {
			return LanesReport{}, err
		}
	}
	if err := l.waits(ctx); err != nil {
		return LanesReport{}, err
	}
	for round := range cfg.Rounds {
		for _, lane := range []string{event.LaneBulk, event.LaneInteractive} {
			cfg.Progress(fmt.Sprintf("round %d of %d: %d windows in lane %s", round+1, cfg.Rounds, cfg.Windows, lane))
			if err := l.throughput(ctx, lane); err != nil {
				return LanesReport{}, err
			}
		}
	}
	return r, nil
}

type lanes struct {
	LanesConfig
	report *LanesReport
	dir    string
	stacks int
}

// environment is that of the test engines. Without lanes, nothing holds the one lane back: neither the gateway nor a stage that is ahead.
func (l *lanes) environment(lane string) []string {
	delay := l.Handler.String()
	env := []string{"LARK_ENCODER_ENGINE=test", "LARK_ENCODER_TEST_DELAY=" + delay, "LARK_LLM_ENGINE=test", "LARK_LLM_TEST_DELAY=" + delay}
	if lane == event.LaneInteractive {
		env = append(env, "LARK_GATEWAY_LIMITS_INTERACTIVE_WINDOWS=1000000", "LARK_GATEWAY_LIMITS_MAX_OPEN_JOBS=1000000",
			"LARK_MAX_AHEAD_BYTES="+strconv.Itoa(1<<40))
	}
	return env
}

// with runs a step on a system of its own that has the catalogue's track.
func (l *lanes) with(ctx context.Context, lane string, step func(gw *client.Client, m *meter) error) error {
	l.stacks++
	stack, err := l.Start(ctx, filepath.Join(l.dir, "data"+strconv.Itoa(l.stacks)), l.environment(lane))
	if err != nil {
		return err
	}
	defer stack.Stop(context.WithoutCancel(ctx))
	gw, err := client.New(stack.GatewayURL(), nil)
	if err != nil {
		return err
	}
	m := &meter{gw: gw, admin: stack.GatewayAdminURL()}
	first, err := m.upload(ctx, Questions()[0], tone(0, trackSeconds))
	if err != nil {
		return err
	}
	m.ref = first.Track.SHA256
	return step(gw, m)
}

// waits asks on the idle system, then queues the catalogue and asks again.
func (l *lanes) waits(ctx context.Context) error {
	return l.with(ctx, event.LaneBulk, func(gw *client.Client, m *meter) (err error) {
		l.Progress("questions on the idle system")
		if l.report.Idle, err = l.ask(ctx, m, 1); err != nil {
			return err
		}
		l.Progress(fmt.Sprintf("queueing %d windows", l.Queued))
		jobs, err := submitCatalogue(ctx, gw, m.ref, event.LaneBulk, l.Queued)
		if err != nil {
			return err
		}
		if _, _, err := gw.Wait(ctx, jobs[begun/trackWindows-1], nil); err != nil {
			return err
		}
		l.Progress("questions behind the catalogue")
		if l.report.Behind, err = l.ask(ctx, m, 2); err != nil {
			return err
		}
		last, err := gw.Get(ctx, jobs[len(jobs)-1])
		if err != nil {
			return err
		}
		if client.Terminal(last.State) {
			return fmt.Errorf("measuring lanes: the catalogue of %d windows was done before the questions: queue more, or make the handlers slower", l.Queued)
		}
		_, outcomes, err := gw.Wait(ctx, jobs[0], nil)
		if err == nil && len(outcomes) > 0 {
			t := outcomes[0].Timings
			l.report.ChunkerMS, l.report.HandlerMS = t.Chunk, t.Chunk+t.Encode+t.Project+t.Prefill+t.Decode
		}
		return err
	})
}

// ask asks about a known and about a new track in turns; seed makes the new tracks new.
func (l *lanes) ask(ctx context.Context, m *meter, seed int) (Waits, error) {
	var known, fresh []float64
	for i := range l.Questions {
		began := time.Now()
		if _, err := m.upload(ctx, Questions()[0], tone(seed*l.Questions+i+1, 2)); err != nil {
			return Waits{}, err
		}
		fresh = append(fresh, time.Since(began).Seconds()*1000)
		outcome, took, err := m.one(ctx, fmt.Sprintf("What key is this in, question %d?", i), client.Span{StartS: 0, EndS: 1})
		if err != nil {
			return Waits{}, err
		}
		if i == 0 && outcome.Cache != event.CacheHit { // the first question makes the window known
			continue
		}
		known = append(known, took.Seconds()*1000)
	}
	return Waits{Known: newWait(known), New: newWait(fresh)}, nil
}

// throughput sends windows through a lane and waits for all of them.
func (l *lanes) throughput(ctx context.Context, lane string) error {
	return l.with(ctx, lane, func(gw *client.Client, m *meter) error {
		began := time.Now()
		jobs, err := submitCatalogue(ctx, gw, m.ref, lane, l.Windows)
		if err != nil {
			return err
		}
		var answered atomic.Int64
		ends, ctx := errgroup.WithContext(ctx)
		ends.SetLimit(submitting)
		for _, id := range jobs {
			ends.Go(func() error {
				job, _, err := gw.Wait(ctx, id, nil)
				answered.Add(int64(job.Counts.Answered))
				return err
			})
		}
		if err := ends.Wait(); err != nil {
			return err
		}
		took := time.Since(began).Seconds()
		if want := int64(len(jobs) * trackWindows); answered.Load() != want {
			return fmt.Errorf("measuring lanes: %d of %d windows were answered", answered.Load(), want)
		}
		rate := float64(len(jobs)*trackWindows) / took
		if lane == event.LaneBulk {
			l.report.With = append(l.report.With, rate)
		} else {
			l.report.Without = append(l.report.Without, rate)
		}
		return nil
	})
}

// submitCatalogue submits jobs of so many windows in all, none of them twice, and returns their ids in the order of their windows.
func submitCatalogue(ctx context.Context, gw *client.Client, ref, lane string, windows int) ([]string, error) {
	ids := make([]string, max(1, windows/trackWindows))
	jobs, ctx := errgroup.WithContext(ctx)
	jobs.SetLimit(submitting)
	for k := range ids {
		jobs.Go(func() error {
			job, err := gw.Submit(ctx, client.Submission{
				Questions: Questions()[:1], AudioRef: ref, Plan: client.PlanExplicit, Spans: catalogueSpans(k), Options: client.Options{Lane: lane},
			}, nil, client.SubmitOptions{})
			ids[k] = job.ID
			return err
		})
	}
	return ids, jobs.Wait()
}

func catalogueSpans(job int) []client.Span {
	spans := make([]client.Span, trackWindows)
	for i := range spans {
		start := float64(i) + float64(job+1)*shift
		spans[i] = client.Span{StartS: start, EndS: start + 1}
	}
	return spans
}

// upload submits a track of its own and waits for the answer.
func (m *meter) upload(ctx context.Context, question string, wav []byte) (client.Outcome, error) {
	job, err := m.gw.Submit(ctx, client.Submission{Questions: []string{question}}, &client.Upload{Name: "tone.wav", Reader: bytes.NewReader(wav)}, client.SubmitOptions{})
	if err != nil {
		return client.Outcome{}, err
	}
	return m.outcome(ctx, job.ID)
}

// tone is a wav file of a sound that no other number has.
func tone(number, seconds int) []byte {
	var out bytes.Buffer
	samples := make([]int16, seconds*sampleRate)
	for i := range samples {
		t := float64(i) / sampleRate
		samples[i] = int16(9000 * (1 + math.Sin(3*t)) * math.Sin(2*math.Pi*(200+float64(number)/7+30*t)*t))
	}
	_ = writeWavHeader(&out, len(samples))               // a buffer takes everything
	_ = binary.Write(&out, binary.LittleEndian, samples) // as above
	return out.Bytes()
}
