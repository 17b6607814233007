package api

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/service"
)

const (
	// runPeriod is how often a watched run is looked at.
	runPeriod = time.Second
	// failedPage is how many failures are read at once.
	failedPage = 200
)

type runEventsInput struct {
	ID          string `path:"id" doc:"Id or name of a run" maxLength:"100"`
	LastEventID string `header:"Last-Event-ID" doc:"id of the last event seen: failures after it are told; 0 = all failures; left out = those from now on" maxLength:"40"`

	client string
}

// Resolve implements huma.Resolver.
func (in *runEventsInput) Resolve(ctx huma.Context) []error {
	in.client = service.Client(ctx.RemoteAddr())
	return nil
}

var _ huma.Resolver = (*runEventsInput)(nil)

func (a *API) registerRunEvents() {
	op := a.operation("watch-run", http.MethodGet, "/v1/runs/{id}/events", "Watch a run",
		"Server-sent events: `progress` (counts have changed), `state` (the state or its reason has), both with the run as it is; `item`, an item that has failed in whole or "+
			"in part; and `end`, after which the stream closes. `dropped` says why a stream closes before that. The first event is `state`. Only failures have ids: connect again, to any "+
			"gateway, with the last one in Last-Event-ID. Comments keep idle connections open.")
	op.Tags = []string{"runs"}
	op.Middlewares = huma.Middlewares{a.allowed, a.limited} // a stream outlives other requests
	schemas := a.huma.OpenAPI().Components.Schemas
	op.Responses["200"] = &huma.Response{
		Description: "The events; data is one of these, by event",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			schemas.Schema(typeOf[client.Run](), true, ""), schemas.Schema(typeOf[client.RunItem](), true, ""), schemas.Schema(typeOf[client.DroppedEvent](), true, ""),
		}}}},
	}
	huma.Register(a.huma, op, a.runEvents)
}

func (a *API) runEvents(ctx context.Context, in *runEventsInput) (*huma.StreamResponse, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after := r.LastSeq
	if in.LastEventID != "" {
		if after, err = strconv.Atoi(in.LastEventID); err != nil || after < 0 {
			return nil, problem(http.StatusBadRequest, codeInvalidRequest, "Last-Event-ID must be the id of an event of this stream")
		}
	}
	if whose, limit := a.streams.take(in.client); limit > 0 {
		return nil, again(http.StatusTooManyRequests, codeTooManyStreams, 5, "%d streams %s are open, which is the limit", limit, whose)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer a.streams.give(in.client)
		_, w := humago.Unwrap(hctx)
		t := &runTeller{api: a, out: newSSE(w, a.limits.Heartbeat), id: r.ID, after: after}
		a.tellStream(ctx, t.out, "run_id", r.ID, t.run)
	}}, nil
}

// runTeller tells one watcher of one run what the job store says, so that any gateway can.
type runTeller struct {
	api      *API
	out      *sse
	id       string
	after    int // number of the last failure told
	last     store.Run
	failures map[string]int
}

func (t *runTeller) run(ctx context.Context) error {
	if err := t.out.open(); err != nil {
		return err
	}
	if err := t.out.place(strconv.Itoa(t.after)); err != nil { // to go on from, before anything fails
		return err
	}
	ticker := time.NewTicker(runPeriod)
	defer ticker.Stop()
	for quiet := time.Now(); ; {
		told, ended, err := t.look(ctx)
		if err != nil || ended {
			return err
		}
		if told {
			quiet = time.Now()
		} else if time.Since(quiet) >= t.api.limits.Heartbeat-runPeriod/2 {
			if err := t.out.comment("still here"); err != nil {
				return err
			}
			quiet = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// look tells what has changed since the last look.
func (t *runTeller) look(ctx context.Context) (told, ended bool, err error) {
	r, err := t.api.deps.Runs.GetRun(ctx, t.id)
	if err != nil {
		return false, false, err
	}
	for {
		items, err := t.api.deps.Runs.FailedItems(ctx, t.id, t.after, failedPage)
		if err != nil {
			return told, false, err
		}
		for _, it := range items {
			if err := t.out.event(strconv.Itoa(it.Seq), client.EventItem, itemView(it)); err != nil {
				return true, false, err
			}
			t.after, told = it.Seq, true
		}
		if len(items) < failedPage {
			break
		}
	}
	if r.LastSeq != t.last.LastSeq || t.failures == nil {
		if t.failures, err = t.api.deps.Runs.RunFailures(ctx, t.id); err != nil {
			return told, false, err
		}
	}
	kind := ""
	switch before := t.last; {
	case r.State.Terminal():
		kind = client.EventEnd
	case r.State != before.State || r.Reason != before.Reason:
		kind = client.EventState
	case !maps.Equal(r.Counts, before.Counts) || r.Cost != before.Cost || r.Items != before.Items:
		kind = client.EventProgress
	}
	t.last = r
	if kind == "" {
		return told, false, nil
	}
	return true, kind == client.EventEnd, t.out.event("", kind, t.api.runView(r, t.failures))
}
