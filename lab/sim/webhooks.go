//go:build synctests

package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// receiver takes the webhooks of the jobs that have one.
type receiver struct {
	down atomic.Bool

	mu   sync.Mutex
	took map[string][]taken // by job
}

// taken is a message that the receiver has taken.
type taken struct {
	message string // its id
	client.WebhookMessage
}

// hookURL is where a job's webhook is sent.
func hookURL(job string) string { return "https://receiver.example/" + job }

func (r *receiver) take(message string, body []byte) error {
	m := taken{message: message}
	if err := json.Unmarshal(body, &m.WebhookMessage); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.took == nil {
		r.took = make(map[string][]taken)
	}
	r.took[m.Data.ID] = append(r.took[m.Data.ID], m)
	return nil
}

// of are the messages about a job.
func (r *receiver) of(job string) []taken {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.took[job]
}

// outside is the network between a process and the receiver.
func (p *process) outside() http.RoundTripper { return outside{p} }

type outside struct{ p *process }

// RoundTrip implements http.RoundTripper.
func (o outside) RoundTrip(req *http.Request) (*http.Response, error) {
	p, f, r := o.p, o.p.slot.w.faults, &o.p.slot.w.receiver
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	what := "webhook " + strings.TrimPrefix(req.URL.Path, "/")
	n := f.attempt(what)
	wait := f.lag(stepLag, what, n)
	if f.strike(slowHook, what, n) {
		wait = f.between(time.Second, 30*time.Second, slowHook, what, n) // a sender may wait for 20 s
	}
	if !rest(req.Context(), wait) {
		return nil, context.Cause(req.Context())
	}
	p.awake()
	switch {
	case p.dead.Load():
		return nil, errKilled
	case r.down.Load():
		return nil, errRefused
	case f.strike(failHook, what, n):
		return reply(req, http.StatusServiceUnavailable), nil
	}
	if err := r.take(req.Header.Get(client.HeaderWebhookID), body); err != nil {
		return nil, fmt.Errorf("a webhook that nobody can read: %w", err)
	}
	p.note(told, what, "", "")
	switch {
	case p.strike(killHook, what, n):
		return nil, errKilled
	case f.strike(loseHook, what, n):
		return nil, errInjected
	}
	return reply(req, http.StatusNoContent), nil
}

func reply(req *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: http.NoBody, Request: req, ProtoMajor: 1, ProtoMinor: 1}
}

// awaitHooks waits until the receiver has been told of the end of every job that ended and has a webhook, as long as patience lasts.
func (w *world) awaitHooks(clients []*watcher) {
	ctx, cancel := context.WithTimeout(w.life, patience)
	defer cancel()
	for _, c := range clients {
		for c.hooked() && len(w.receiver.of(c.id)) == 0 && rest(ctx, 5*time.Second) {
			continue
		}
	}
}

// hooked tells whether the job's end must have been told to the receiver.
func (c *watcher) hooked() bool { return c.job.hook && c.err == nil && client.Terminal(c.end.State) }

// webhooks: the receiver is told of the end of each job that asks for it, at least once, and each time with the same id and the state in which the job
// ended. It is told of nothing else.
func (v *verdict) webhooks() {
	asked := make(map[string]*watcher)
	for _, c := range v.clients {
		asked[c.id] = c
		took := v.w.receiver.of(c.id)
		if c.hooked() && len(took) == 0 {
			v.breach("%s (%s): its webhook was not told of its end", c.job.name, c.id)
		}
		for _, m := range took {
			if !c.job.hook {
				v.breach("%s (%s): a webhook was told of its end, but it asked for none", c.job.name, c.id)
			}
			if m.message == "" || m.message != took[0].message {
				v.breach("%s (%s): its webhook was told of its end with the ids %q and %q", c.job.name, c.id, took[0].message, m.message)
			}
			if c.hooked() && (m.Data.State != c.end.State || m.Type != "job."+c.end.State) {
				v.breach("%s (%s): its webhook was told %s with the state %s, but it is %s", c.job.name, c.id, m.Type, m.Data.State, c.end.State)
			}
		}
	}
	v.w.receiver.mu.Lock()
	defer v.w.receiver.mu.Unlock()
	for id := range v.w.receiver.took {
		if asked[id] == nil {
			v.breach("a webhook was told of job %s, which nobody asked for", id)
		}
	}
}
