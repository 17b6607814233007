package stage

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
)

func openMarks(t *testing.T) *blob.Store {
	t.Helper()
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// life is one process of a stage that handles the records of a partition from its beginning, as if nothing had been committed.
type life struct {
	*processing
	mu      sync.Mutex
	handled []int64 // as begun
	beside  map[int64]int
	running int
}

// live handles records 0 to n-1. kills is the record whose handler never comes back, because the process dies of it. The answer
// tells whether the process died. The records at the offsets of copies are the same one, and kill as well.
func live(t *testing.T, store *blob.Store, n int, kills int64, copies ...int64) (l *life, died bool) {
	t.Helper()
	l = &life{beside: map[int64]int{}}
	copyOf := make(map[int64]int64)
	for _, offset := range copies {
		copyOf[offset] = kills
	}
	dead := make(chan struct{})
	offsets := make(chan int64, n)
	l.processing = newProcessing(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		offset := <-offsets
		l.mu.Lock()
		l.handled = append(l.handled, offset)
		l.running++
		l.beside[offset] = l.running
		l.mu.Unlock()
		if offset == kills || slices.Contains(copies, offset) {
			<-dead
			return nil, ErrStopping
		}
		l.mu.Lock()
		l.running--
		l.mu.Unlock()
		return []event.Record{{Topic: "out"}}, nil
	})
	l.copyOf = copyOf
	l.part.guard = newGuard(store, "lark.test", l.part.topicPartition, slog.New(slog.DiscardHandler))
	l.part.guard.seen(int64(n))
	require.True(t, l.part.guard.open(t.Context()))
	for offset := range int64(n) {
		offsets <- offset // one record is begun at a time, so the next handler is its
		l.begin(t)
		synctest.Wait()
		select {
		case <-offsets: // given up, and not handled
		default:
		}
	}
	died = slices.ContainsFunc(append(copies, kills), func(offset int64) bool { return slices.Contains(l.handled, offset) })
	l.part.guard.lose() // a dead process stores nothing
	l.part.abandon(ErrStopping)
	close(dead)
	l.work.Wait()
	return l, died
}

// A record that takes its process down is tried alone after two deaths and given up after the third; its neighbours are handled.
func TestARecordThatKillsItsStageIsGivenUpAfterTheThirdDeath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openMarks(t)
		for death := 1; death <= 3; death++ {
			l, died := live(t, store, 5, 2)
			require.True(t, died, "death %d", death)
			if death == 3 {
				require.Equal(t, 1, l.beside[2], "nothing runs beside it")
				require.NotContains(t, l.handled, int64(3), "nor begins while it runs")
			}
		}
		l, died := live(t, store, 5, 2)
		require.False(t, died)
		require.Equal(t, []int64{0, 1, 3, 4}, l.handled)
		letter := l.out.recs[slices.IndexFunc(l.out.recs, func(r event.Record) bool { return r.Topic == event.TopicDead })]
		require.Equal(t, event.CodeCrashedStage, letter.Get(event.HeaderReason))
		require.Equal(t, "2", letter.Get(event.HeaderOriginOffset))
		outcomes := 0
		for _, topic := range l.out.topics() {
			if topic == event.TopicAnswers {
				outcomes++
			}
		}
		require.Equal(t, 2, outcomes, "one for each question")
		require.Equal(t, []int64{0, 1, 2, 3, 4}, l.client.marked)

		// Another partition's record may kill the process before anything of that is committed.
		_, died = live(t, store, 5, 2)
		require.False(t, died, "what was given up once is given up again")
	})
}

// The copies of a record that has been given up kill nobody any more, wherever they stand. Found by the simulator: each copy cost three deaths, and each death made
// more copies.
func TestCopiesOfARecordThatKillsItsStageAreGivenUpWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openMarks(t)
		deaths := 0
		for {
			l, died := live(t, store, 6, 1, 3, 4)
			if !died {
				require.Equal(t, []int64{0, 2, 5}, l.handled)
				break
			}
			deaths++
		}
		require.Equal(t, 3, deaths)
	})
}

// TestACopyIDTellsARedrivenRecord from the record that was given up: somebody wants it to be tried again.
func TestACopyIDTellsARedrivenRecord(t *testing.T) {
	t.Parallel()
	rec := event.Record{}.With(event.HeaderID, "r")
	require.Equal(t, "r", copyID(rec))
	require.NotEqual(t, copyID(rec), copyID(rec.With(event.HeaderRedriven, "1")))
	require.Empty(t, copyID(event.Record{}.With(event.HeaderRedriven, "1")))
	g := newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler))
	g.mark.Deadly = []string{"r"}
	require.True(t, g.crashed(7, copyID(rec)))
	require.False(t, g.crashed(7, copyID(rec.With(event.HeaderRedriven, "1"))))
	require.False(t, g.crashed(7, ""), "a record without an id")
}

// Whoever only was in hand beside it is tried alone and goes on.
func TestNeighboursOfACrashAreNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openMarks(t)
		const nobody = -5
		for range 6 { // a process that is killed from outside, whatever it does
			l, _ := live(t, store, 4, nobody)
			require.Len(t, l.handled, 4)
			require.NotContains(t, l.out.topics(), event.TopicDead)
		}
	})
}

func TestAPartitionGivenBackLeavesNoMark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openMarks(t)
		tp := topicPartition{"T", 3}
		newOwner := func() *guard {
			g := newGuard(store, "lark.test", tp, slog.New(slog.DiscardHandler))
			g.seen(10)
			require.True(t, g.open(t.Context()))
			return g
		}
		g := newOwner()
		there, err := store.Exists(t.Context(), "stage/v1/lark.test/t/3")
		require.NoError(t, err)
		require.True(t, there)
		require.False(t, g.careful)
		g.close(t.Context())
		there, err = store.Exists(t.Context(), g.key)
		require.NoError(t, err)
		require.False(t, there)

		newOwner() // dies
		g = newOwner()
		require.True(t, g.careful)
		require.True(t, g.begin(t.Context(), 4, "r"))
		require.True(t, g.begin(t.Context(), 10, "r"), "behind the end: no owner before had it")
		require.Equal(t, []int64{4}, g.mark.InHand)
		next := newOwner()
		require.True(t, next.alone(4))
		next.close(t.Context())
		require.True(t, newOwner().alone(4), "a suspect that was not tried stays one")

		require.NoError(t, store.PutBytes(t.Context(), g.key, []byte("{")))
		require.True(t, newOwner().careful, "a mark that cannot be read counts as a death")
	})
}

// TestThePollDoesNotWaitForTheObjectStore: one partition's mark is read for as long as the store hangs, and the poll that brings the records of
// all partitions goes on. Found by the simulator: the poll waited too, and with it every rebalance of the group.
func TestThePollDoesNotWaitForTheObjectStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		store := openMarks(t).Intercept(func(_ context.Context, _ blob.Op, _ string, do func() error) error {
			<-hangs
			return do()
		})
		g := newGuard(store, "lark.test", topicPartition{event.TopicWindows, 0}, slog.New(slog.DiscardHandler))
		opened := make(chan bool)
		go func() { opened <- g.open(t.Context()) }()
		synctest.Wait()
		g.seen(7)
		close(hangs)
		require.True(t, <-opened)
		require.EqualValues(t, 7, g.end.Load())
	})
}

// TestARebalanceDoesNotWaitForTheObjectStore: a partition is lost, or given back, while the store hangs.
func TestARebalanceDoesNotWaitForTheObjectStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		store := openMarks(t).Intercept(func(ctx context.Context, _ blob.Op, _ string, do func() error) error {
			if hangs.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return do()
		})
		newOwner := func(partition int32) *guard {
			g := newGuard(store, "lark.test", topicPartition{event.TopicWindows, partition}, slog.New(slog.DiscardHandler))
			g.seen(10)
			return g
		}
		hangs.Store(true)
		lost := newOwner(0)
		ctx, cancel := context.WithCancel(t.Context())
		opened := make(chan bool)
		go func() { opened <- lost.open(ctx) }()
		synctest.Wait()
		lost.lose()
		cancel()
		require.False(t, <-opened)

		hangs.Store(false)
		require.True(t, newOwner(1).open(t.Context())) // dies
		revoked := newOwner(1)
		require.True(t, revoked.open(t.Context()))
		hangs.Store(true)
		ctx, cancel = context.WithCancel(t.Context())
		begun := make(chan bool)
		go func() { begun <- revoked.begin(ctx, 4, "r") }() // of a handler that does not heed its context
		synctest.Wait()
		revoked.close(t.Context())
		cancel()
		require.False(t, <-begun)
	})
}
