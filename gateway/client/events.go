package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxLine bounds one line of a stream: an outcome with the longest answer fits.
	maxLine = 1 << 20
	// Waits before connecting again.
	minReconnect = 200 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// ErrMalformed says that the gateway's event stream cannot be read. To connect again would bring the same bytes again.
var ErrMalformed = errors.New("event stream is malformed")

// errEnd: the stream has told the job's end.
var errEnd = errors.New("job ended")

// Events calls fn for each event of a job, in order, until the job's end (nil), an error of fn, or the
// end of ctx. It connects again after a broken connection and goes on after the last event; outcomes
// are given once each. A refusal that is not retryable ends it with a *Problem, a stream that cannot be read with ErrMalformed. after is the ID of the last event seen before, "" = from the start.
func (c *Client) Events(ctx context.Context, jobID, after string, fn func(Event) error) error {
	return c.Watch(ctx, jobID, WatchOptions{After: after}, fn)
}

// Watch is Events with a say in what happens while the gateway is away.
func (c *Client) Watch(ctx context.Context, jobID string, opts WatchOptions, fn func(Event) error) error {
	w := &watch{WatchOptions: opts, client: c, url: c.jobURL(jobID, "events"), what: "job " + jobID, last: opts.After, fn: fn, seen: make(map[string]bool)}
	w.take = w.event
	return w.run(ctx)
}

// run reads connections until the end of what is watched.
func (w *watch) run(ctx context.Context) error {
	for wait := minReconnect; ; wait = min(2*wait, maxReconnect) {
		told := w.told
		err := w.connect(ctx)
		var p *Problem
		var own *callbackError
		switch {
		case errors.Is(err, errEnd):
			return nil
		case errors.As(err, &own):
			return own.err
		case ctx.Err() != nil:
			return fmt.Errorf("watching %s: %w", w.what, context.Cause(ctx))
		case errors.As(err, &p) && !p.Retryable, errors.Is(err, ErrMalformed):
			return fmt.Errorf("watching %s: %w", w.what, err)
		case w.left() <= 0:
			return fmt.Errorf("watching %s: gave up after %s: %w", w.what, w.Patience, &UnreachableError{URL: w.client.base.String(), Err: err})
		}
		if w.told > told {
			wait = minReconnect
		}
		timer := time.NewTimer(min(wait/2+rand.N(wait/2), w.left())) //nolint:gosec // jitter needs no secrecy
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// callbackError is an error of the caller's function: it ends the watch.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

// watch is one call of Watch or WatchRun over its connections.
type watch struct {
	WatchOptions

	client *Client
	url    *url.URL
	what   string // is watched
	last   string
	take   func(id, kind string, data []byte) error
	fn     func(Event) error // of a job
	seen   map[string]bool   // ids of outcomes given
	told   int
	// away is since when the gateway cannot be reached; zero = it can.
	away time.Time
}

// connect reads one connection to its end.
func (w *watch) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := w.client.request(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	if w.last != "" {
		req.Header.Set("Last-Event-ID", w.last)
	}
	resp, err := w.send(req, cancel)
	if err != nil {
		if ctx.Err() == nil {
			w.lose(err)
		}
		return err
	}
	defer resp.Body.Close()
	if err := problemOf(resp); err != nil {
		w.lose(err)
		return err
	}
	w.found()
	body := &alive{Reader: resp.Body, limit: silence(resp), end: cancel}
	err = readEvents(body, w.take)
	if body.dead.Load() {
		w.lose(err)
	}
	return err
}

// event takes one event as it came over the wire. An id without data is a place to go on from.
func (w *watch) event(id, kind string, data []byte) error {
	if data == nil {
		w.last = id
		return nil
	}
	ev, err := decodeEvent(id, kind, data)
	if err != nil || ev.Kind == "" {
		return err
	}
	if ev.Outcome != nil {
		if w.seen[ev.Outcome.ID] {
			return nil
		}
		w.seen[ev.Outcome.ID] = true
	}
	w.told++
	if id != "" {
		w.last = id
	}
	if ev.Kind != EventDropped { // the next connection goes on
		if err := w.fn(ev); err != nil {
			return &callbackError{err}
		}
	}
	if ev.Kind == EventEnd {
		return errEnd
	}
	return nil
}

// decodeEvent reads an event's data; an unknown kind gives an Event without a Kind.
func decodeEvent(id, kind string, data []byte) (Event, error) {
	ev := Event{ID: id, Kind: kind}
	var dst any
	switch kind {
	case EventProgress:
		ev.Progress = &ProgressEvent{}
		dst = ev.Progress
	case EventToken:
		ev.Token = &TokenEvent{}
		dst = ev.Token
	case EventOutcome:
		ev.Outcome = &Outcome{}
		dst = ev.Outcome
	case EventEnd:
		ev.End = &EndEvent{}
		dst = ev.End
	case EventDropped:
		ev.Dropped = &DroppedEvent{}
		dst = ev.Dropped
	default:
		return Event{}, nil
	}
	if err := json.Unmarshal(data, dst); err != nil {
		return Event{}, fmt.Errorf("decoding %s event %s: %w: %w", kind, id, ErrMalformed, err)
	}
	return ev, nil
}

// readEvents parses server-sent events and hands each to fn; data is nil for an id that comes alone.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
func readEvents(r io.Reader, fn func(id, kind string, data []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	var id, kind string
	var data []byte
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if data != nil || id != "" {
				if err := fn(id, kind, bytes.TrimSuffix(data, []byte("\n"))); err != nil {
					return err
				}
			}
			id, kind, data = "", "", nil
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			if !bytes.ContainsRune(value, 0) {
				id = string(value)
			}
		case "event":
			kind = string(value)
		case "data":
			if len(data)+len(value) > maxLine {
				return fmt.Errorf("reading events: %w: one event has more than %d bytes", ErrMalformed, maxLine)
			}
			data = append(append(data, value...), '\n')
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("reading events: %w: one line has more than %d bytes", ErrMalformed, maxLine)
	} else if err != nil {
		return fmt.Errorf("reading events: %w", err)
	}
	return io.ErrUnexpectedEOF
}

// Wait watches a job, calling fn (which may be nil) for each event, until its end, and returns the job and all of its outcomes.
func (c *Client) Wait(ctx context.Context, jobID string, fn func(Event) error) (Job, []Outcome, error) {
	if fn == nil {
		fn = func(Event) error { return nil }
	}
	if err := c.Events(ctx, jobID, "", fn); err != nil {
		return Job{}, nil, err
	}
	job, err := c.Get(ctx, jobID)
	if err != nil {
		return Job{}, nil, err
	}
	outcomes, err := c.Outcomes(ctx, jobID)
	return job, outcomes, err
}
