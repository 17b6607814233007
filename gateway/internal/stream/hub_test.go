package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func token(job, text string) *eventpb.Event {
	return &eventpb.Event{JobId: job, Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{Text: text}}}
}

func outcome(job, id string) *eventpb.Event {
	return &eventpb.Event{JobId: job, Body: &eventpb.Event_Outcome{Outcome: &eventpb.Outcome{OutcomeId: id}}}
}

func ended(job string) *eventpb.Event {
	return &eventpb.Event{JobId: job, Body: &eventpb.Event_Ended{Ended: &eventpb.JobEnded{State: "succeeded"}}}
}

func progress(job, stage string, window uint32, status string) *eventpb.Event {
	return &eventpb.Event{JobId: job, Body: &eventpb.Event_Progress{Progress: &eventpb.Progress{Stage: stage, WindowIndex: window, Status: status}}}
}

// now is an idle channel that has fired: Next then returns what is there without waiting.
func now() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

// drain reads the offsets of all that a watcher is given without waiting.
func drain(t *testing.T, w *stream.Watcher) []int64 {
	t.Helper()
	var out []int64
	for {
		item, err := w.Next(t.Context(), now())
		require.NoError(t, err)
		if item.Event == nil {
			return out
		}
		out = append(out, item.Offset)
	}
}

func TestWatchFromAnywhere(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	for _, o := range []int64{10, 12, 17} {
		h.Append(o, token("a", "x"))
		h.Append(o+1, token("b", "x"))
	}
	h.Append(17, token("a", "again"))
	h.Append(11, token("a", "older"))
	for after, want := range map[int64][]int64{
		stream.FromStart: {10, 12, 17}, 9: {10, 12, 17}, 10: {12, 17}, 11: {12, 17}, 16: {17}, 17: nil,
		99: {10, 12, 17}, // the topic was made anew
	} {
		w := h.Watch("a", after)
		require.Equal(t, want, drain(t, w), "after %d", after)
		require.Equal(t, after < 9 || after > 17, w.Gap, "after %d", after)
	}
	require.Equal(t, []int64{11, 13, 18}, drain(t, h.Watch("b", stream.FromStart)))
	none := h.Watch("c", stream.FromStart)
	require.True(t, none.Gap)
	require.Empty(t, drain(t, none))
}

func TestNextWaits(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	w := h.Watch("a", stream.FromStart)
	got := make(chan int64)
	go func() {
		defer close(got)
		for {
			item, err := w.Next(t.Context(), nil)
			if err != nil || item.Event.GetEnded() != nil {
				return
			}
			got <- item.Offset
		}
	}()
	for o := int64(5); o < 8; o++ {
		h.Append(o, token("a", "x"))
		require.Equal(t, o, <-got)
	}
	h.Append(9, ended("a"))
	_, more := <-got
	require.False(t, more)
	h.Append(10, token("a", "after the end"))
	require.Empty(t, drain(t, w))

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	_, err := h.Watch("b", stream.FromStart).Next(ctx, nil)
	require.EqualError(t, err, "gone")
}

// TestWatchBeforeTheLogIsRead: a watcher that resumes while the log is still being read again is not
// told what it has seen.
func TestWatchBeforeTheLogIsRead(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	w := h.Watch("a", 12)
	require.True(t, w.Gap)
	for _, o := range []int64{10, 12, 17} {
		h.Append(o, token("a", "x"))
	}
	require.Equal(t, []int64{17}, drain(t, w))
}

func TestOutcomesAreHeldOnce(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	h.Append(1, outcome("a", "o1"))
	h.Append(2, outcome("a", "o2"))
	h.Append(3, outcome("a", "o1"))
	w := h.Watch("a", 1)
	require.Equal(t, map[string]bool{"o2": true}, w.Held)
	require.Equal(t, map[string]bool{"o1": true}, w.Past)
	require.Equal(t, []int64{2}, drain(t, w))
}

func TestSlowWatcherIsTold(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{JobEvents: 3})
	h.Append(1, token("a", "x"))
	w := h.Watch("a", stream.FromStart)
	for o := int64(2); o < 6; o++ {
		h.Append(o, outcome("a", strconv.FormatInt(o, 10)))
	}
	_, err := w.Next(t.Context(), nil)
	require.ErrorIs(t, err, stream.ErrLagging)
	again := h.Watch("a", 1)
	require.True(t, again.Gap)
	require.Equal(t, []int64{3, 4, 5}, drain(t, again))
	require.Len(t, again.Held, 3)
	require.False(t, h.Watch("a", 2).Gap, "2 is the last that was dropped")
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	byBytes := stream.New(stream.Config{JobBytes: 4000})
	for o := range int64(100) {
		byBytes.Append(o, token("a", strings.Repeat("x", 700)))
	}
	require.Equal(t, []int64{96, 97, 98, 99}, drain(t, byBytes.Watch("a", stream.FromStart)))

	byJobs := stream.New(stream.Config{Jobs: 2})
	byJobs.Append(1, token("a", "x"))
	evicted := byJobs.Watch("a", stream.FromStart)
	byJobs.Append(2, token("b", "x"))
	byJobs.Append(3, token("c", "x"))
	_, err := evicted.Next(t.Context(), nil)
	require.ErrorIs(t, err, stream.ErrEvicted)
	require.Equal(t, []int64{3}, drain(t, byJobs.Watch("c", stream.FromStart)))

	inAll := stream.New(stream.Config{TotalBytes: 5000})
	for o := range int64(50) {
		inAll.Append(o, token(fmt.Sprint("j", o), strings.Repeat("x", 700)))
	}
	held := 0
	for o := range int64(50) {
		held += len(drain(t, inAll.Watch(fmt.Sprint("j", 49-o), stream.FromStart)))
	}
	require.Equal(t, 5, held, "5,000 bytes hold five events of 700 and what they cost beside")
}

func TestProgress(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	for i, ev := range []*eventpb.Event{
		progress("a", "chunker", 0, "done"), progress("a", "encoder", 0, "started"), progress("a", "encoder", 0, "done"),
		progress("a", "encoder", 0, "started"), progress("a", "encoder", 1, "skipped"), progress("a", "encoder", 2, "retrying"),
		progress("a", "intruder", 0, "done"), progress("a", "encoder", 1<<31, "done"), progress("a", "encoder", 3, "confused"),
	} {
		h.Append(int64(i), ev)
	}
	p := h.Progress("a")
	require.Equal(t, stream.Counts{Done: 1}, p.Stage("chunker"))
	require.Equal(t, stream.Counts{Done: 1, Skipped: 1, Retrying: 1}, p.Stage("encoder"))
	require.Equal(t, stream.Counts{}, p.Stage("intruder"))
	require.Equal(t, stream.Counts{}, h.Progress("none").Stage("encoder"))
}

// TestManyWatchers: each watcher is given every event in order, or told that it was too slow.
func TestManyWatchers(t *testing.T) {
	t.Parallel()
	const events = 2000
	h := stream.New(stream.Config{JobEvents: 64})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			last := stream.FromStart
			for last < events-1 {
				w := h.Watch("a", last)
				for first := true; ; first = false {
					item, err := w.Next(t.Context(), nil)
					if err != nil {
						require.ErrorIs(t, err, stream.ErrLagging)
						break // watch again, with a gap
					}
					if first && w.Gap {
						require.Greater(t, item.Offset, last)
					} else {
						require.Equal(t, last+1, item.Offset, "none is left out")
					}
					last = item.Offset
					if last == events-1 || rng.IntN(100) == 0 {
						break
					}
				}
			}
		})
	}
	for o := range int64(events) {
		h.Append(o, token("a", "x"))
	}
	wg.Wait()
}

// TestTheFirstEventOfAPartition has number 0: a watcher is given it whether it comes before or after the event.
func TestTheFirstEventOfAPartition(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{JobEvents: 2})
	before := h.Watch("a", stream.FromStart)
	h.Append(0, token("a", "first"))
	after := h.Watch("a", stream.FromStart)
	require.False(t, after.Gap)
	for name, w := range map[string]*stream.Watcher{"before": before, "after": after} {
		item, err := w.Next(t.Context(), nil)
		require.NoError(t, err, name)
		require.Zero(t, item.Offset, name)
		require.Equal(t, "first", item.Event.GetToken().GetText(), name)
	}
	slow := h.Watch("b", stream.FromStart)
	h.Append(0, token("b", "0"))
	late := h.Watch("b", stream.FromStart)
	for i := range int64(3) {
		h.Append(i+1, token("b", "more"))
	}
	_, err := late.Next(t.Context(), nil)
	require.ErrorIs(t, err, stream.ErrLagging, "number 0 was held when it began and is gone")
	item, err := slow.Next(t.Context(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, item.Offset, "it was promised nothing")
}

// TestResetForALogThatBeginsAnew: events of the new log count although their offsets were seen in the old one.
func TestResetForALogThatBeginsAnew(t *testing.T) {
	t.Parallel()
	h := stream.New(stream.Config{})
	h.Append(10, token("a", "x"))
	h.Append(11, token("b", "x"))
	w := h.Watch("a", stream.FromStart)
	h.Reset()
	_, err := w.Next(t.Context(), nil)
	require.ErrorIs(t, err, stream.ErrEvicted)
	h.Append(0, token("a", "y"))
	require.Equal(t, []int64{0}, drain(t, h.Watch("a", stream.FromStart)))
	require.Equal(t, []int64{0}, drain(t, h.Watch("a", 10)), "a place in the old log is the beginning")
}
