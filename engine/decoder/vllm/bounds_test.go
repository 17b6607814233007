package vllm

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

	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
)

func TestSlotsGoToTheJobWithTheFewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2)
		var releases []func()
		for range 2 {
			release, err := s.acquire(t.Context(), "large")
			require.NoError(t, err)
			releases = append(releases, release)
		}
		order := make(chan string, 4)
		var group sync.WaitGroup
		for _, job := range []string{"large", "large", "small", "small"} {
			group.Go(func() {
				release, err := s.acquire(t.Context(), job)
				require.NoError(t, err)
				releases = append(releases, release)
				order <- job
			})
			synctest.Wait()
		}
		require.Empty(t, order, "both slots are held")
		var got []string
		for i := range 4 {
			releases[i]()
			synctest.Wait()
			got = append(got, <-order)
		}
		require.Equal(t, []string{"small", "large", "small", "large"}, got)
		group.Wait()
		releases[4]()
		releases[5]()
		require.Equal(t, 2, s.free)
		require.Empty(t, s.held)
	})
}

func TestAWaiterThatLeavesTakesNoSlot(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	release, err := s.acquire(t.Context(), "a")
	require.NoError(t, err)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err = s.acquire(ctx, "b")
	require.ErrorIs(t, err, cause)
	release()
	for range 100 { // given and cancelled at once: whichever is seen, no slot is lost
		release, err := s.acquire(ctx, "b")
		if err == nil {
			release()
		}
	}
	release, err = s.acquire(t.Context(), "c")
	require.NoError(t, err)
	release()
	require.Empty(t, s.waiting)
}

func TestTheGateHoldsBackWhileTheServerIsBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[load]
		now.Store(&load{waiting: 5})
		var reads atomic.Int64
		g := newGate(func(context.Context) (load, error) { reads.Add(1); return *now.Load(), nil }, 4, quiet)
		first, err := g.pass(t.Context())
		require.NoError(t, err, "one request is always let through")
		var passed atomic.Int64
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				done, err := g.pass(t.Context())
				require.NoError(t, err)
				passed.Add(1)
				done()
			})
		}
		<-time.After(10 * freshFor)
		require.Zero(t, passed.Load())
		require.InDelta(t, 11, reads.Load(), 2, "one reading at a time for all")
		now.Store(&load{waiting: 4, cache: 0.94})
		group.Wait()
		require.EqualValues(t, 5, passed.Load())
		first()

		now.Store(&load{cache: 0.95})
		<-time.After(freshFor)
		done, err := g.pass(t.Context())
		require.NoError(t, err)
		defer done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = g.pass(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "a full cache holds back too")
	})
}

func TestAServerThatDoesNotTellItsLoadHasRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		g := newGate(func(context.Context) (load, error) { return load{}, errors.New("404") }, 4, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			_, err := g.pass(t.Context())
			require.NoError(t, err)
			<-time.After(2 * freshFor)
		}
		require.Equal(t, 1, strings.Count(log.String(), "does not tell its load"))
	})
}

func TestParseLoad(t *testing.T) {
	t.Parallel()
	parse := func(text string) (load, error) { return parseLoad(strings.NewReader(text)) }
	l, err := parse(vllmtest.Metrics(3, 0.5))
	require.NoError(t, err)
	require.Equal(t, load{waiting: 3, cache: 0.5}, l)
	two := "vllm:num_requests_waiting{engine=\"0\"} 3\nvllm:num_requests_waiting{engine=\"1\"} 4\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.9\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.2\n"
	l, err = parse(two)
	require.NoError(t, err)
	require.Equal(t, load{waiting: 7, cache: 0.2}, l)
	for _, text := range []string{"", "<html>", "vllm:num_requests_waiting 3\n", strings.ReplaceAll(two, " 3", " NaN"), strings.ReplaceAll(two, " 4", " -9"), strings.ReplaceAll(two, " 4", " +Inf")} {
		_, err := parse(text)
		require.Error(t, err, text)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "-1": 0, "86400": maxWait, "soon": 0,
		"Sun, 22 Nov 2026 12:00:07 GMT": 7 * time.Second, "Sun, 22 Nov 2020 12:00:00 GMT": 0, "Sun, 22 Nov 2099 12:00:00 GMT": maxWait,
	} {
		require.Equal(t, want, retryAfter(text, now), text)
	}
}

func TestRetryWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, n := time.Now(), 0
		_, err := retry(t.Context(), func() (int, error) {
			n++
			return 0, &temporary{err: errors.New("busy"), after: 7 * time.Second}
		})
		require.ErrorContains(t, err, "busy")
		require.Equal(t, tries, n)
		require.GreaterOrEqual(t, time.Since(began), 4*7*time.Second, "as long as the server asked for")
		require.Less(t, time.Since(began), 40*time.Second)

		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		_, err = retry(ctx, func() (int, error) { return 0, &temporary{err: errors.New("busy"), after: time.Hour} })
		require.ErrorContains(t, err, "busy")
		require.ErrorIs(t, context.Cause(ctx), cause)
	})
}
