package stage

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

// line is who came in through a gate, in order.
type line struct {
	*gate
	came chan string
}

// ask takes places in the background and tells when it has them.
func (l *line) ask(ctx context.Context, lane string, places int64) {
	go func() {
		if l.acquire(ctx, lane, places) == nil {
			l.came <- lane
		}
	}()
	synctest.Wait()
}

// let gives places back and returns who came in for them.
func (l *line) let(lane string, places int64) (in []string) {
	l.release(lane, places)
	synctest.Wait()
	for {
		select {
		case lane := <-l.came:
			in = append(in, lane)
		default:
			return in
		}
	}
}

func newLine(places, forBulk int64) *line {
	return &line{gate: newGate(places, forBulk), came: make(chan string, 100)}
}

const (
	people = event.LaneInteractive
	bulk   = event.LaneBulk
)

func TestPeopleComeInBeforeBulkThatCameFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1, 1)
		l.ask(t.Context(), bulk, 1)
		require.Equal(t, bulk, <-l.came, "nobody else is there")
		for range 3 {
			l.ask(t.Context(), bulk, 1)
		}
		l.ask(t.Context(), people, 1)
		require.Equal(t, []string{people}, l.let(bulk, 1), "it waited for one that ran, and no longer")
		require.Equal(t, []string{bulk}, l.let(people, 1))
		require.Equal(t, []string{bulk}, l.let(bulk, 1))
	})
}

func TestBulkHasATurnHoweverManyPeopleWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1, 1)
		l.ask(t.Context(), people, 1)
		require.Equal(t, people, <-l.came)
		for range 3 * bulkTurn {
			l.ask(t.Context(), people, 1)
		}
		for range 2 {
			l.ask(t.Context(), bulk, 1)
		}
		in := []string{people}
		for n := range 2 * (bulkTurn + 1) {
			want := people
			if n%(bulkTurn+1) == bulkTurn {
				want = bulk
			}
			in = l.let(in[0], 1)
			require.Equal(t, []string{want}, in, n)
		}
	})
}

func TestBulkLeavesPlacesToPeople(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(3, 2)
		for range 3 {
			l.ask(t.Context(), bulk, 1)
		}
		require.Len(t, l.came, 2)
		l.ask(t.Context(), people, 1)
		require.Len(t, l.came, 3, "people do not wait for bulk")
		for range 3 {
			<-l.came
		}
		require.Empty(t, l.let(people, 1), "the third place is not for bulk")
		require.Equal(t, []string{bulk}, l.let(bulk, 1))
	})
}

// A bulk record that yields lets a person in and is the next of its lane; nobody else of its lane passes it.
func TestABulkRecordYieldsToPeopleAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1, 1)
		running := &place{gate: l.gate, lane: bulk, places: 1}
		require.NoError(t, l.acquire(t.Context(), bulk, 1))
		ctx := context.WithValue(t.Context(), placeKey{}, running)
		l.ask(t.Context(), bulk, 1)
		require.NoError(t, Yield(ctx), "nobody but bulk waits")
		require.Empty(t, l.came)

		l.ask(t.Context(), people, 1)
		back := make(chan error, 1)
		go func() { back <- Yield(ctx) }()
		synctest.Wait()
		require.Equal(t, people, <-l.came)
		require.Empty(t, back)
		require.Empty(t, l.let(people, 1), "the place is for the record that has begun")
		require.NoError(t, <-back)
		require.Equal(t, []string{bulk}, l.releaseOf(running))
		require.Empty(t, l.releaseOf(running), "a place is given back once")
		require.NoError(t, Yield(ctx), "nothing is left to give")
	})
}

func (l *line) releaseOf(p *place) []string {
	p.release()
	return l.let(people, 0)
}

// A record that is stopped while it waits for its place has none, and gives none back.
func TestARecordThatIsStoppedWhileItYieldsHasNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1, 1)
		running := &place{gate: l.gate, lane: bulk, places: 1}
		require.NoError(t, l.acquire(t.Context(), bulk, 1))
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), placeKey{}, running))
		l.ask(t.Context(), people, 1)
		back := make(chan error, 1)
		go func() { back <- Yield(ctx) }()
		synctest.Wait()
		require.Equal(t, people, <-l.came)
		cancel(ErrStopping)
		require.ErrorIs(t, <-back, ErrStopping)
		l.ask(t.Context(), people, 1)
		require.Empty(t, l.releaseOf(running), "the place is the person's")
		require.Equal(t, []string{people}, l.let(people, 1))
		require.NoError(t, Yield(t.Context()), "without a record")

		alone := &place{gate: l.gate, lane: bulk, places: 1, alone: true}
		l.ask(t.Context(), people, 1)
		require.NoError(t, Yield(context.WithValue(t.Context(), placeKey{}, alone)), "nothing may run beside it")
		require.Empty(t, l.came)
		require.Equal(t, []string{people}, l.let(people, 1))
	})
}

func TestARecordThatNeedsManyPlacesIsNotPassedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(4, 4)
		l.ask(t.Context(), people, 1)
		<-l.came
		l.ask(t.Context(), people, 4)
		l.ask(t.Context(), people, 1)
		l.ask(t.Context(), bulk, 1)
		require.Empty(t, l.came, "they come after the one that needs everything")
		require.Equal(t, []string{people}, l.let(people, 1))
		require.ElementsMatch(t, []string{people, bulk}, l.let(people, 4))
	})
}

func TestAHeldLaneWaitsAndTheOtherDoesNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(2, 2)
		l.hold(bulk, true)
		l.ask(t.Context(), bulk, 1)
		l.ask(t.Context(), people, 1)
		require.Equal(t, people, <-l.came)
		require.Empty(t, l.came)
		l.hold(bulk, false)
		require.Equal(t, bulk, <-l.came)
	})
}

// What is given up while it waits holds nobody back, and its places are not lost.
func TestWhoGivesUpLeavesTheLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(2, 2)
		l.ask(t.Context(), bulk, 1)
		<-l.came
		ctx, cancel := context.WithCancel(t.Context())
		l.ask(ctx, people, 2)
		l.ask(t.Context(), people, 1)
		require.Empty(t, l.came)
		cancel()
		synctest.Wait()
		require.Equal(t, people, <-l.came)
		require.ErrorIs(t, l.acquire(ctx, people, 1), context.Canceled)
		require.Empty(t, l.let(bulk, 1))
		require.Empty(t, l.let(people, 1))
		require.Equal(t, [2]int64{2, 2}, [2]int64{l.free, l.bulkFree}, "nobody holds any")
	})
}
