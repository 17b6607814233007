//go:build synctests

package sim

import (
	"context"
	"net/http"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
)

func setup(t *testing.T) scratch {
	t.Helper()
	s, err := newScratch()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(s.dir)) })
	return s
}

// TestASeedIsRepeated: the same seed gives the same history, step by step, on one processor. The order of what happens at one moment of the virtual
// clock is the scheduler's, which a busy machine disturbs: then one of a few runs must repeat another.
func TestASeedIsRepeated(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := setup(t)
	for _, seed := range []uint64{1, 7, 8, 9} { // seeds in which no two records wait for the same moment in one stage
		var seen []Result
		for range 4 {
			r, err := simulate(t, seed, s, Options{Trace: true})
			require.NoError(t, err)
			require.NotEmpty(t, r.Faults)
			if slices.ContainsFunc(seen, func(before Result) bool { return reflect.DeepEqual(before, r) }) {
				return
			}
			seen = append(seen, r)
		}
	}
	require.Fail(t, "no seed of four has the same steps twice")
}

// TestFaultsAreDecidedByTheSeed: what befalls a record does not depend on what befell others before.
func TestFaultsAreDecidedByTheSeed(t *testing.T) {
	plan := newPlan(dice(5))
	require.Equal(t, plan, newPlan(dice(5)))
	require.NotEqual(t, plan, newPlan(dice(6)))
	one, two := newFaults(9), newFaults(9)
	for i := range 100 { // other records come first
		two.strike(killTaken, strconv.Itoa(i), 0)
	}
	struck := 0
	for i := range 1000 {
		for _, kind := range recordFaults() {
			hit := one.strike(kind, "record "+strconv.Itoa(i), i%3)
			require.Equal(t, hit, two.strike(kind, "record "+strconv.Itoa(i), i%3))
			if hit {
				struck++
			}
		}
	}
	require.NotZero(t, struck)
	one.end()
	require.False(t, one.count(evict), "no fault after the end")
}

// keeper is a producer that keeps what it is given.
type keeper struct {
	host.Producer
	topics []string
}

func (t *keeper) Publish(_ context.Context, recs ...event.Record) error {
	for _, rec := range recs {
		t.topics = append(t.topics, rec.Topic)
	}
	return nil
}

// TestALostRecordIsAcknowledged: its writer sees no difference, and the record goes through when it is written again.
func TestALostRecordIsAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFaults(1)
	f.rates = map[string]float64{loseRecord: 1}
	w := &world{history: &history{start: time.Now()}, faults: f}
	inner := &keeper{}
	p := &process{slot: &slot{w: w, stage: event.StageChunker}, name: "chunker1.1"}
	retried := event.RetryTopic(event.StageLLM, event.RetryDelays()[0])
	var recs []event.Record
	for _, topic := range []string{event.TopicJobs, event.TopicWindows, event.TopicEmbeddings, event.TopicPrompts, event.TopicAnswers, retried, event.TopicEvents, event.TopicControl, event.TopicDead} {
		recs = append(recs, event.Record{Topic: topic}.With(event.HeaderID, "r"))
	}
	require.NoError(t, p.producer(inner).Publish(t.Context(), recs...))
	require.Equal(t, []string{event.TopicEvents, event.TopicControl, event.TopicDead}, inner.topics, "nothing makes these again")
	var acknowledged int
	w.history.each(published, func(entry) { acknowledged++ })
	require.Equal(t, len(recs), acknowledged)
	require.Equal(t, 6, f.number(loseRecord))

	f.end()
	inner.topics = nil
	require.NoError(t, p.producer(inner).Publish(t.Context(), recs...))
	require.Len(t, inner.topics, len(recs))
}

// TestTheLawHolds runs a few seeds; `make test-sim` runs more.
func TestTheLawHolds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	require.NoError(t, Seeds(t.Context(), 1, 6, 1, Options{}, func(r Result) {
		require.Emptyf(t, r.Violations, "seed %d; lark-sim --seed %d --trace shows it", r.Seed, r.Seed)
		require.NotZero(t, r.Outcomes)
	}))
}

// TestTheCheckerBites: a history with a fault that cannot be is told.
func TestTheCheckerBites(t *testing.T) {
	w := &world{history: &history{start: time.Now()}, faults: newFaults(1)}
	v := &verdict{w: w, log: []logged{{topic: event.TopicWindows, id: "r", job: "j", readable: true}}}
	commit := entry{at: 2, who: "lark.encoder", what: committed, id: event.TopicWindows + "/0", detail: "1"}
	w.history.entries = []entry{commit}
	v.offsets()
	require.Len(t, v.found, 1, "committed, and nobody has handled it")

	handled := entry{at: 1, who: "encoder1.1", what: ended, id: event.TopicWindows + "/r", detail: "ok: out/o"}
	w.history.entries = []entry{handled, commit, {at: 3, what: published, id: "out/o"}}
	v.found = nil
	v.offsets()
	require.Len(t, v.found, 1, "its output came later")

	w.history.entries = []entry{handled, {at: 1, what: published, id: "out/o"}, commit}
	v.found = nil
	v.offsets()
	require.Empty(t, v.found)

	stored := entry{at: 1, who: "encoder1.1", what: stored, id: "emb/v1/e"}
	again := stored
	again.at, again.since = 3, 2
	w.history.entries = []entry{stored, again}
	v.encoderRuns()
	require.Len(t, v.found, 1, "encoded although it was there")
	v.found = nil
	w.history.entries = []entry{stored, {at: 2, what: struck, id: evict}, again}
	v.encoderRuns()
	require.Empty(t, v.found)

	letter := entry{at: 1, who: "encoder1.1", what: published, id: event.TopicDead + "/r", job: "j"}
	other := entry{at: 1, who: "llm1.1", what: published, id: event.TopicAnswers + "/o", job: "j"}
	w.history.entries = []entry{letter, other}
	v.givenUp()
	require.Len(t, v.found, 1, "the stage that gave it up told nobody")
	v.found = nil
	gone := entry{at: 2, who: letter.who, what: died}
	lost := entry{at: 3, what: vanished, id: event.TopicWindows}
	for _, c := range []struct {
		entries  []entry
		breaches int
	}{
		{[]entry{letter, gone}, 1}, {[]entry{letter, lost}, 1}, {[]entry{letter, gone, {at: 3, what: vanished, id: event.TopicPrompts}}, 1}, {[]entry{letter, gone, lost}, 0},
	} {
		w.history.entries, v.found = c.entries, nil
		v.givenUp()
		require.Len(t, v.found, c.breaches)
	}
	v.found = nil
	other.who = letter.who
	w.history.entries = []entry{letter, other}
	v.givenUp()
	require.Empty(t, v.found)
}

// TestTheCheckerBitesOnWhatIsTold: what leaves the outbox unsent, outcomes of which no event tells, and webhooks that are missing, doubled or wrong.
func TestTheCheckerBitesOnWhatIsTold(t *testing.T) {
	w := &world{history: &history{start: time.Now()}, faults: newFaults(1)}
	v := &verdict{w: w}
	left := entry{at: 2, who: "gateway1.1", what: cleared, id: event.TopicJobs + "/r"}
	sent := entry{at: 2, who: "gateway1.1", what: published, id: left.id}
	late := sent
	late.at = 3
	for _, c := range []struct {
		entries  []entry
		breaches int
	}{{[]entry{left}, 1}, {[]entry{left, late}, 1}, {[]entry{left, sent}, 0}} {
		w.history.entries, v.found = c.entries, nil
		v.outbox()
		require.Len(t, v.found, c.breaches)
	}

	c := &watcher{w: w, id: "j", job: job{hook: true}, end: client.Job{ID: "j", State: client.StateSucceeded}, outcomes: []client.Outcome{{ID: "o"}}}
	c.told = []client.Event{{ID: "1", Kind: client.EventOutcome, Outcome: &c.outcomes[0]}, {ID: "2", Kind: client.EventEnd}}
	v.found = nil
	v.stream(c)
	require.Len(t, v.found, 1, "no event of the outcome was written")
	answer := entry{at: 2, what: published, id: event.TopicAnswers + "/o"}
	for _, at := range []time.Duration{1, 3} {
		w.history.entries, v.found = []entry{answer, {at: at, what: vanished, id: event.TopicAnswers}}, nil
		v.stream(c)
		require.Equal(t, at < answer.at, len(v.found) == 1, "the broker lost the answer that the recorder had in hand")
	}
	v.found, v.logged = nil, map[string]bool{"o": true}
	v.stream(c)
	require.Empty(t, v.found)

	v.clients = []*watcher{c}
	message := func(id, job, state string) {
		body := `{"type":"job.` + state + `","data":{"id":"` + job + `","state":"` + state + `"}}`
		require.NoError(t, w.receiver.take(id, []byte(body)))
	}
	check := func(breaches int, why string) {
		v.found = nil
		v.webhooks()
		require.Len(t, v.found, breaches, why)
	}
	check(1, "nobody was told")
	message("m1", "j", client.StateSucceeded)
	message("m1", "j", client.StateSucceeded)
	check(0, "told again with the same id")
	message("m2", "j", client.StateSucceeded)
	check(1, "another id")
	message("m1", "j", client.StateFailed)
	check(2, "another state")
	message("m1", "k", client.StateFailed)
	check(3, "a job that nobody asked for")
	c.job.hook = false
	check(6, "nobody asked for a webhook")
}

// TestARequestWhoseReaderIsGoneEndsAlone: what net/http lets pass, the simulated network does, too.
func TestARequestWhoseReaderIsGoneEndsAlone(t *testing.T) {
	t.Parallel()
	abort := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	require.False(t, serve(abort, nil, nil))
	require.True(t, serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil, nil))
	require.Panics(t, func() { serve(nil, nil, nil) }, "other faults are told")
}
