package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSpares is how many connections over the bounds are kept, for probes.
	maxSpares = 32
	// spareLogEvery is the least time between warnings that connections are over the bounds.
	spareLogEvery = time.Minute
	// writeTimeout is the time in which a client must take writeChunk bytes, which is also the minimum rate of downloads.
	writeTimeout = 30 * time.Second
	writeChunk   = 64 << 10
	// bodyTimeout is the time for the body of a request. A handler that takes larger bodies sets a read deadline of its own.
	bodyTimeout = 30 * time.Second
)

// gate is a listener that bounds connections, in all and per client. Connections over the bounds are spare: only probes are answered on them,
// so that a service stays observable while a client holds all that it may. When there are too many spare ones the oldest goes: a probe
// sends its request at once and is answered before that.
type gate struct {
	net.Listener
	total, perClient int
	log              *slog.Logger

	mu      sync.Mutex
	open    int
	clients map[string]int
	spares  []*conn
	logged  time.Time
}

func newGate(l net.Listener, cfg Common, log *slog.Logger) *gate {
	return &gate{Listener: l, total: cfg.HTTPConnections, perClient: cfg.HTTPConnectionsPerClient, log: log, clients: map[string]int{}}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	inner, err := g.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // http.Server looks at the error
	}
	c := &conn{Conn: inner, gate: g, client: Client(inner.RemoteAddr().String())}
	evicted, warn := g.admit(c)
	if evicted != nil {
		_ = evicted.Close()
	}
	if warn {
		g.log.Warn("too many HTTP connections: only health, readiness and metrics are answered on new ones; close some, or raise http_connections or http_connections_per_client",
			slog.String("client", c.client), slog.Int("http_connections", g.total), slog.Int("http_connections_per_client", g.perClient))
	}
	return c, nil
}

// admit counts a connection and returns the spare one that must go for it, and whether it is time to warn.
func (g *gate) admit(c *conn) (evicted *conn, warn bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open < g.total && g.clients[c.client] < g.perClient {
		g.open++
		g.clients[c.client]++
		return nil, false
	}
	c.spare = true
	g.spares = append(g.spares, c)
	if len(g.spares) > maxSpares {
		evicted = g.spares[0]
		g.spares = slices.Delete(g.spares, 0, 1)
	}
	now := time.Now()
	if warn = now.Sub(g.logged) >= spareLogEvery; warn {
		g.logged = now
	}
	return evicted, warn
}

func (g *gate) release(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.spare {
		g.spares = slices.DeleteFunc(g.spares, func(other *conn) bool { return other == c })
		return
	}
	g.open--
	if g.clients[c.client]--; g.clients[c.client] == 0 {
		delete(g.clients, c.client)
	}
}

// conn is a connection whose client must go on taking what is written.
type conn struct {
	net.Conn
	gate        *gate
	client      string
	spare       bool
	ownDeadline atomic.Bool // a handler has set a write deadline, which stands
	closed      sync.Once
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (n int, err error) {
	for {
		if !c.ownDeadline.Load() {
			if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return n, err //nolint:wrapcheck // it stands in for the connection
			}
		}
		chunk := p[:min(len(p), writeChunk)]
		m, err := c.Conn.Write(chunk)
		n, p = n+m, p[m:]
		if err != nil || len(p) == 0 {
			return n, err //nolint:wrapcheck // it stands in for the connection
		}
	}
}

// SetWriteDeadline implements net.Conn. The zero time gives the deadline back to Write.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.ownDeadline.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t) //nolint:wrapcheck // it stands in for the connection
}

// CloseWrite lets http.Server answer a request whose body it has not read: without it the client may lose the answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite() //nolint:wrapcheck // it stands in for the connection
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.closed.Do(func() { c.gate.release(c) })
	return c.Conn.Close() //nolint:wrapcheck // it stands in for the connection
}

type spareKey struct{}

// connContext tells handlers that a connection is spare.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if ours, ok := c.(*conn); ok && ours.spare {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

func isSpare(r *http.Request) bool { return r.Context().Value(spareKey{}) != nil }

// bounded gives every body its time, and ends a spare connection after one request. No answer may be taken for another type than it names.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // recorders in tests have no deadlines
		}
		if isSpare(r) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// refuseSpare answers 429 on spare connections.
func (s *service) refuseSpare(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isSpare(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(map[string]any{ // the client is gone when this fails
			"type": "about:blank", "title": http.StatusText(http.StatusTooManyRequests), "status": http.StatusTooManyRequests,
			"code": "too_many_connections", "retryable": true,
			"detail": fmt.Sprintf("too many connections are open, %d from one address or %d in all; close some, or raise the settings "+
				"http_connections_per_client and http_connections of %s", s.cfg.HTTPConnectionsPerClient, s.cfg.HTTPConnections, s.name),
		})
	})
}
