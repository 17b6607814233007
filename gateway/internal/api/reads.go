package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// jobIDPattern is what may be looked up; anything else cannot exist.
var jobIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// cursorPattern is a place in a list: a number, a number and a job's id, or a partition and an offset.
var cursorPattern = regexp.MustCompile(`^[0-9]{1,19}(\.[A-Za-z0-9._-]{1,64}|-[0-9]{1,19})?$`)

type jobInput struct {
	ID string `path:"id" doc:"Job id" maxLength:"64"`
}

type jobOutput struct {
	Body client.Job
}

type listInput struct {
	State  string    `query:"state" doc:"Only jobs in this state" enum:"queued,running,cancelling,succeeded,partial,failed,cancelled"`
	Lane   string    `query:"lane" doc:"Only jobs of this lane" enum:"interactive,bulk"`
	Since  time.Time `query:"since" doc:"Only jobs made at this time or later"`
	Until  time.Time `query:"until" doc:"Only jobs made before this time"`
	Label  string    `query:"label" doc:"Only jobs with this label: name=value" maxLength:"200" pattern:"^[A-Za-z0-9._/-]{1,64}=" example:"album=blue"`
	Cursor string    `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int       `query:"limit" doc:"Jobs per page" minimum:"1" maximum:"100" default:"20"`
	Key    string    `query:"idempotency_key" doc:"Only the job that a submission with this Idempotency-Key made; 409 while one is being handled" maxLength:"200"`
}

type listOutput struct {
	Body client.JobList
}

type outcomesInput struct {
	ID     string `path:"id" doc:"Job id" maxLength:"64"`
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Outcomes per page" minimum:"1" maximum:"500" default:"100"`
}

type outcomesOutput struct {
	Body client.OutcomeList
}

func (a *API) registerReads() {
	huma.Register(a.huma, a.operation("list-jobs", http.MethodGet, "/v1/jobs", "List jobs",
		"Newest first, in pages."), a.list)
	huma.Register(a.huma, a.operation("get-job", http.MethodGet, "/v1/jobs/{id}", "Get a job",
		"State, counts, windows, coverage and timings of a job."), a.get)
	huma.Register(a.huma, a.operation("list-outcomes", http.MethodGet, "/v1/jobs/{id}/outcomes", "List a job's outcomes",
		"In the order in which they were recorded, in pages. The cursor stays good while the job runs: ask again with it for what came since."), a.outcomes)
}

func (a *API) get(ctx context.Context, in *jobInput) (*jobOutput, error) {
	j, err := a.job(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: a.jobView(ctx, j, a.deps.Hub.Progress(j.ID))}, nil
}

// job reads a job, with a problem as its error.
func (a *API) job(ctx context.Context, id string) (store.Job, error) {
	if !jobIDPattern.MatchString(id) {
		return store.Job{}, a.fail(ctx, store.ErrNotFound)
	}
	return a.owned(ctx)(a.deps.Store.Get(ctx, id))
}

// owned hides jobs of other tenants: what they have does not exist for the caller.
func (a *API) owned(ctx context.Context) func(store.Job, error) (store.Job, error) {
	return func(j store.Job, err error) (store.Job, error) {
		if err == nil && j.Tenant != tenantOf(ctx) {
			err = store.ErrNotFound
		}
		if err != nil {
			return store.Job{}, a.fail(ctx, err)
		}
		return j, nil
	}
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	if in.Key != "" {
		return a.jobOfKey(ctx, in.Key)
	}
	after, err := openPlace(in.Cursor)
	if err != nil {
		return nil, err
	}
	label, value, _ := strings.Cut(in.Label, "=")
	jobs, err := a.deps.Store.List(ctx, store.ListQuery{Tenant: tenantOf(ctx), Lane: in.Lane, Since: in.Since, Until: in.Until, Label: label, LabelValue: value, State: store.State(in.State), After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &listOutput{Body: client.JobList{Jobs: []client.Job{}}}
	if len(jobs) > in.Limit {
		jobs = jobs[:in.Limit]
		out.Body.Next = makePlace(jobs[in.Limit-1])
	}
	for _, j := range jobs {
		out.Body.Jobs = append(out.Body.Jobs, a.jobSummary(ctx, j))
	}
	return out, nil
}

// jobOfKey lists the job that a submission with an idempotency key made: who was interrupted in a submission learns what became of it.
func (a *API) jobOfKey(ctx context.Context, key string) (*listOutput, error) {
	out := &listOutput{Body: client.JobList{Jobs: []client.Job{}}}
	id, err := a.deps.Store.KeyJob(ctx, tenantOf(ctx), key)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	j, err := a.job(ctx, id)
	if err != nil {
		return nil, err
	}
	out.Body.Jobs = append(out.Body.Jobs, a.jobSummary(ctx, j))
	return out, nil
}

func (a *API) outcomes(ctx context.Context, in *outcomesInput) (*outcomesOutput, error) {
	text, err := openCursor("o", in.Cursor)
	if err != nil {
		return nil, err
	}
	after := 0
	if text != "" {
		if after, err = strconv.Atoi(text); err != nil || after < 0 {
			return nil, errCursor()
		}
	}
	j, err := a.peek(ctx, in.ID) // before the outcomes: whatever an ended job has is there to be read
	if err != nil {
		return nil, err
	}
	found, last, err := a.deps.Store.Outcomes(ctx, j.ID, after, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	more := !j.State.Terminal()
	if !more && len(found) == in.Limit { // the numbers of outcomes may have gaps, so that they do not tell how many are left
		rest, _, err := a.deps.Store.Outcomes(ctx, j.ID, last, 1)
		if err != nil {
			return nil, a.fail(ctx, err)
		}
		more = len(rest) > 0
	}
	out := &outcomesOutput{Body: client.OutcomeList{Outcomes: []client.Outcome{}}}
	for _, o := range found {
		out.Body.Outcomes = append(out.Body.Outcomes, a.outcomeView(askedOf(j), o))
	}
	if more {
		out.Body.Next = makeCursor("o", strconv.Itoa(last))
	}
	return out, nil
}

// peek reads a job without its lists, with a problem as its error.
func (a *API) peek(ctx context.Context, id string) (store.Job, error) {
	if !jobIDPattern.MatchString(id) {
		return store.Job{}, a.fail(ctx, store.ErrNotFound)
	}
	return a.owned(ctx)(a.deps.Store.Peek(ctx, id))
}

func (a *API) registerCancel() {
	op := a.operation("cancel-job", http.MethodPost, "/v1/jobs/{id}/cancel", "Cancel a job",
		"Work not yet started is never done; its questions end as cancelled. A job that still waits for its turn ends at once, and no stage hears of it. Cancelling again changes nothing. "+
			"A job that has ended by itself is 409 `job_ended`, with its state.")
	op.DefaultStatus = http.StatusAccepted
	huma.Register(a.huma, op, a.cancel)
}

func (a *API) cancel(ctx context.Context, in *jobInput) (*jobOutput, error) {
	j, err := a.peek(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := cancellable(j); err != nil {
		return nil, err
	}
	if j, err = outbox.Cancel(ctx, a.deps.Store, j, a.now()); err != nil {
		return nil, a.fail(ctx, err)
	}
	if err := cancellable(j); err != nil { // it has ended in between
		return nil, err
	}
	a.deps.Wake()
	return &jobOutput{Body: a.jobSummary(ctx, j)}, nil
}

// cancellable refuses a job that has ended without having been cancelled. Cancelling one that was cancelled changes nothing.
func cancellable(j store.Job) error {
	if !j.State.Terminal() || !j.CancelAsked.IsZero() {
		return nil
	}
	return problem(http.StatusConflict, codeJobEnded, "the job has ended: its state is %s", j.State)
}

func (a *API) registerDelete() {
	op := a.operation("delete-job", http.MethodDelete, "/v1/jobs/{id}", "Delete a job",
		"Deletes a job that has ended, with its outcomes. Deleting it again changes nothing. Its audio and embeddings stay until the object store needs the space. Jobs go by themselves "+
			"after the gateway's `retention`.")
	op.DefaultStatus = http.StatusNoContent
	huma.Register(a.huma, op, func(ctx context.Context, in *jobInput) (*struct{}, error) {
		j, err := a.peek(ctx, in.ID)
		if err != nil {
			return nil, a.unlessDeleted(ctx, in.ID, err)
		}
		if err := a.deps.Store.Delete(ctx, j.ID); err != nil {
			return nil, a.fail(ctx, err)
		}
		return nil, nil
	})
}

// unlessDeleted is err, or nil for a job that the tenant has deleted before: deleting again changes nothing.
func (a *API) unlessDeleted(ctx context.Context, id string, err error) error {
	var p *client.Problem
	if !errors.As(err, &p) || p.Code != codeJobNotFound {
		return err
	}
	before, fault := a.deps.Admin.Deleted(ctx, tenantOf(ctx), "delete-job", "/v1/jobs/"+id)
	switch {
	case fault != nil:
		return a.fail(ctx, fault)
	case before:
		return nil
	}
	return err
}

// cursorGrammar is the form of every cursor; what it means is the list's own.
const cursorGrammar = "^[A-Za-z0-9_-]*$"

// makeCursor makes an opaque cursor. The kind keeps a cursor of one list out of another.
func makeCursor(kind, position string) *string {
	s := base64.RawURLEncoding.EncodeToString([]byte(kind + ":" + position))
	return &s
}

func openCursor(kind, cursor string) (string, error) {
	return openCursorOf(kind, cursor, cursorPattern)
}

// openNumber is the number of the item that a cursor leads behind, 0 for no cursor.
func openNumber(kind, cursor string) (int, error) {
	text, err := openCursor(kind, cursor)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errCursor()
	}
	return n, nil
}

func openCursorOf(kind, cursor string, form *regexp.Regexp) (string, error) {
	if cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", errCursor()
	}
	position, ok := strings.CutPrefix(string(raw), kind+":")
	if !ok || !form.MatchString(position) {
		return "", errCursor()
	}
	return position, nil
}

// makePlace makes the cursor that leads to the jobs behind j.
func makePlace(j store.Job) *string {
	return makeCursor("j", strconv.FormatInt(j.Created.UnixMilli(), 10)+"."+j.ID)
}

func openPlace(cursor string) (store.Place, error) {
	text, err := openCursor("j", cursor)
	if err != nil || text == "" {
		return store.Place{}, err
	}
	created, id, found := strings.Cut(text, ".")
	ms, err := strconv.ParseInt(created, 10, 64)
	if err != nil || !found || id == "" {
		return store.Place{}, errCursor()
	}
	return store.Place{Created: time.UnixMilli(ms), ID: id}, nil
}

func errCursor() error {
	return problem(http.StatusBadRequest, codeCursorInvalid, "cursor is not one that this list gave out")
}
