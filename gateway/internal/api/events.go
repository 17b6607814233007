package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/service"
)

// Ends of a stream that are not the job's.
var (
	errStopping      = errors.New("the gateway is stopping; connect again")
	errStreamTimeout = errors.New("the stream has reached its longest life; connect again")
)

const (
	// clientTimeout is how long one write to a watcher may take before the connection is cut.
	clientTimeout = 30 * time.Second
	// retryMS is what browsers are told to wait before they connect again.
	retryMS = 2000
	// storedPage is how many outcomes are read from the store at once.
	storedPage = 200
)

type eventsInput struct {
	ID          string `path:"id" doc:"Job id" maxLength:"64"`
	LastEventID string `header:"Last-Event-ID" doc:"id of the last event seen; the stream goes on after it" maxLength:"40"`

	client string
}

// Resolve implements huma.Resolver.
func (in *eventsInput) Resolve(ctx huma.Context) []error {
	in.client = service.Client(ctx.RemoteAddr())
	return nil
}

var _ huma.Resolver = (*eventsInput)(nil)

func (a *API) registerEvents() {
	op := a.operation("watch-job", http.MethodGet, "/v1/jobs/{id}/events", "Watch a job",
		"Server-sent events: `progress` (a stage has begun or finished a window), `token` (new text of an answer), `outcome`, and `end`, after which "+
			"the stream closes. `dropped` says why a stream closes before that. An event's id is its number in the log; connect again with it in "+
			"Last-Event-ID to go on. Outcomes that the log does not hold, not yet or no longer, are told from the job store, without an id; an id without an event may "+
			"follow, to go on from. An outcome may come twice after a reconnection; its `id` tells. Comments keep idle connections open.")
	op.Middlewares = huma.Middlewares{a.allowed, a.limited} // a stream outlives other requests
	schemas := a.huma.OpenAPI().Components.Schemas
	kinds := []*huma.Schema{
		schemas.Schema(typeOf[client.ProgressEvent](), true, ""), schemas.Schema(typeOf[client.TokenEvent](), true, ""),
		schemas.Schema(typeOf[client.Outcome](), true, ""), schemas.Schema(typeOf[client.EndEvent](), true, ""), schemas.Schema(typeOf[client.DroppedEvent](), true, ""),
	}
	op.Responses["200"] = &huma.Response{
		Description: "The events; data is one of these, by event",
		Headers: map[string]*huma.Param{client.HeaderHeartbeat: {
			Description: "Seconds between two comments on an idle stream. A stream that is silent for twice as long, and at least four seconds, is dead: connect again",
			Schema:      &huma.Schema{Type: huma.TypeNumber},
		}},
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{OneOf: kinds}}},
	}
	huma.Register(a.huma, op, a.events)
}

func (a *API) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	after := stream.FromStart
	if in.LastEventID != "" {
		n, err := strconv.ParseInt(in.LastEventID, 10, 64)
		if err != nil || n < 0 {
			return nil, problem(http.StatusBadRequest, codeInvalidRequest, "Last-Event-ID must be the id of an event of this stream")
		}
		after = n
	}
	j, err := a.peek(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if whose, limit := a.streams.take(in.client); limit > 0 {
		return nil, again(http.StatusTooManyRequests, codeTooManyStreams, 5, "%d streams %s are open, which is the limit", limit, whose)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer a.streams.give(in.client)
		if a.deps.Watching != nil && !j.State.Terminal() {
			defer a.deps.Watching(ctx, j.ID)()
		}
		_, w := humago.Unwrap(hctx)
		a.stream(ctx, w, j, after)
	}}, nil
}

// stream tells a job's events until its end, or until the watcher or the gateway goes.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, j store.Job, after int64) {
	out := newSSE(w, a.limits.Heartbeat)
	t := a.teller(out, j)
	a.tellStream(ctx, out, "job_id", j.ID, func(ctx context.Context) error { return t.run(ctx, after) })
}

// tellStream runs tell until it ends, or until the watcher or the gateway goes, and tells the watcher why a stream ends early. what and id name what is watched.
func (a *API) tellStream(ctx context.Context, out *sse, what, id string, tell func(context.Context) error) {
	err := a.whileOpen(ctx, tell)
	if reason := dropped(err); reason != nil {
		err = out.event("", client.EventDropped, reason)
	}
	out.close()
	if err != nil && ctx.Err() == nil {
		a.deps.Log.DebugContext(ctx, "event stream broke off", slog.String(what, id), slog.Any("error", err))
	}
}

// whileOpen runs tell until it ends, or until the watcher or the gateway goes, or for the longest life of a stream; the error says which.
func (a *API) whileOpen(ctx context.Context, tell func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, a.limits.StreamTimeout, errStreamTimeout)
	defer stop()
	go func() { // ends with ctx, which the caller's return cancels
		select {
		case <-a.closing:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	err := tell(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever call it was that ctx's end cut short
	}
	return err
}

// dropped is what the watcher is told when its stream ends before the job.
func dropped(err error) *client.DroppedEvent {
	switch {
	case errors.Is(err, stream.ErrLagging):
		return &client.DroppedEvent{Code: "stream_lagging", Message: "the watcher was too slow for the event buffer; connect again to go on from the job store"}
	case errors.Is(err, errStopping):
		return &client.DroppedEvent{Code: "server_stopping", Message: errStopping.Error()}
	case errors.Is(err, errStreamTimeout):
		return &client.DroppedEvent{Code: "stream_timeout", Message: errStreamTimeout.Error()}
	}
	return nil
}

// watcher takes what a teller tells of a job; data is one of the events of package client.
type watcher interface {
	open() error
	event(id, kind string, data any) error
	place(id string) error
	comment(text string) error
}

var _ watcher = (*sse)(nil)

// teller tells one watcher of one job.
type teller struct {
	api   *API
	out   watcher
	jobID string
	of    asked
	// told are the ids of the outcomes that the watcher has been given.
	told map[string]bool
}

func (a *API) teller(out watcher, j store.Job) *teller {
	return &teller{api: a, out: out, jobID: j.ID, of: askedOf(j), told: make(map[string]bool)}
}

// run tells events until the job's end (nil) or an error. If the hub gave the job's buffer up for other jobs, run watches the job again and
// tells from the store what it missed meanwhile.
func (t *teller) run(ctx context.Context, after int64) error {
	if err := t.out.open(); err != nil {
		return err
	}
	if after != stream.FromStart {
		t.awaitLog(ctx)
	}
	for {
		last, err := t.watch(ctx, after)
		if !errors.Is(err, stream.ErrEvicted) {
			return err
		}
		after = last
	}
}

// awaitLog waits until a gateway that has just started has read the log again, because the log holds the watcher's place. The wait is at most
// one heartbeat. If it is too short, the watcher is told some outcomes again, which does no harm.
func (t *teller) awaitLog(ctx context.Context) {
	if t.api.deps.LogRead == nil {
		return
	}
	timer := time.NewTimer(t.api.limits.Heartbeat)
	defer timer.Stop()
	select {
	case <-t.api.deps.LogRead:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// watch tells from one watcher of the hub and returns the number of the last event told.
func (t *teller) watch(ctx context.Context, after int64) (int64, error) {
	w := t.api.deps.Hub.Watch(t.jobID, after)
	maps.Copy(t.told, w.Past)
	if w.Gap {
		if err := t.stored(ctx, w.Held); err != nil {
			return after, err
		}
	}
	ticker := time.NewTicker(t.api.limits.Heartbeat)
	defer ticker.Stop()
	ended, err := t.ended(ctx)
	for err == nil {
		idle := ticker.C
		if ended {
			idle = closedTimer // what the buffer holds, and no waiting for more
		}
		var item stream.Item
		if item, err = w.Next(ctx, idle); err != nil {
			break
		}
		switch {
		case item.Event != nil:
			after = item.Offset
			if end := item.Event.GetEnded(); end != nil {
				return after, t.finish(ctx, strconv.FormatInt(after, 10), endView(end))
			}
			err = t.tell(item)
		case ended:
			return after, t.finishStored(ctx)
		default:
			if err = t.out.comment("still here"); err == nil {
				ended, err = t.ended(ctx)
			}
		}
	}
	return after, err
}

// closedTimer fires at once, always.
var closedTimer = func() <-chan time.Time { c := make(chan time.Time); close(c); return c }()

// ended tells whether the job has ended in the store. The log may not say so: the event of the end may be late, it may be lost with the
// process that was to send it, or the log may have dropped it already.
func (t *teller) ended(ctx context.Context) (bool, error) {
	j, err := t.api.deps.Store.Peek(ctx, t.jobID)
	return err == nil && j.State.Terminal(), err
}

func (t *teller) tell(item stream.Item) error {
	id := strconv.FormatInt(item.Offset, 10)
	switch ev := item.Event; body := ev.GetBody().(type) {
	case *eventpb.Event_Progress:
		p := body.Progress
		return t.out.event(id, client.EventProgress, client.ProgressEvent{
			Stage: p.GetStage(), Window: int(p.GetWindowIndex()), Status: p.GetStatus(), MS: p.GetMs(), Windows: int(p.GetWindows()),
		})
	case *eventpb.Event_Token:
		d := body.Token
		return t.out.event(id, client.EventToken, client.TokenEvent{
			Question: int(d.GetQuestionIndex()), Window: int(d.GetWindowIndex()), Seq: int(d.GetSeq()), Text: d.GetText(),
		})
	case *eventpb.Event_Outcome:
		return t.outcome(id, body.Outcome)
	}
	return nil // an event of a newer version: not for this watcher
}

// outcome tells an outcome once. An outcome that the job store told first, without an id, has one when its event comes in from the
// log: the watcher is then given the id alone, so that it can go on from there.
func (t *teller) outcome(id string, o *eventpb.Outcome) error {
	if t.told[o.GetOutcomeId()] {
		return t.out.place(id)
	}
	t.told[o.GetOutcomeId()] = true
	return t.out.event(id, client.EventOutcome, t.api.outcomeView(t.of, o))
}

// stored tells the outcomes of the store that have not been told and are not held for later.
func (t *teller) stored(ctx context.Context, held map[string]bool) error {
	for last := 0; ; {
		page, next, err := t.api.deps.Store.Outcomes(ctx, t.jobID, last, storedPage)
		if err != nil {
			return err
		}
		for _, o := range page {
			if held[o.GetOutcomeId()] {
				continue
			}
			if err := t.outcome("", o); err != nil {
				return err
			}
		}
		if len(page) < storedPage {
			return nil
		}
		last = next
	}
}

// finish tells whatever outcome has not been told, then the end. The number of outcomes told does not say whether one is missing: an outcome of a
// window that the plan does not have is told, too, if it comes before the plan.
func (t *teller) finish(ctx context.Context, id string, end client.EndEvent) error {
	if err := t.stored(ctx, nil); err != nil {
		return err
	}
	return t.out.event(id, client.EventEnd, end)
}

// finishStored tells the end as the store knows it.
func (t *teller) finishStored(ctx context.Context) error {
	j, err := t.api.deps.Store.Peek(ctx, t.jobID)
	if err != nil {
		return err
	}
	return t.finish(ctx, "", storedEnd(j))
}

func storedEnd(j store.Job) client.EndEvent {
	return client.EndEvent{State: string(j.State), Answered: j.Answered, Failed: j.Failed, Cancelled: j.Cancelled}
}

func endView(e *eventpb.JobEnded) client.EndEvent {
	return client.EndEvent{State: e.GetState(), Answered: int(e.GetAnswered()), Failed: int(e.GetFailed()), Cancelled: int(e.GetCancelled())}
}

// sse writes server-sent events.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
type sse struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	heartbeat time.Duration
}

func newSSE(w http.ResponseWriter, heartbeat time.Duration) *sse {
	return &sse{w: w, rc: http.NewResponseController(w), heartbeat: heartbeat}
}

func (s *sse) open() error {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set(client.HeaderHeartbeat, strconv.FormatFloat(s.heartbeat.Seconds(), 'f', -1, 64))
	s.w.WriteHeader(http.StatusOK)
	return s.write(fmt.Appendf(nil, "retry: %d\n\n", retryMS))
}

// close takes the write deadline off the connection, which may serve other requests.
func (s *sse) close() { _ = s.rc.SetWriteDeadline(time.Time{}) }

// event writes one event; an empty id leaves the watcher's last id as it is.
func (s *sse) event(id, kind string, data any) error {
	body, err := json.Marshal(data) // one line: JSON escapes line ends
	if err != nil {
		return fmt.Errorf("encoding %s event: %w", kind, err)
	}
	var b []byte
	if id != "" {
		b = fmt.Appendf(b, "id: %s\n", id)
	}
	return s.write(fmt.Appendf(b, "event: %s\ndata: %s\n\n", kind, body))
}

// place moves the watcher's last id on without an event: a block of an id alone does that.
func (s *sse) place(id string) error {
	if id == "" {
		return nil
	}
	return s.write(fmt.Appendf(nil, "id: %s\n\n", id))
}

func (s *sse) comment(text string) error { return s.write([]byte(": " + text + "\n\n")) }

func (s *sse) write(b []byte) error {
	// Where deadlines are not supported (tests), the request's context bounds the write.
	if err := s.rc.SetWriteDeadline(time.Now().Add(clientTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("setting write deadline: %w", err)
	}
	if _, err := s.w.Write(b); err != nil {
		return fmt.Errorf("writing event: %w", err)
	}
	return s.rc.Flush()
}
