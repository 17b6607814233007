package reaper_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/reaper"
	"github.com/larkstream/larkstream/gateway/internal/recorder"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const traceID = "0af7651916cd43dd8448eb211c80319c"

// rig is a reaper on a real job store; what it publishes reaches a real recorder at once.
type rig struct {
	t      *testing.T
	jobs   *store.SQL
	record *recorder.Recorder
	reaper *reaper.Reaper
	// refuses is how many of the next publishes fail.
	refuses atomic.Int32
	// drained is what the stages are said to have finished.
	drained atomic.Bool
	mu      sync.Mutex
	backlog store.Backlog
	age     time.Duration
	again   atomic.Int32
}

// inBubble runs a test in a bubble of time with a running reaper.
func inBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		var err error
		r.jobs, err = store.Open(t.Context(), storetest.URL(t))
		require.NoError(t, err)
		defer func() { require.NoError(t, r.jobs.Close()) }()
		log := slog.New(slog.DiscardHandler)
		r.record, err = recorder.New(recorder.Deps{Store: r.jobs, Metrics: telemetry.NewLedgerMetrics(), Log: log})
		require.NoError(t, err)
		r.reaper, err = reaper.New(reaper.Config{}, reaper.Deps{
			Store: r.jobs, Publisher: r, Metrics: r, Log: log, Wake: func() {},
			Drained: func(context.Context) (bool, error) { return r.drained.Load(), nil },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.reaper.Run(ctx) }()
		test(t, r)
		cancel()
		require.NoError(t, <-done)
	})
}

// Publish hands the records to the recorder, as lark.answers.v1 does.
func (r *rig) Publish(ctx context.Context, recs ...event.Record) error {
	if r.refuses.Load() > 0 {
		r.refuses.Add(-1)
		return errors.New("no leader")
	}
	for _, rec := range recs {
		require.Equal(r.t, event.TopicAnswers, rec.Topic)
		require.Contains(r.t, rec.Get("traceparent"), traceID)
		if _, err := stagetest.Handle(ctx, r.record.Handle, rec); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) Backlog(_ context.Context, open, overdue int, oldest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backlog, r.age = store.Backlog{Open: open, Overdue: overdue}, oldest
}

// seen is what the metrics tell.
func (r *rig) seen() (store.Backlog, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backlog, r.age
}

func (r *rig) Republished(context.Context) { r.again.Add(1) }

// pass lets time pass in the bubble.
func (r *rig) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) create(id string, deadline time.Duration, questions ...string) {
	r.t.Helper()
	spec := event.JobSpec{
		ID: id, Audio: event.AudioFile{SHA256: strings.Repeat("ab", 32), Bytes: 7}, Questions: questions, Plan: event.PlanAll,
		Created: time.Now().UTC().Truncate(time.Millisecond),
	}
	if deadline > 0 {
		spec.Deadline = spec.Created.Add(deadline)
	}
	require.NoError(r.t, r.jobs.Create(r.t.Context(), store.NewJob(event.TenantDefault, spec, traceID), nil, store.CreateOptions{}))
}

// plan records a plan of that many windows and answers the first one's first question.
func (r *rig) plan(id string, windows, questions int) {
	r.t.Helper()
	p := &eventpb.JobPlan{JobId: id, Questions: uint32(questions), Track: &eventpb.Track{DurationS: 100}}
	for i := range windows {
		p.Windows = append(p.Windows, &eventpb.Window{Index: uint32(i), Hash: strings.Repeat("cd", 32), Span: &eventpb.Span{StartS: float64(i), EndS: float64(i + 1)}})
	}
	o := event.NewOutcome(&eventpb.Task{JobId: id, Window: p.Windows[0]}, &eventpb.Question{Text: "q"})
	o.State, o.Answer = eventpb.State_STATE_ANSWERED, "a"
	_, err := r.jobs.Record(r.t.Context(), []store.Entry{{Plan: p}, {Outcome: o}})
	require.NoError(r.t, err)
}

func (r *rig) job(id string) store.Job {
	r.t.Helper()
	j, err := r.jobs.Get(r.t.Context(), id)
	require.NoError(r.t, err)
	return j
}

// codes are the error codes of the job's outcomes, "" for an answer.
func (r *rig) codes(id string) []string {
	r.t.Helper()
	found, _, err := r.jobs.Outcomes(r.t.Context(), id, 0, 100)
	require.NoError(r.t, err)
	var codes []string
	for _, o := range found {
		codes = append(codes, o.GetError().GetCode())
	}
	return codes
}

// send empties the outbox and returns what it held, as the relay does.
func (r *rig) send() []event.Record {
	r.t.Helper()
	pending, err := r.jobs.Pending(r.t.Context(), 100)
	require.NoError(r.t, err)
	require.NoError(r.t, r.jobs.Sent(r.t.Context(), pending))
	var recs []event.Record
	for _, p := range pending {
		recs = append(recs, p.Record)
	}
	return recs
}

// TestEndsJobsPastTheirDeadline: with every stage down, each question of each window gets its outcome.
func TestEndsJobsPastTheirDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("waiting", 5*time.Second, "one?", "two?")
		r.create("half", 5*time.Second, "one?", "two?")
		r.create("free", 0, "q")
		r.plan("half", 2, 2)
		r.pass(16 * time.Second)
		require.Equal(t, store.Queued, r.job("waiting").State, "the stages still have time")
		backlog, age := r.seen()
		require.Equal(t, 3, backlog.Open)
		require.GreaterOrEqual(t, age, 10*time.Second)
		r.pass(10 * time.Second)
		require.Equal(t, store.Failed, r.job("waiting").State)
		require.Equal(t, []string{event.CodeExpired, event.CodeExpired}, r.codes("waiting"))
		require.Equal(t, store.Partial, r.job("half").State)
		require.ElementsMatch(t, []string{"", event.CodeExpired, event.CodeExpired, event.CodeExpired}, r.codes("half"), "what was answered stays")
		require.Equal(t, store.Queued, r.job("free").State)
		r.pass(6 * time.Second)
		backlog, _ = r.seen()
		require.Equal(t, store.Backlog{Open: 1}, backlog)
		l, err := r.jobs.Ledger(t.Context())
		require.NoError(t, err)
		require.Zero(t, l.Unbalanced)
	})
}

func TestEndsCancelledJobs(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("j1", time.Hour, "q")
		r.plan("j1", 3, 1)
		_, err := r.jobs.Cancel(t.Context(), "j1", nil, nil)
		require.NoError(t, err)
		r.pass(14 * time.Second)
		require.Equal(t, store.Cancelling, r.job("j1").State)
		r.pass(10 * time.Second)
		require.Equal(t, store.Cancelled, r.job("j1").State)
		require.Equal(t, []string{"", event.CodeCancelled, event.CodeCancelled}, r.codes("j1"))
	})
}

// TestPublishesLostJobsAgain: a record that the broker acknowledged and then lost, for example in a power cut, is published again once no
// stage has anything left to do; in the end the job is given up.
// TestAnEndThatCouldNotBePublishedIsTriedAgain in the next round: the job does not wait as it does for a gateway that may have died.
func TestAnEndThatCouldNotBePublishedIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("j1", time.Second, "q")
		r.refuses.Store(2)
		r.pass(21 * time.Second) // the rounds at 20 s and, then, 25 s and 30 s
		require.Equal(t, store.Queued, r.job("j1").State)
		r.pass(10 * time.Second)
		require.Equal(t, store.Failed, r.job("j1").State)
	})
}

func TestPublishesLostJobsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.create("j1", 0, "one?", "two?")
		r.pass(3 * time.Minute)
		require.Empty(t, r.send(), "a backlog of stages is no loss")
		r.drained.Store(true)
		for n := 1; n <= 3; n++ {
			r.pass(70 * time.Second)
			recs := r.send()
			require.Len(t, recs, 1)
			require.Contains(t, recs[0].Get("traceparent"), traceID)
			job, err := event.DecodeAs[*eventpb.Job](recs[0])
			require.NoError(t, err)
			spec, err := event.JobSpecOf(job)
			require.NoError(t, err)
			require.Equal(t, r.job("j1").JobSpec, spec, "the same job")
			require.EqualValues(t, n, r.again.Load())
		}
		r.pass(70 * time.Second)
		require.Empty(t, r.send())
		require.Equal(t, store.Failed, r.job("j1").State)
		require.Equal(t, []string{event.CodeInternal, event.CodeInternal}, r.codes("j1"))
	})
}

// TestEndsJobsThatNobodyBegins: with every stage down, start_within_s holds.
func TestEndsJobsThatNobodyBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for _, id := range []string{"waits", "begun"} {
			spec := event.JobSpec{
				ID: id, Audio: event.AudioFile{SHA256: strings.Repeat("ab", 32), Bytes: 7}, Questions: []string{"q"}, Plan: event.PlanAll,
				Created: time.Now().UTC().Truncate(time.Millisecond), Options: event.Options{StartWithinS: 10},
			}
			require.NoError(t, r.jobs.Create(t.Context(), store.NewJob(event.TenantDefault, spec, traceID), nil, store.CreateOptions{}))
		}
		r.plan("begun", 2, 1)
		r.pass(24 * time.Second)
		require.Equal(t, store.Queued, r.job("waits").State, "the chunker still has time")
		r.pass(10 * time.Second)
		require.Equal(t, store.Failed, r.job("waits").State)
		require.Equal(t, []string{event.CodeExpired}, r.codes("waits"))
		require.Equal(t, store.Running, r.job("begun").State)
	})
}

// TestBuriedAnswersEndTheirJob: a plan or an outcome that the recorder could not take would leave its questions open.
func TestBuriedAnswersEndTheirJob(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		letter := func(id, stage, origin string) event.Record {
			return event.Record{Topic: event.TopicDead, Value: []byte{255}}.
				With(event.HeaderSubject, id).With(event.HeaderStage, stage).With(event.HeaderOriginTopic, origin)
		}
		for _, id := range []string{"buried", "settled"} {
			r.create(id, 0, "one?", "two?")
			r.plan(id, 2, 2)
		}
		for range 2 {
			r.reaper.Dead(t.Context(), letter("buried", event.StageRecorder, event.TopicAnswers))
			require.Equal(t, store.Partial, r.job("buried").State)
			require.ElementsMatch(t, []string{"", event.CodeInternal, event.CodeInternal, event.CodeInternal}, r.codes("buried"))
		}
		r.reaper.Dead(t.Context(), letter("settled", event.StageEncoder, event.TopicWindows))
		r.reaper.Dead(t.Context(), letter("settled", event.StageRecorder, event.TopicJobs))
		r.reaper.Dead(t.Context(), letter("unknown", event.StageRecorder, event.TopicAnswers))
		r.reaper.Dead(t.Context(), letter("", event.StageRecorder, event.TopicAnswers))
		require.Equal(t, store.Running, r.job("settled").State, "the stage has ended the questions of its record")
	})
}

func TestNewRefusesMissingDeps(t *testing.T) {
	t.Parallel()
	_, err := reaper.New(reaper.Config{}, reaper.Deps{})
	require.Error(t, err)
}
