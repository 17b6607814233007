package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/dead"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
)

const (
	defaultDeadOrder = 500
	// maxSuperseded outcomes of a job are listed.
	maxSuperseded = 1000
)

// SupersedeStore is what the API needs of the job store for outcomes that are replaced.
type SupersedeStore interface {
	AllowSupersede(ctx context.Context, jobID, who string) error
	Superseded(ctx context.Context, jobID string, limit int) ([]store.Superseded, error)
}

// caller is the client that asks.
type caller struct{ who string }

// Resolve implements huma.Resolver.
func (c *caller) Resolve(ctx huma.Context) []error {
	c.who = service.Client(ctx.RemoteAddr())
	return nil
}

type deadListInput struct {
	Reason string    `query:"reason" doc:"Only letters with this reason, such as engine_error" maxLength:"100"`
	Stage  string    `query:"stage" doc:"Only letters of this stage" enum:"chunker,encoder,projector,llm,recorder"`
	Job    string    `query:"job" doc:"Only letters of this job" maxLength:"64"`
	Since  time.Time `query:"since" doc:"Not older than this"`
	Until  time.Time `query:"until" doc:"Older than this"`
	All    bool      `query:"all" doc:"Also letters that were sent back or purged"`
	Cursor string    `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int       `query:"limit" doc:"Letters per page" minimum:"1" maximum:"500" default:"100"`
}

type deadListOutput struct{ Body client.DeadList }

type deadInput struct {
	ID string `path:"id" doc:"Id of a dead letter" maxLength:"40"`
}

type deadOutput struct{ Body client.DeadLetter }

type deadOrderInput struct {
	caller
	Body client.DeadOrder
}

type deadResultOutput struct{ Body client.DeadResult }

type supersedeInput struct {
	caller
	ID string `path:"id" doc:"Job id" maxLength:"64"`
}

type supersededOutput struct{ Body client.SupersededList }

func (a *API) registerDead() {
	op := func(id, method, path, summary, description string) huma.Operation {
		o := a.operation(id, method, path, summary, description)
		o.Tags = []string{"dead letters"}
		return o
	}
	huma.Register(a.huma, op("list-dead-letters", http.MethodGet, "/v1/dead", "List dead letters",
		"Records that stages have given up, the oldest first, in pages."), a.listDead)
	huma.Register(a.huma, op("get-dead-letter", http.MethodGet, "/v1/dead/{id}", "Get a dead letter", "One letter with its record."), a.getDead)
	huma.Register(a.huma, op("redrive-dead-letters", http.MethodPost, "/v1/dead/redrive", "Send dead letters back",
		"Publishes the selected records again on the topics that they came from. Each keeps its origin and counts how often it was sent back, at most three times. "+
			"A letter of a job that does not allow its outcomes to be replaced is refused."), a.redriveDead)
	huma.Register(a.huma, op("purge-dead-letters", http.MethodPost, "/v1/dead/purge", "Purge dead letters",
		"Hides the selected letters for good, and deletes them from the topic as far as no letter before them is left."), a.purgeDead)
	huma.Register(a.huma, a.operation("supersede-outcomes", http.MethodPost, "/v1/jobs/{id}/supersede", "Allow outcomes to be replaced",
		"From now on an answer may replace an outcome of the job that was given up (failed). The old one is kept. Asking again changes nothing."), a.allowSupersede)
	huma.Register(a.huma, a.operation("list-superseded", http.MethodGet, "/v1/jobs/{id}/superseded", "List outcomes that were replaced",
		"The oldest first, at most 1000."), a.superseded)
}

func (a *API) listDead(ctx context.Context, in *deadListInput) (*deadListOutput, error) {
	from, err := deadCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	f := client.DeadFilter{Reason: in.Reason, Stage: in.Stage, Job: in.Job, Since: in.Since, Until: in.Until}
	letters, next, err := a.deps.Dead.List(ctx, f, in.All, from, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	return &deadListOutput{Body: client.DeadList{Letters: letters, Next: nextDead(next)}}, nil
}

func (a *API) getDead(ctx context.Context, in *deadInput) (*deadOutput, error) {
	d, err := a.deps.Dead.Show(ctx, in.ID)
	if err != nil {
		return nil, a.failDead(ctx, err)
	}
	return &deadOutput{Body: d}, nil
}

func (a *API) redriveDead(ctx context.Context, in *deadOrderInput) (*deadResultOutput, error) {
	return a.order(ctx, in, a.deps.Dead.Redrive)
}

func (a *API) purgeDead(ctx context.Context, in *deadOrderInput) (*deadResultOutput, error) {
	return a.order(ctx, in, a.deps.Dead.Purge)
}

func (a *API) order(ctx context.Context, in *deadOrderInput,
	do func(context.Context, client.DeadOrder, kafka.Place, string) (client.DeadResult, *kafka.Place, error),
) (*deadResultOutput, error) {
	o := in.Body
	if len(o.IDs) == 0 && o.DeadFilter == (client.DeadFilter{}) && !o.Everything {
		return nil, invalid(codeDeadSelection, "name letters by ids, select them by reason, stage, job, since or until, or set everything")
	}
	if o.Limit == 0 {
		o.Limit = defaultDeadOrder
	}
	from, err := deadCursor(o.Cursor)
	if err != nil {
		return nil, err
	}
	result, next, err := do(ctx, o, from, in.who)
	if err != nil {
		return nil, a.failDead(ctx, err)
	}
	result.Next = nextDead(next)
	return &deadResultOutput{Body: result}, nil
}

// failDead turns an error into a problem.
func (a *API) failDead(ctx context.Context, err error) error {
	if errors.Is(err, dead.ErrNotFound) {
		return problem(http.StatusNotFound, codeDeadNotFound, "%s", err)
	}
	return a.fail(ctx, err)
}

func (a *API) allowSupersede(ctx context.Context, in *supersedeInput) (*jobOutput, error) {
	j, err := a.peek(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.deps.Supersede.AllowSupersede(ctx, j.ID, in.who); err != nil {
		return nil, a.fail(ctx, err)
	}
	a.deps.Log.InfoContext(ctx, "outcomes of a job may be replaced", "job_id", j.ID, "who", in.who)
	return &jobOutput{Body: a.jobSummary(ctx, j)}, nil
}

func (a *API) superseded(ctx context.Context, in *jobInput) (*supersededOutput, error) {
	j, err := a.peek(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Supersede.Superseded(ctx, j.ID, maxSuperseded)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &supersededOutput{Body: client.SupersededList{Superseded: []client.SupersededOutcome{}}}
	for _, s := range found {
		out.Body.Superseded = append(out.Body.Superseded, a.supersededView(j, s))
	}
	return out, nil
}

func (a *API) supersededView(j store.Job, s store.Superseded) client.SupersededOutcome {
	return client.SupersededOutcome{Outcome: a.outcomeView(askedOf(j), s.Outcome), Seq: s.Seq, SupersededBy: s.By, SupersededAt: s.At}
}

// deadCursor is the place that a cursor stands for.
func deadCursor(cursor string) (kafka.Place, error) {
	text, err := openCursor("d", cursor)
	if err != nil || text == "" {
		return kafka.Place{}, err
	}
	at, err := dead.ParseID(text)
	if err != nil {
		return kafka.Place{}, errCursor()
	}
	return at, nil
}

func nextDead(at *kafka.Place) *string {
	if at == nil {
		return nil
	}
	return makeCursor("d", dead.ID(*at))
}
