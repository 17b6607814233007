package recorder_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/internal/recorder"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tally takes what the recorder counts.
type tally struct {
	mu       sync.Mutex
	outcomes map[string]int
	ended    map[string]int
	strays   map[string]int
	ledger   [3]int
	accepted int
}

func newTally() *tally {
	return &tally{outcomes: map[string]int{}, ended: map[string]int{}, strays: map[string]int{}}
}

func (m *tally) Outcome(_ context.Context, _, state, code, cache string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outcomes[state+"/"+code+"/"+cache]++
}

func (m *tally) JobAccepted(context.Context, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted++
}

func (m *tally) JobEnded(_ context.Context, _, state string, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended[state]++
	if took < 0 {
		m.ended["before it began"]++
	}
}

func (m *tally) Ledger(_ context.Context, expected, recorded, unbalanced int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ledger = [3]int{expected, recorded, unbalanced}
}

func (m *tally) Stray(_ context.Context, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.strays[reason]++
}

func sqlStore(t *testing.T) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func newRecorder(t *testing.T, s recorder.Store) (*recorder.Recorder, *tally) {
	t.Helper()
	m := newTally()
	r, err := recorder.New(recorder.Deps{Store: s, Metrics: m, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return r, m
}

func createJob(t *testing.T, s *store.SQL, id string, questions int) {
	t.Helper()
	job := store.Job{JobSpec: event.JobSpec{ID: id, Created: time.Now().Add(-time.Second)}}
	for i := range questions {
		job.Questions = append(job.Questions, fmt.Sprint("question ", i))
	}
	require.NoError(t, s.Create(t.Context(), job, nil, store.CreateOptions{}))
}

// answers are the records of a whole job: its plan and an outcome for each question of each window.
func answers(t *testing.T, id string, windows, questions int) []event.Record {
	t.Helper()
	plan := &eventpb.JobPlan{JobId: id, Questions: uint32(questions), Track: &eventpb.Track{DurationS: 100}}
	var outcomes []event.Record
	for w := range windows {
		win := &eventpb.Window{Index: uint32(w), Hash: fmt.Sprintf("%064x", w+1), Span: &eventpb.Span{StartS: float64(w), EndS: float64(w + 1)}}
		plan.Windows = append(plan.Windows, win)
		for q := range questions {
			o := event.NewOutcome(&eventpb.Task{JobId: id, Window: win, Cache: eventpb.Cache_CACHE_HIT}, &eventpb.Question{Index: uint32(q), Text: "q"})
			o.State, o.Answer = eventpb.State_STATE_ANSWERED, "a"
			outcomes = append(outcomes, encode(t, o))
		}
	}
	return append([]event.Record{encode(t, plan)}, outcomes...)
}

func encode(t *testing.T, m proto.Message) event.Record {
	t.Helper()
	rec, err := event.Encode("test", m)
	require.NoError(t, err)
	return rec
}

// said names the events that the recorder returned.
func said(t *testing.T, recs []event.Record) []string {
	t.Helper()
	var out []string
	for _, rec := range recs {
		require.Equal(t, event.TopicEvents, rec.Topic)
		ev, err := event.DecodeAs[*eventpb.Event](rec)
		require.NoError(t, err)
		switch body := ev.GetBody().(type) {
		case *eventpb.Event_Outcome:
			out = append(out, "outcome "+store.OutcomeState(body.Outcome.GetState()))
		case *eventpb.Event_Ended:
			out = append(out, "ended "+body.Ended.GetState())
		}
	}
	return out
}

func TestTellsAfterRecording(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	r, m := newRecorder(t, s)
	createJob(t, s, "j1", 1)
	recs := answers(t, "j1", 2, 1)
	var all [][]string
	for _, rec := range recs {
		out, err := stagetest.Handle(t.Context(), r.Handle, rec)
		require.NoError(t, err)
		all = append(all, said(t, out))
	}
	require.Equal(t, [][]string{nil, {"outcome answered"}, {"outcome answered", "ended succeeded"}}, all)
	require.Equal(t, map[string]int{"answered//hit": 2}, m.outcomes)
	require.Equal(t, map[string]int{"succeeded": 1}, m.ended)
	require.Equal(t, [3]int{2, 2, 0}, m.ledger)

	first, err := stagetest.Handle(t.Context(), r.Handle, recs[2])
	require.NoError(t, err)
	second, err := stagetest.Handle(t.Context(), r.Handle, recs[2])
	require.NoError(t, err)
	require.Equal(t, []string{"outcome answered", "ended succeeded"}, said(t, first), "told again, for the first time may have been lost")
	for i := range first {
		require.Equal(t, first[i].Get(event.HeaderID), second[i].Get(event.HeaderID), "the same event")
		require.Equal(t, first[i].Value, second[i].Value)
	}
	require.Equal(t, 2, m.outcomes["answered//hit"], "but counted once")
}

// TestConcurrentDuplicatesAndReordering: many handlers, every record three times, in any order.
func TestConcurrentDuplicatesAndReordering(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	r, m := newRecorder(t, s)
	const jobs, windows, questions = 6, 5, 3
	var recs []event.Record
	for j := range jobs {
		id := fmt.Sprint("job-", j)
		createJob(t, s, id, questions)
		for range 3 {
			recs = append(recs, answers(t, id, windows, questions)...)
		}
	}
	rand.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
	var wg sync.WaitGroup
	next := make(chan event.Record)
	for range 32 {
		wg.Go(func() {
			for rec := range next {
				_, err := stagetest.Handle(t.Context(), r.Handle, rec)
				require.NoError(t, err)
			}
		})
	}
	for _, rec := range recs {
		next <- rec
	}
	close(next)
	wg.Wait()
	require.Equal(t, map[string]int{"succeeded": jobs}, m.ended)
	require.Equal(t, jobs*windows*questions, m.outcomes["answered//hit"])
	require.Equal(t, [3]int{jobs * windows * questions, jobs * windows * questions, 0}, m.ledger)
	require.Empty(t, m.strays)
	require.NoError(t, r.Audit(t.Context()))
	require.Equal(t, [3]int{jobs * windows * questions, jobs * windows * questions, 0}, m.ledger)
}

func TestStraysAreCounted(t *testing.T) {
	t.Parallel()
	s := sqlStore(t)
	r, m := newRecorder(t, s)
	createJob(t, s, "known", 1)
	recs := append(answers(t, "unknown", 1, 1), answers(t, "known", 1, 2)[2])
	for _, rec := range recs {
		out, err := stagetest.Handle(t.Context(), r.Handle, rec)
		require.NoError(t, err)
		require.Empty(t, out)
	}
	require.Equal(t, map[string]int{"unknown_job": 2, "outside_plan": 1}, m.strays)
}

func TestRefusesOtherRecords(t *testing.T) {
	t.Parallel()
	r, _ := newRecorder(t, sqlStore(t))
	other := encode(t, &eventpb.Control{JobId: "j1", Kind: "cancel"})
	for _, rec := range []event.Record{{}, {Value: []byte{1}}, other} {
		_, err := stagetest.Handle(t.Context(), r.Handle, rec)
		require.ErrorIs(t, err, event.ErrUndecodable)
	}
}

// sickStore fails as told; when healthy it takes everything.
type sickStore struct {
	recorder.Store
	down   atomic.Bool
	poison string
	calls  atomic.Int32
}

func (s *sickStore) Record(_ context.Context, entries []store.Entry) ([]store.Recorded, error) {
	s.calls.Add(1)
	if s.down.Load() {
		return nil, errDown
	}
	for _, e := range entries {
		if s.poison != "" && e.Plan.GetJobId() == s.poison {
			return nil, fmt.Errorf("%w: bad entry", store.ErrRefused)
		}
	}
	return make([]store.Recorded, len(entries)), nil
}

func (s *sickStore) Adopt(context.Context, store.Job) (store.Adopted, error) {
	s.calls.Add(1)
	if s.down.Load() {
		return store.Adopted{}, errDown
	}
	return store.Adopted{New: true}, nil
}

// errDown stands for a full disk, an I/O error, a busy or a read-only database: the store is there but cannot write.
var errDown = errors.New("database or disk is full")

// TestWaitsForTheStore: while the database cannot write, plans, outcomes and jobs wait, and readiness says so; they are not given up.
func TestWaitsForTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sickStore{}
		s.down.Store(true)
		r, m := newAdopter(t, s, func() (int64, error) { return 0, nil })
		require.NoError(t, r.Ready(), "nothing has come yet")
		recs := append(answers(t, "j1", 1, 1), encode(t, fedJob("fed")))
		rec, done := recs[0], make(chan error, len(recs))
		for _, rec := range recs {
			go func() {
				_, err := stagetest.Handle(t.Context(), r.Handle, rec)
				done <- err
			}()
		}
		<-time.After(time.Hour) // the bubble's time
		synctest.Wait()
		require.Empty(t, done)
		require.ErrorIs(t, r.Ready(), errDown)
		require.ErrorContains(t, r.Ready(), "3 records wait")
		s.down.Store(false)
		for range recs {
			require.NoError(t, <-done)
		}
		require.NoError(t, r.Ready())
		require.Equal(t, 1, m.accepted)

		s.down.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := stagetest.Handle(ctx, r.Handle, rec)
		require.Error(t, err, "until its own time is over")
	})
}

// TestOneBadEntryFailsAlone: entries that share a transaction do not share its fate.
func TestOneBadEntryFailsAlone(t *testing.T) {
	t.Parallel()
	s := &sickStore{poison: "bad"}
	r, _ := newRecorder(t, s)
	var wg sync.WaitGroup
	for i := range 40 {
		id := fmt.Sprint("good", i)
		if i%10 == 3 {
			id = "bad"
		}
		rec := answers(t, id, 1, 1)[0]
		wg.Go(func() {
			_, err := stagetest.Handle(t.Context(), r.Handle, rec)
			require.Equal(t, id == "bad", stage.PermanentCode(err) == event.CodeInternal, id)
			require.Equal(t, id == "bad", err != nil, id)
		})
	}
	wg.Wait()
}

// TestWritesAreShared: handlers that wait at the same time share one transaction.
func TestWritesAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &gate{open: make(chan struct{})}
		r, _ := newRecorder(t, s)
		var wg sync.WaitGroup
		for i := range 100 {
			rec := answers(t, fmt.Sprint("j", i), 1, 1)[0]
			wg.Go(func() {
				_, err := stagetest.Handle(t.Context(), r.Handle, rec)
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		close(s.open)
		wg.Wait()
		require.Len(t, s.sizes, 2, "the first to come, and all others together")
	})
}

// gate is a store whose first write waits until it is opened.
type gate struct {
	recorder.Store
	open  chan struct{}
	sizes []int
}

func (g *gate) Record(_ context.Context, entries []store.Entry) ([]store.Recorded, error) {
	<-g.open
	g.sizes = append(g.sizes, len(entries))
	return make([]store.Recorded, len(entries)), nil
}

// BenchmarkRecorder records the outcomes of some jobs at once, in order within each job, as the runner
// hands them over.
func BenchmarkRecorder(b *testing.B) {
	for _, jobs := range []int{1, 16} {
		b.Run(fmt.Sprint("jobs=", jobs), func(b *testing.B) { benchmark(b, jobs) })
	}
}

func benchmark(b *testing.B, jobs int) {
	s, err := store.Open(b.Context(), storetest.URL(b))
	require.NoError(b, err)
	r, err := recorder.New(recorder.Deps{Store: s, Metrics: newTally(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	queues := make([][]event.Record, jobs)
	for j := range jobs {
		id := fmt.Sprint("j", j)
		require.NoError(b, s.Create(b.Context(), store.NewJob(event.TenantDefault, event.JobSpec{ID: id, Questions: []string{"q"}, Created: time.Now()}, ""), nil, store.CreateOptions{}))
		for w := range b.N/jobs + 1 {
			o := event.NewOutcome(&eventpb.Task{JobId: id, Window: &eventpb.Window{Index: uint32(w % 4096)}}, &eventpb.Question{Text: "q"})
			o.State = eventpb.State_STATE_ANSWERED
			rec, err := event.Encode("bench", o)
			require.NoError(b, err)
			queues[j] = append(queues[j], rec)
		}
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, queue := range queues {
		wg.Go(func() {
			for _, rec := range queue {
				_, err := stagetest.Handle(b.Context(), r.Handle, rec)
				require.NoError(b, err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "outcomes/s")
	require.NoError(b, s.Close())
}
