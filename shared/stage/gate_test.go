package stage

import (
	"context"
	"fmt"
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
		if l.acquire(ctx, owner{lane: lane}, places) == nil {
			l.came <- lane
		}
	}()
	synctest.Wait()
}

// let gives places back and returns who came in for them.
func (l *line) let(lane string, places int64) (in []string) {
	l.release(owner{lane: lane}, places)
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
	return &line{gate: newGate(places, forBulk, bulkTurn), came: make(chan string, 100)}
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
	for _, turn := range []int{1, bulkTurn} {
		t.Run(fmt.Sprint("after ", turn), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLine(1, 1)
				l.bulkTurn = turn
				l.ask(t.Context(), people, 1)
				require.Equal(t, people, <-l.came)
				for range 3 * turn {
					l.ask(t.Context(), people, 1)
				}
				for range 2 {
					l.ask(t.Context(), bulk, 1)
				}
				in := []string{people}
				for n := range 2 * (turn + 1) {
					want := people
					if n%(turn+1) == turn {
						want = bulk
					}
					in = l.let(in[0], 1)
					require.Equal(t, []string{want}, in, n)
				}
			})
		})
	}
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
		running := &place{gate: l.gate, of: owner{lane: bulk}, places: 1}
		require.NoError(t, l.acquire(t.Context(), owner{lane: bulk}, 1))
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
		running := &place{gate: l.gate, of: owner{lane: bulk}, places: 1}
		require.NoError(t, l.acquire(t.Context(), owner{lane: bulk}, 1))
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

		alone := &place{gate: l.gate, of: owner{lane: bulk}, places: 1, alone: true}
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
		require.ErrorIs(t, l.acquire(ctx, owner{lane: people}, 1), context.Canceled)
		require.Empty(t, l.let(bulk, 1))
		require.Empty(t, l.let(people, 1))
		require.Equal(t, [2]int64{2, 2}, [2]int64{l.free, l.bulkFree}, "nobody holds any")
	})
}

// turns lets one record after another in through a gate of one place and returns whose they were.
func (l *line) turns(lane string, first string, n int) (came []string) {
	for has := first; n > 0; n-- {
		l.release(owner{lane, has}, 1)
		synctest.Wait()
		has = <-l.came
		came = append(came, has)
	}
	return came
}

// asks is ask for records of a tenant; it tells whose came in.
func (l *line) asks(ctx context.Context, lane, tenant string, records int) {
	for range records {
		go func() {
			if l.acquire(ctx, owner{lane, tenant}, 1) == nil {
				l.came <- tenant
			}
		}()
		synctest.Wait()
	}
}

// A tenant that comes waits for one record of the tenant that was there first, and takes turns with it from then on.
func TestTenantsOfALaneTakeTurns(t *testing.T) {
	t.Parallel()
	for _, lane := range event.Lanes() {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(1, 1)
			l.asks(t.Context(), lane, "large", 11)
			require.Equal(t, "large", <-l.came)
			l.asks(t.Context(), lane, "small", 3)
			require.Equal(t, []string{"small", "large", "small", "large"}, l.turns(lane, "large", 4))
			l.asks(t.Context(), lane, "third", 1)
			require.Equal(t, []string{"third", "small", "large", "large"}, l.turns(lane, "large", 4))
			l.asks(t.Context(), lane, "small", 1)
			require.Equal(t, []string{"small", "large"}, l.turns(lane, "large", 2))
			l.asks(t.Context(), lane, "small", 2)
			require.Equal(t, []string{"small", "large", "small", "large", "large", "large", "large"}, l.turns(lane, "large", 7))
			l.release(owner{lane, "large"}, 1)
			require.Empty(t, l.interactive.tenants)
			require.Empty(t, l.bulk.tenants)
		})
	}
}

// A tenant whose record comes again at once is no newcomer, and does not keep others out.
func TestATenantThatComesAgainAtOnceHasNoMoreTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(1, 1)
		l.asks(t.Context(), people, "large", 5)
		require.Equal(t, "large", <-l.came)
		has := "large"
		var came []string
		for range 8 {
			if has == "large" {
				l.asks(t.Context(), people, "quick", 1)
			}
			has = l.turns(people, has, 1)[0]
			came = append(came, has)
		}
		require.Equal(t, []string{"quick", "large", "quick", "large", "quick", "large", "quick", "large"}, came)
	})
}

func TestATenantLeavesPlacesOfItsLaneToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLine(4, 4)
		l.perTenant(3, 3)
		l.asks(t.Context(), people, "large", 5)
		require.Len(t, l.came, 3)
		l.asks(t.Context(), people, "small", 1)
		require.Len(t, l.came, 4, "the fourth place is for others")
		for range 4 {
			<-l.came
		}
		l.release(owner{people, "small"}, 1)
		synctest.Wait()
		require.Empty(t, l.came)
		l.release(owner{people, "large"}, 1)
		synctest.Wait()
		require.Equal(t, "large", <-l.came)
	})
}
