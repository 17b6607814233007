package stage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

// TestLedger holds the runner to its law: whatever the handlers do, however often instances come and
// go and requests to the broker are refused, every question of every window ends in exactly one
// outcome id, none lost and none invented. LARK_SEED runs one other seed.
func TestLedger(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3}
	if s, err := strconv.ParseUint(os.Getenv("LARK_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			runLedger(t, seed)
		})
	}
}

const (
	restarts     = 4
	restartEvery = 30 // calls; below the number of windows / restarts, so that all of them happen
	windows      = 150
)

// ledger draws at random, by its seed, what handlers and the broker do.
type ledger struct {
	mu      sync.Mutex
	rng     *rand.Rand
	calls   int
	restart chan struct{} // a signal for each restartEvery calls
	faults  atomic.Bool   // whether the broker refuses requests
}

// fault refuses one produce in twenty and half of the commits, which makes work that is done come
// again after a restart, as the death of a process does.
func (l *ledger) fault(req kmsg.Request) kmsg.Response {
	if !l.faults.Load() {
		return nil
	}
	l.mu.Lock()
	n := l.rng.IntN(100)
	l.mu.Unlock()
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		if n < 5 {
			return refuseProduce(r)
		}
	case *kmsg.OffsetCommitRequest:
		if n < 50 {
			return refuseCommit(r)
		}
	}
	return nil
}

func (l *ledger) step() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; l.calls%restartEvery == 0 {
		select {
		case l.restart <- struct{}{}:
		default:
		}
	}
	return l.rng.IntN(100)
}

func (l *ledger) handle(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
	switch n := l.step(); {
	case n < 30:
		return nil, fmt.Errorf("transient %d", n)
	case n < 35:
		return nil, stage.Permanent(event.CodeEngineError, errors.New("broken for good"))
	case n < 42:
		return nil, stage.Later(time.Millisecond)
	case n < 44:
		panic("handler bug")
	case n < 52: // the store does not answer, rarely so often in a row that the stage pauses
		return nil, stage.Unavailable(errors.New("connection refused"))
	case n < 56: // slow, unless stopped
		timer := time.NewTimer(time.Duration(n) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
	return answer(rec)
}

func runLedger(t *testing.T, seed uint64) {
	l := &ledger{rng: rand.New(rand.NewPCG(seed, 0)), restart: make(chan struct{}, restarts)}
	c := newFaultyCluster(t, 8, l.fault)
	control := c.control()
	marks, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	begin := func() *running {
		return c.start(l.handle, withControl(control), func(cfg *stage.Config, d *stage.Deps) {
			cfg.DrainTimeout, d.Marks = 100*time.Millisecond, marks
		})
	}
	want, msgs := workload(rand.New(rand.NewPCG(seed, 1)))
	c.publish(msgs[:windows/2]...)
	c.cancelJob("job-3")
	c.publish(msgs[windows/2:]...)
	l.faults.Store(true)

	instances := []*running{begin(), begin()}
	choose := rand.New(rand.NewPCG(seed, 2))
	for range restarts {
		<-l.restart
		i := choose.IntN(len(instances))
		_ = instances[i].drain() // an error tells only that work was abandoned
		instances[i] = begin()
	}
	c.waitOutcomes(len(want))
	l.faults.Store(false)
	c.waitLag("lark.test", 0)
	checkLedger(t, c, want)
	t.Logf("seed %d: %d calls", seed, l.calls)
}

func checkLedger(t *testing.T, c *cluster, want map[string]bool) {
	t.Helper()
	seen, writes := c.outcomesSeen(), 0
	states := map[eventpb.State]int{}
	for id, os := range seen {
		require.Contains(t, want, id, "an outcome that nobody asked for")
		writes += len(os)
		states[os[0].GetState()]++
	}
	require.Len(t, seen, len(want))
	require.LessOrEqual(t, writes, (restarts+1)*len(want), "more duplicates than restarts explain")
	for _, s := range []eventpb.State{eventpb.State_STATE_ANSWERED, eventpb.State_STATE_FAILED, eventpb.State_STATE_CANCELLED} {
		require.Positive(t, states[s], s)
	}
	require.NotEmpty(t, c.deadSeen())
	t.Logf("%d questions, %d outcome records, %v, %d dead letters", len(want), writes, states, len(c.deadSeen()))
}

// workload is windows of 6 jobs with 1 to 3 questions each, and the outcome ids that must come of it.
func workload(rng *rand.Rand) (want map[string]bool, msgs []proto.Message) {
	want = make(map[string]bool)
	for i := range uint32(windows) {
		job := fmt.Sprintf("job-%d", i%6)
		msg := window(job, fmt.Sprint("key", rng.IntN(40)), i, 1+rng.IntN(3))
		for _, q := range msg.GetTask().GetQuestions() {
			want[event.OutcomeID(job, q.GetIndex(), i)] = true
		}
		msgs = append(msgs, msg)
	}
	return want, msgs
}
