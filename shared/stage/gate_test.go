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
