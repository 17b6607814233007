package service

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipes is a listener whose connections are pipes, so that time is the bubble's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial serves handler on a pipe and returns the client's end. What ends with the test is waited for by the bubble.
func dial(t *testing.T, handler http.HandlerFunc) net.Conn {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	gate := newGate(listener, Common{HTTPConnections: 1, HTTPConnectionsPerClient: 1}, log)
	go func() { done <- serve(gate, bounded(handler), log)(ctx) }()
	theirs, ours := net.Pipe()
	listener.conns <- theirs
	t.Cleanup(func() {
		require.NoError(t, ours.Close())
		cancel()
		require.NoError(t, <-done)
		require.Empty(t, gate.clients, "the connection was given back")
		require.Zero(t, gate.open)
	})
	return ours
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func TestSlowClients(t *testing.T) {
	t.Parallel()
	const request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "
	for name, c := range map[string]struct {
		say     string
		handler http.HandlerFunc
		after   time.Duration // the connection is closed, in the time of the bubble
		status  string
	}{
		"nothing":        {say: "", after: readHeaderTimeout},
		"half a header":  {say: "GET / HTTP/1.1\r\nHos", after: readHeaderTimeout},
		"an idle one":    {say: request + "0\r\n\r\n", after: idleTimeout, status: "200"},
		"an unsent body": {say: request + "100\r\n\r\nabc", after: bodyTimeout, status: "408", handler: readAll},
		"a body that nobody reads": {
			say: request + "100\r\n\r\nabc", after: bodyTimeout, status: "200",
			handler: func(http.ResponseWriter, *http.Request) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				handler := c.handler
				if handler == nil {
					handler = readAll
				}
				client := dial(t, handler)
				began := time.Now()
				say(t, client, c.say)
				answer, err := io.ReadAll(client)
				require.NoError(t, err)
				require.GreaterOrEqual(t, time.Since(began), c.after)
				require.Less(t, time.Since(began), c.after+5*time.Second)
				if c.status != "" {
					require.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 "+c.status), string(answer))
				}
			})
		})
	}
}

func readAll(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusRequestTimeout)
	}
}

// TestSlowReaders: a client that takes nothing is cut off; one that takes a chunk now and then is served to the end.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const size = 8 * writeChunk
	write := func(ended chan<- error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write(make([]byte, size))
			ended <- err
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		client := dial(t, write(ended))
		say(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.ErrorContains(t, <-ended, "timeout")
	})
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		client := dial(t, write(ended))
		say(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		for range size / writeChunk {
			<-time.After(writeTimeout / 3)
			_, err := io.CopyN(io.Discard, resp.Body, writeChunk)
			require.NoError(t, err)
		}
		require.NoError(t, <-ended)
		require.Greater(t, time.Since(began), 2*writeTimeout)
	})
}

// TestStreamsOutliveTimeouts: a stream lives longer than any timeout, and a handler's own write deadline stands.
func TestStreamsOutliveTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := dial(t, func(w http.ResponseWriter, r *http.Request) {
			for range 60 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Minute):
				case <-r.Context().Done():
					return
				}
			}
		})
		say(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Len(t, body, 60)
	})
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		client := dial(t, func(w http.ResponseWriter, _ *http.Request) {
			began := time.Now()
			_ = http.NewResponseController(w).SetWriteDeadline(began.Add(time.Hour))
			_, _ = w.Write(make([]byte, writeChunk))
			ended <- time.Since(began)
		})
		say(t, client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Equal(t, time.Hour, <-ended)
	})
}

// fixed is a connection of a given address.
type fixed struct {
	net.Conn
	addr string
}

func (f fixed) RemoteAddr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", f.addr)
	if err != nil {
		panic(err)
	}
	return addr
}

func TestGate(t *testing.T) {
	t.Parallel()
	listener := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	gate := newGate(listener, Common{HTTPConnections: 3, HTTPConnectionsPerClient: 2}, slog.New(slog.DiscardHandler))
	accept := func(addr string) *conn {
		inner, peer := net.Pipe()
		t.Cleanup(func() { _ = peer.Close() })
		listener.conns <- fixed{inner, addr}
		c, err := gate.Accept()
		require.NoError(t, err)
		return c.(*conn)
	}
	first, second := accept("192.0.2.1:1"), accept("192.0.2.1:2")
	require.False(t, first.spare || second.spare)
	require.True(t, accept("192.0.2.1:3").spare, "the client has its share")
	other := accept("192.0.2.2:1")
	require.False(t, other.spare, "another client has its own")
	require.True(t, accept("192.0.2.3:1").spare, "there are too many in all")
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "closing again counts once")
	require.False(t, accept("192.0.2.3:2").spare)
	require.True(t, accept("192.0.2.3:3").spare)

	oldest := gate.spares[0]
	for range maxSpares {
		require.True(t, accept("192.0.2.9:1").spare)
	}
	require.Len(t, gate.spares, maxSpares)
	_, err := oldest.Conn.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe, "the oldest spare one had to go")
	last := gate.spares[maxSpares-1]
	require.NoError(t, last.Close())
	require.NotContains(t, gate.spares, last)
}
