//go:build synctests

package sim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// transport carries requests to the gateway in a slot, in memory. A gateway that dies takes its answers with it.
type transport struct{ slot *slot }

func (t transport) client() *http.Client { return &http.Client{Transport: t} }

var errRefused = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	p := t.slot.process()
	if req.Body != nil {
		defer req.Body.Close()
	}
	if p == nil || p.api.Load() == nil {
		return nil, errRefused
	}
	ctx, cancel := context.WithCancel(req.Context())
	r, w := io.Pipe()
	answer := &answer{header: make(http.Header), body: w, begun: make(chan struct{})}
	at := req.Clone(ctx)
	at.RequestURI, at.RemoteAddr, at.Host = req.URL.RequestURI(), "127.0.0.1:1", "127.0.0.1"
	if at.Body == nil {
		at.Body = http.NoBody
	}
	t.slot.w.wait.Go(func() {
		defer func() { _ = w.Close() }() // a pipe's close never fails
		p.awake()
		if serve(*p.api.Load(), answer, at) {
			answer.WriteHeader(http.StatusOK)
		}
	})
	t.slot.w.wait.Go(func() {
		select {
		case <-p.gone:
		case <-p.done:
		case <-ctx.Done():
		}
		_ = w.CloseWithError(errRefused) // nothing changes where the answer is whole
		cancel()
	})
	select {
	case <-answer.begun:
	case <-ctx.Done():
		cancel()
		return nil, errors.Join(errRefused, context.Cause(ctx))
	}
	return &http.Response{
		StatusCode: answer.status, Header: answer.sent, Body: &body{ReadCloser: r, done: cancel}, Request: req, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}, nil
}

// serve calls the handler; false if it ends without an answer, as net/http lets it where nobody listens any more.
func serve(h http.Handler, w http.ResponseWriter, req *http.Request) (ended bool) {
	defer func() {
		fault := recover()
		if err, _ := fault.(error); fault != nil && !errors.Is(err, http.ErrAbortHandler) {
			panic(fault)
		}
	}()
	h.ServeHTTP(w, req)
	return true
}

// body ends the request when it is closed.
type body struct {
	io.ReadCloser
	done func()
}

func (b *body) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// answer is the response as the gateway writes it.
type answer struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	begun        chan struct{}
	once         sync.Once
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush implements http.Flusher: a pipe holds nothing back.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }
