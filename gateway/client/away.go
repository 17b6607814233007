package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// lostAfter is how long a connection may take before the gateway counts as away.
const lostAfter = 4 * time.Second

// errSlow is why a gateway that has not refused the connection counts as away.
var errSlow = fmt.Errorf("no answer within %s", lostAfter)

// HeaderHeartbeat of an event stream tells how many seconds at most lie between two signs of life.
const HeaderHeartbeat = "Larkstream-Heartbeat"

// silence is how long a stream may be silent before its connection counts as dead; 0 = for ever, for a gateway that does not tell.
func silence(resp *http.Response) time.Duration {
	seconds, err := strconv.ParseFloat(resp.Header.Get(HeaderHeartbeat), 64)
	if err != nil || !(seconds > 0 && seconds < 3600) {
		return 0
	}
	return max(lostAfter, time.Duration(2*seconds*float64(time.Second)))
}

// alive reads a stream, and ends it when it is silent for too long. The time that the reader takes between two reads does not count.
type alive struct {
	io.Reader
	limit time.Duration
	end   func()
	dead  atomic.Bool
}

func (a *alive) Read(b []byte) (int, error) {
	if a.limit == 0 {
		return a.Reader.Read(b)
	}
	timer := time.AfterFunc(a.limit, func() {
		a.dead.Store(true)
		a.end()
	})
	defer timer.Stop()
	n, err := a.Reader.Read(b)
	if err != nil && a.dead.Load() {
		err = fmt.Errorf("no sign of life for %s: %w", a.limit, err)
	}
	return n, err
}

// UnreachableError says that no gateway answers at the URL.
type UnreachableError struct {
	URL string
	Err error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no gateway answers at %s: %v", e.URL, e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// unreachable turns the failure to open a connection into an UnreachableError, and leaves other errors as they are.
func (c *Client) unreachable(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &UnreachableError{URL: c.base.String(), Err: op}
	}
	return err
}

// WatchOptions of one watch.
type WatchOptions struct {
	// After is the ID of the last event seen before; empty = from the start.
	After string
	// Lost is told once that the gateway is away, within five seconds of the end of a connection; Back is told once that it is there again.
	// Both are called as fn is, never at the same time. nil tells nobody.
	Lost func(err error)
	Back func()
	// Patience is how long the gateway may be away before the watch ends with an *UnreachableError; 0 = for ever.
	Patience time.Duration
}

// lose notes that the gateway is away.
func (w *watch) lose(err error) {
	if !w.away.IsZero() {
		return
	}
	w.away = time.Now()
	if w.Lost != nil {
		w.Lost(w.client.unreachable(err))
	}
}

// found notes that the gateway is there.
func (w *watch) found() {
	if w.away.IsZero() {
		return
	}
	w.away = time.Time{}
	if w.Back != nil {
		w.Back()
	}
}

// left is how long the gateway may still be away.
func (w *watch) left() time.Duration {
	if w.Patience <= 0 || w.away.IsZero() {
		return 1<<63 - 1
	}
	return w.Patience - time.Since(w.away)
}

// send sends the request of a stream. It counts the gateway as away when there is no answer within lostAfter, and cancels the request when the
// patience is at its end.
func (w *watch) send(req *http.Request, cancel func()) (*http.Response, error) {
	type answer struct {
		resp *http.Response
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := w.client.http.Do(req) //nolint:bodyclose // the caller of send closes it
		answers <- answer{resp, err}
	}()
	limit := time.NewTimer(min(lostAfter, w.left()))
	defer limit.Stop()
	select {
	case a := <-answers:
		return a.resp, a.err
	case <-limit.C:
		w.lose(errSlow)
	}
	limit.Reset(max(0, w.left()))
	select {
	case a := <-answers:
		return a.resp, a.err
	case <-limit.C:
		cancel()
	}
	if a := <-answers; a.err == nil {
		_ = a.resp.Body.Close()
	}
	return nil, errSlow
}
