package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// tap is an open event stream, read line by line.
type tap struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func (r *rig) tap(t *testing.T, jobID, last string) *tap {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/v1/jobs/"+jobID+"/events", nil)
	require.NoError(t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := r.http.Do(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	tp := &tap{t: t, body: resp.Body, in: bufio.NewReader(resp.Body)}
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, "retry: 2000", tp.block())
	return tp
}

// block reads up to an empty line; "" at the end of the stream.
func (tp *tap) block() string {
	tp.t.Helper()
	var lines []string
	for {
		line, err := tp.in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			require.Empty(tp.t, lines, "the stream ends after a whole event")
			return ""
		}
		require.NoError(tp.t, err)
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return strings.Join(lines, "\n")
		}
		lines = append(lines, line)
	}
}

// next reads an event as "id kind what".
func (tp *tap) next() string {
	tp.t.Helper()
	id, kind, what := "-", "", ""
	for line := range strings.SplitSeq(tp.block(), "\n") {
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			var body map[string]any
			require.NoError(tp.t, json.Unmarshal([]byte(value), &body))
			for _, key := range []string{"text", "answer", "stage", "code", "state"} {
				if v, ok := body[key].(string); ok && v != "" {
					what = v
					break
				}
			}
		case "":
			if value != "" {
				return ": " + value
			}
		}
	}
	return strings.TrimSpace(fmt.Sprint(id, " ", kind, " ", what))
}

// after reads the next event that is not one of those to skip.
func (tp *tap) after(skip ...string) string {
	tp.t.Helper()
	for {
		if ev := tp.next(); !slices.Contains(skip, ev) {
			return ev
		}
	}
}

func (tp *tap) expect(events ...string) {
	tp.t.Helper()
	for _, want := range events {
		require.Equal(tp.t, want, tp.next())
	}
}

func (tp *tap) ends() {
	tp.t.Helper()
	require.Empty(tp.t, tp.block())
}

func TestStreamLive(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	require.Equal(t, "+"+job.ID, <-r.watching, "before the stream begins")
	r.say(progressOf(job.ID, "chunker", 0, "done"))
	tp.expect("3 progress chunker")
	r.say(tokenOf(job.ID, "It\nis"))
	tp.expect("6 token It\nis")
	r.record(true, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	tp.expect("9 outcome answer 0/0", "12 end succeeded")
	tp.ends()
	require.Equal(t, "-"+job.ID, <-r.watching)
	ended := r.tap(t, job.ID, "")
	ended.after("3 progress chunker", "6 token It\nis", "9 outcome answer 0/0")
	ended.ends()
	require.Empty(t, r.watching, "nothing is to come of a job that has ended")
}

func TestStreamResumes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	r.say(tokenOf(job.ID, "a"))
	r.say(tokenOf(job.ID, "b"))
	r.record(true, planOf(job.ID, 2, 1), answerOf(job.ID, 0, 0))
	r.say(tokenOf(job.ID, "c"))
	r.tap(t, job.ID, "").expect("3 token a", "6 token b", "9 outcome answer 0/0", "12 token c")
	r.tap(t, job.ID, "3").expect("6 token b", "9 outcome answer 0/0", "12 token c")
	resumed := r.tap(t, job.ID, "10")
	resumed.expect("12 token c")
	r.record(true, answerOf(job.ID, 0, 1))
	resumed.expect("15 outcome answer 0/1", "18 end succeeded")
	resumed.ends()
	after := r.tap(t, job.ID, "18")
	after.expect("- end succeeded")
	after.ends()
}

// TestStreamFromTheStore: a job whose events the log has lost is told from SQL.
func TestStreamFromTheStore(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	r.record(false, planOf(job.ID, 2, 1), answerOf(job.ID, 0, 1), answerOf(job.ID, 0, 0))
	for _, last := range []string{"", "5"} {
		tp := r.tap(t, job.ID, last)
		tp.expect("- outcome answer 0/1", "- outcome answer 0/0", "- end succeeded")
		tp.ends()
	}
	// Stored, and only then in the log: the event moves the watcher's place on and tells nothing twice.
	early := r.submit("q")
	r.record(false, planOf(early.ID, 2, 1), answerOf(early.ID, 0, 0))
	watching := r.tap(t, early.ID, "")
	watching.expect("- outcome answer 0/0")
	r.record(true, answerOf(early.ID, 0, 0))
	watching.expect(strconv.FormatInt(r.offset, 10))
	r.record(true, answerOf(early.ID, 0, 1))
	watching.expect(fmt.Sprint(r.offset-3, " outcome answer 0/1"), fmt.Sprint(r.offset, " end succeeded"))
	watching.ends()
	// Half of it in the log: nothing twice, nothing left out.
	half := r.submit("q")
	r.record(false, planOf(half.ID, 3, 1), answerOf(half.ID, 0, 0))
	r.record(true, answerOf(half.ID, 0, 1))
	r.record(false, answerOf(half.ID, 0, 2))
	tp := r.tap(t, half.ID, "")
	tp.expect("- outcome answer 0/0", "- outcome answer 0/2", fmt.Sprint(r.offset, " outcome answer 0/1"), "- end succeeded")
	tp.ends()
}

// TestStreamTellsWhatIsMissingBesideAStray: an outcome of a window that the plan does not have comes before the plan and is told. At the end it does not stand
// for one that no event has told.
func TestStreamTellsWhatIsMissingBesideAStray(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	r.record(true, answerOf(job.ID, 0, 7))
	tp.expect(fmt.Sprint(r.offset, " outcome answer 0/7"))
	r.record(false, planOf(job.ID, 2, 1), answerOf(job.ID, 0, 0))
	r.record(true, answerOf(job.ID, 0, 1))
	tp.expect(fmt.Sprint(r.offset-3, " outcome answer 0/1"), "- outcome answer 0/0", fmt.Sprint(r.offset, " end succeeded"))
	tp.ends()
}

// TestStreamEndsAlthoughTheLogIsSilent: the end is found in the job store when its event never comes.
func TestStreamEndsAlthoughTheLogIsSilent(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.Heartbeat = 10 * time.Millisecond })
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	r.say(tokenOf(job.ID, "a"))
	// The token shows that the watch has begun: what only the store knows comes after it.
	require.Equal(t, "3 token a", tp.after(": still here"))
	r.record(false, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	require.Equal(t, "- outcome answer 0/0", tp.after(": still here"))
	tp.expect("- end succeeded")
	tp.ends()
}

// TestSlowWatcherIsDropped: it is told why, and finds the rest when it comes again.
func TestSlowWatcherIsDropped(t *testing.T) {
	t.Parallel()
	r := setup(t, func(_ *api.Limits, sc *stream.Config) { sc.JobEvents = 4 })
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	r.say(tokenOf(job.ID, "first"))
	tp.expect("3 token first")
	big := strings.Repeat("x", 200_000)
	var got string
	for n := 0; !strings.Contains(got, "dropped"); n++ { // until the connection's buffers are full
		for range 100 {
			r.say(tokenOf(job.ID, big))
		}
		got = tp.next()
		require.Less(t, n, 1000)
	}
	require.Equal(t, "- dropped stream_lagging", got)
	tp.ends()
	r.record(true, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	var events []string
	require.NoError(t, r.client.Events(t.Context(), job.ID, "", func(ev client.Event) error {
		events = append(events, ev.Kind)
		return nil
	}))
	require.Equal(t, []string{"token", "token", "outcome", "end"}, events)
}

func TestEvictedWatcherGoesOn(t *testing.T) {
	t.Parallel()
	r := setup(t, func(_ *api.Limits, sc *stream.Config) { sc.Jobs = 1 })
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	r.say(tokenOf(job.ID, "a"))
	tp.expect("3 token a")
	r.say(tokenOf("another", "x"))
	r.record(true, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	next := tp.next()
	require.Contains(t, []string{"- outcome answer 0/0", "9 outcome answer 0/0"}, next)
	require.Contains(t, tp.after("9"), "end succeeded", "an outcome from the store may be followed by its place in the log")
	tp.ends()
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.MaxStreams = 1 })
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	p := r.do(http.MethodGet, "/v1/jobs/"+job.ID+"/events", nil).problem(t)
	require.Equal(t, "too_many_streams", p.Code)
	require.NoError(t, tp.body.Close())
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/jobs/"+job.ID+"/events", nil)
		require.NoError(t, err)
		resp, err := r.http.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, patience, 5*time.Millisecond, "a watcher that goes gives its place back")
}

// TestOneClientDoesNotTakeAllStreams: its share is smaller than the whole.
func TestOneClientDoesNotTakeAllStreams(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.MaxStreamsPerClient = 1 })
	job := r.submit("q")
	r.tap(t, job.ID, "")
	p := r.do(http.MethodGet, "/v1/jobs/"+job.ID+"/events", nil).problem(t)
	require.Equal(t, "too_many_streams", p.Code)
	require.Contains(t, p.Detail, "1 streams of your address")
	r.api.Close() // streams of others end at once
	require.Equal(t, http.StatusOK, r.from("[2001:db8::1]:5", http.MethodGet, "/v1/jobs/"+job.ID+"/events", ""))
}

func TestStreamLifetime(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.StreamTimeout = 20 * time.Millisecond })
	tp := r.tap(t, r.submit("q").ID, "")
	tp.expect("- dropped stream_timeout")
	tp.ends()

	stopping := setup(t)
	tp = stopping.tap(t, stopping.submit("q").ID, "")
	stopping.api.Close()
	stopping.api.Close()
	tp.expect("- dropped server_stopping")
	tp.ends()
}

// TestClientGoesOn: the client's Events survives connections that break, and tells each outcome once.
func TestClientGoesOn(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	r.record(false, planOf(job.ID, 3, 1), answerOf(job.ID, 0, 0))
	var got []string
	done := make(chan error, 1)
	steps := make(chan string)
	go func() {
		done <- r.client.Events(t.Context(), job.ID, "", func(ev client.Event) error {
			steps <- ev.Kind
			return nil
		})
	}()
	got = append(got, <-steps)
	for i := range 3 {
		r.srv.CloseClientConnections()
		r.say(tokenOf(job.ID, fmt.Sprint("t", i)))
		got = append(got, <-steps)
	}
	r.record(true, answerOf(job.ID, 0, 1), answerOf(job.ID, 0, 2))
	for range 3 {
		got = append(got, <-steps)
	}
	require.NoError(t, <-done)
	require.Equal(t, []string{"outcome", "token", "token", "token", "outcome", "outcome", "end"}, got)

	boom := errors.New("boom")
	require.ErrorIs(t, r.client.Events(t.Context(), job.ID, "", func(client.Event) error { return boom }), boom)
	_, ok := client.AsProblem(r.client.Events(t.Context(), "none", "", nil))
	require.True(t, ok)
}

func TestUnknownEventsAreSkipped(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	tp := r.tap(t, job.ID, "")
	r.say(&eventpb.Event{JobId: job.ID})
	r.say(tokenOf(job.ID, "a"))
	tp.expect("6 token a")
}
