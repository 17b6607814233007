package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// watched is a client whose connections are made by connect, in a bubble with a clock of its own.
func watched(t *testing.T, connect transport) *client.Client {
	t.Helper()
	c, err := client.New("http://gateway.example", &http.Client{Transport: connect})
	require.NoError(t, err)
	return c
}

func streamOf(body string) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
}

var errRefused = errors.New("connection refused")

// TestAWatchGivesUp: a gateway that refuses, one that hangs and one that only says that it is busy are each told within five seconds and given
// up when the patience is at its end.
func TestAWatchGivesUp(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]transport{
		"refuses": func(*http.Request) (*http.Response, error) { return nil, errRefused },
		"hangs": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"is busy": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(strings.NewReader("busy"))}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				connections, start := 0, time.Now()
				c := watched(t, func(r *http.Request) (*http.Response, error) {
					if connections++; connections == 1 {
						return streamOf(": hello\n\n")
					}
					return away(r)
				})
				var lost []time.Duration
				err := c.Watch(t.Context(), "j", client.WatchOptions{
					Patience: time.Minute,
					Lost:     func(error) { lost = append(lost, time.Since(start)) },
					Back:     func() { t.Error("it does not come back") },
				}, nil)
				var unreachable *client.UnreachableError
				require.ErrorAs(t, err, &unreachable)
				require.ErrorContains(t, err, "gave up after 1m0s: no gateway answers at http://gateway.example")
				require.NotContains(t, err.Error(), "canceled", "the caller has not cancelled")
				require.Len(t, lost, 1)
				require.LessOrEqual(t, lost[0], 5*time.Second)
				require.Equal(t, time.Minute, time.Since(start)-lost[0])
			})
		})
	}
}

// silentStream says hello and nothing more until its request ends.
func silentStream(r *http.Request, heartbeat string) (*http.Response, error) {
	read, write := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = write.CloseWithError(r.Context().Err()) })
	go func() { _, _ = io.WriteString(write, ": hello\n\n") }()
	return &http.Response{StatusCode: http.StatusOK, Body: read, Header: http.Header{client.HeaderHeartbeat: {heartbeat}}}, nil
}

// TestASilentStreamIsDead: a gateway that hangs in the middle of a stream is told within five seconds, if it has promised to be heard of.
func TestASilentStreamIsDead(t *testing.T) {
	t.Parallel()
	for heartbeat, after := range map[string]time.Duration{"2": 4 * time.Second, "0.5": 4 * time.Second, "30": time.Minute} {
		t.Run(heartbeat, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, connections, lost := time.Now(), 0, time.Duration(0)
				c := watched(t, func(r *http.Request) (*http.Response, error) {
					if connections++; connections == 1 {
						return silentStream(r, heartbeat)
					}
					return streamOf("event: end\ndata: {}\n\n")
				})
				require.NoError(t, c.Watch(t.Context(), "j", client.WatchOptions{Lost: func(error) { lost = time.Since(start) }},
					func(client.Event) error { return nil }))
				require.Equal(t, after, lost)
				require.Equal(t, 2, connections)
			})
		})
	}
	t.Run("no promise", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := watched(t, func(r *http.Request) (*http.Response, error) { return silentStream(r, "") })
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := c.Watch(ctx, "j", client.WatchOptions{Lost: func(error) { t.Error("it may be silent") }}, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// TestAWatchGoesOnWhenTheGatewayIsBack: after the last event that was seen, and with its patience whole again.
func TestAWatchGoesOnWhenTheGatewayIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		connections, last := 0, ""
		c := watched(t, func(r *http.Request) (*http.Response, error) {
			connections++
			switch {
			case connections == 1:
				return streamOf("id: 7\nevent: outcome\ndata: {\"id\":\"a\"}\n\n")
			case connections == 6:
				return streamOf("id: 8\nevent: outcome\ndata: {\"id\":\"b\"}\n\n")
			case connections == 12:
				last = r.Header.Get("Last-Event-ID")
				return streamOf("id: 9\nevent: end\ndata: {}\n\n")
			}
			return nil, errRefused
		})
		var told []string
		require.NoError(t, c.Watch(t.Context(), "j", client.WatchOptions{
			Patience: 20 * time.Second,
			Lost: func(err error) {
				require.ErrorIs(t, err, errRefused)
				told = append(told, "lost")
			},
			Back: func() { told = append(told, "back") },
		}, func(ev client.Event) error {
			told = append(told, ev.ID)
			return nil
		}))
		require.Equal(t, []string{"7", "lost", "back", "8", "lost", "back", "9"}, told)
		require.Equal(t, "8", last)
	})
}
