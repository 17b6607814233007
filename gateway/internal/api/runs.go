package api

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/vectors"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
)

// RunStore is the part of the job store that runs need.
type RunStore interface {
	CreateRun(ctx context.Context, r store.Run) error
	AddItems(ctx context.Context, runID string, items []store.Item) (int, error)
	SealRun(ctx context.Context, id string) (store.Run, error)
	PauseRun(ctx context.Context, id, reason string) (store.Run, error)
	ResumeRun(ctx context.Context, id string) (store.Run, error)
	CancelRun(ctx context.Context, id string) (store.Run, error)
	RetryRun(ctx context.Context, id, code string) (store.Run, int, error)
	GetRun(ctx context.Context, id string) (store.Run, error)
	FindRun(ctx context.Context, tenant, name string) (store.Run, error)
	ListRuns(ctx context.Context, tenant string, after store.Place, limit int) ([]store.Run, error)
	RunItems(ctx context.Context, runID string, state store.ItemState, after, limit int) ([]store.Item, error)
	ItemsOf(ctx context.Context, runID string, ids []string) (map[string]store.Item, error)
	ItemAt(ctx context.Context, runID, uri string) (store.Item, bool, error)
	Vectors(ctx context.Context, runID string, after, limit int) ([]store.ItemVector, error)
	vectors.Store
	RunFailures(ctx context.Context, runID string) (map[string]int, error)
	OutcomesOf(ctx context.Context, jobIDs []string) (map[string][]*eventpb.Outcome, error)
	FailedItems(ctx context.Context, runID string, after, limit int) ([]store.Item, error)
	MeasuredRates(ctx context.Context, tenant, modelDigest, schema string) (store.Rates, error)
}

// Bounds of what a manifest may say of an item.
const (
	maxFields     = 32
	maxFieldName  = 64
	maxFieldBytes = 512
)

type runInput struct {
	ID string `path:"id" doc:"Id or name of a run" maxLength:"100"`
}

type runOutput struct{ Body client.Run }

type createRunInput struct{ Body client.RunSubmission }

type createRunOutput struct {
	Location string `header:"Location" doc:"Address of the run"`
	Body     client.Run
}

type addItemsInput struct {
	ID   string `path:"id" doc:"Id or name of a run" maxLength:"100"`
	Body client.ItemList
}

type addItemsOutput struct{ Body client.AddedItems }

type retryRunInput struct {
	ID   string `path:"id" doc:"Id or name of a run" maxLength:"100"`
	Code string `query:"code" doc:"Only items with this code" maxLength:"64"`
}

type retryRunOutput struct{ Body client.RetryResult }

type listRunsInput struct {
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Runs per page" minimum:"1" maximum:"100" default:"20"`
}

type listRunsOutput struct{ Body client.RunList }

type runItemsInput struct {
	ID       string `path:"id" doc:"Id or name of a run" maxLength:"100"`
	State    string `query:"state" doc:"Only items in this state" enum:"pending,running,succeeded,partial,failed,cancelled,skipped"`
	Outcomes bool   `query:"outcomes" doc:"With the outcomes of each item's last job"`
	Cursor   string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit    int    `query:"limit" doc:"Items per page" minimum:"1" maximum:"500" default:"100"`
}

type runItemsOutput struct{ Body client.RunItemList }

func (a *API) registerRuns() {
	op := func(id, method, path, summary, description string) huma.Operation {
		o := a.operation(id, method, path, summary, description)
		o.Tags = []string{"runs"}
		return o
	}
	create := op("create-run", http.MethodPost, "/v1/runs", "Create a run",
		"A run asks the same questions about each track of a catalogue. Create it, add items, start it. Audio is read where it lies.")
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create, a.createRun)
	huma.Register(a.huma, op("list-runs", http.MethodGet, "/v1/runs", "List runs", "Newest first, in pages."), a.listRuns)
	huma.Register(a.huma, op("get-run", http.MethodGet, "/v1/runs/{id}", "Get a run", "State, counts and failures by code."), a.getRun)
	add := op("add-run-items", http.MethodPost, "/v1/runs/{id}/items", "Add items", "At most 1000 at a time, until the run is started. Adding an item again changes nothing.")
	add.MaxBodyBytes = 8 << 20
	huma.Register(a.huma, add, a.addItems)
	huma.Register(a.huma, op("list-run-items", http.MethodGet, "/v1/runs/{id}/items", "List items", "In the order of the manifest, in pages."), a.runItems)
	for verb, do := range map[string]struct {
		summary, description string
		move                 func(ctx context.Context, id string) (store.Run, error)
	}{
		"start":  {"Start a run", "No items can be added from then on. Starting again changes nothing.", a.deps.Runs.SealRun},
		"pause":  {"Pause a run", "No more items are started; items in hand go on.", func(ctx context.Context, id string) (store.Run, error) { return a.deps.Runs.PauseRun(ctx, id, "") }},
		"resume": {"Resume a run", "A run that has paused itself goes on without the limits that it has passed.", a.deps.Runs.ResumeRun},
		"cancel": {"Cancel a run", "Items that have not started never do; the jobs of the others are cancelled. Cancelling again changes nothing.", a.deps.Runs.CancelRun},
	} {
		huma.Register(a.huma, op(verb+"-run", http.MethodPost, "/v1/runs/{id}/"+verb, do.summary, do.description), func(ctx context.Context, in *runInput) (*runOutput, error) {
			return a.moveRun(ctx, in, do.move)
		})
	}
	huma.Register(a.huma, op("retry-run", http.MethodPost, "/v1/runs/{id}/retry", "Retry items of a run",
		"Takes up the items that have failed in whole or in part once more. What is known of them already is not computed again."), a.retryRun)
}

func (a *API) createRun(ctx context.Context, in *createRunInput) (*createRunOutput, error) {
	run, err := a.newRun(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if err := a.deps.Runs.CreateRun(ctx, run); err != nil {
		return nil, a.fail(ctx, err)
	}
	return &createRunOutput{Location: "/v1/runs/" + run.ID, Body: a.runView(run, nil)}, nil
}

// newRun is the run of a submission, which it checks.
func (a *API) newRun(ctx context.Context, sub client.RunSubmission) (store.Run, error) {
	asked := request{Submission: client.Submission{Questions: sub.Questions, Options: sub.Options, Plan: sub.Plan, Decode: sub.Decode}}
	asked.Lane = ""
	for _, check := range []func(*request) error{validateOptions, a.validateQuestions, a.validatePlan, validateDecode} {
		if err := check(&asked); err != nil {
			return store.Run{}, err
		}
	}
	if sub.MaxCost > 0 && a.deps.Prices.Currency == "" {
		return store.Run{}, invalid(codePricesMissing, "max_cost needs prices, and the operator has configured none: set prices.currency and the prices of the gateway, or limit the run with max_audio_s")
	}
	run := store.Run{ID: a.deps.NewID(), Tenant: tenantOf(ctx), Name: sub.Name, State: store.RunLoading, Created: a.now().UTC().Truncate(time.Millisecond), Spec: store.RunSpec{
		Questions: asked.Questions, Plan: asked.Plan, Options: asked.Options,
		MaxFailures: sub.MaxFailures, MaxAudioS: sub.MaxAudioS, MaxCost: sub.MaxCost, ChangedSince: sub.ChangedSince, ModelDigest: sub.ModelDigest,
	}}
	if sub.Decode != nil {
		run.Spec.Decode = *sub.Decode
	}
	if sub.ChangedSince != "" {
		before, err := a.run(ctx, sub.ChangedSince)
		if err != nil {
			return store.Run{}, err
		}
		run.Spec.ChangedSince = before.ID
	}
	return run, nil
}

// run reads a run by id or name, with a problem as its error.
func (a *API) run(ctx context.Context, id string) (store.Run, error) {
	r, err := a.deps.Runs.GetRun(ctx, id)
	if err == nil && r.Tenant != tenantOf(ctx) {
		err = store.ErrRunNotFound // what others have does not exist for the caller
	}
	if errors.Is(err, store.ErrRunNotFound) {
		r, err = a.deps.Runs.FindRun(ctx, tenantOf(ctx), id)
	}
	if err != nil {
		return store.Run{}, a.failRun(ctx, err)
	}
	return r, nil
}

func (a *API) failRun(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrRunNotFound):
		return problem(http.StatusNotFound, codeRunNotFound, "there is no such run")
	case errors.Is(err, store.ErrRunState):
		return problem(http.StatusConflict, codeRunState, "%s", err)
	}
	return a.fail(ctx, err)
}

func (a *API) getRun(ctx context.Context, in *runInput) (*runOutput, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	failures, err := a.deps.Runs.RunFailures(ctx, r.ID)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	return &runOutput{Body: a.runView(r, failures)}, nil
}

func (a *API) listRuns(ctx context.Context, in *listRunsInput) (*listRunsOutput, error) {
	after, err := openPlace(in.Cursor)
	if err != nil {
		return nil, err
	}
	runs, err := a.deps.Runs.ListRuns(ctx, tenantOf(ctx), after, in.Limit+1)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	out := &listRunsOutput{Body: client.RunList{Runs: []client.Run{}}}
	if len(runs) > in.Limit {
		runs = runs[:in.Limit]
		last := runs[in.Limit-1]
		out.Body.Next = makePlace(store.Job{JobSpec: event.JobSpec{ID: last.ID, Created: last.Created}})
	}
	for _, r := range runs {
		out.Body.Runs = append(out.Body.Runs, a.runView(r, nil))
	}
	return out, nil
}

func (a *API) addItems(ctx context.Context, in *addItemsInput) (*addItemsOutput, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	items, err := itemsOf(in.Body.Items)
	if err != nil {
		return nil, err
	}
	added, err := a.deps.Runs.AddItems(ctx, r.ID, items)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	return &addItemsOutput{Body: client.AddedItems{Added: added, Known: len(items) - added}}, nil
}

func checkItem(it client.NewItem) error {
	if err := source.CheckURI(it.URI); err != nil {
		return err
	}
	if raw, err := hex.DecodeString(it.SHA256); err != nil || (it.SHA256 != "" && len(raw) != 32) {
		return errors.New("sha256 is not 64 hex digits")
	}
	if len(it.Fields) > maxFields {
		return errors.New("there are more than 32 fields")
	}
	for name, text := range it.Fields {
		if len(name) > maxFieldName || len(text) > maxFieldBytes {
			return errors.New("a field has a name of more than 64 bytes or a text of more than 512")
		}
	}
	return nil
}

func (a *API) runItems(ctx context.Context, in *runItemsInput) (*runItemsOutput, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after, err := openNumber("i", in.Cursor)
	if err != nil {
		return nil, err
	}
	items, err := a.deps.Runs.RunItems(ctx, r.ID, store.ItemState(in.State), after, in.Limit+1)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	out := &runItemsOutput{Body: client.RunItemList{Items: []client.RunItem{}}}
	if len(items) > in.Limit {
		items = items[:in.Limit]
		out.Body.Next = makeCursor("i", strconv.Itoa(items[in.Limit-1].N))
	}
	outcomes, err := a.outcomesOf(ctx, in.Outcomes, items)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	for _, it := range items {
		v := itemView(it)
		for _, o := range outcomes[it.JobID] {
			v.Outcomes = append(v.Outcomes, a.outcomeView(asked{questions: len(r.Spec.Questions)}, o))
		}
		out.Body.Items = append(out.Body.Items, v)
	}
	return out, nil
}

func (a *API) outcomesOf(ctx context.Context, wanted bool, items []store.Item) (map[string][]*eventpb.Outcome, error) {
	if !wanted {
		return nil, nil
	}
	var jobs []string
	for _, it := range items {
		if it.JobID != "" {
			jobs = append(jobs, it.JobID)
		}
	}
	return a.deps.Runs.OutcomesOf(ctx, jobs)
}

func (a *API) moveRun(ctx context.Context, in *runInput, move func(ctx context.Context, id string) (store.Run, error)) (*runOutput, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if r, err = move(ctx, r.ID); err != nil {
		return nil, a.failRun(ctx, err)
	}
	a.deps.WakeRuns()
	return &runOutput{Body: a.runView(r, nil)}, nil
}

func (a *API) retryRun(ctx context.Context, in *retryRunInput) (*retryRunOutput, error) {
	r, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r, n, err := a.deps.Runs.RetryRun(ctx, r.ID, in.Code)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	a.deps.WakeRuns()
	return &retryRunOutput{Body: client.RetryResult{Run: a.runView(r, nil), Retried: n}}, nil
}

func (a *API) runView(r store.Run, failures map[string]int) client.Run {
	c := r.Counts
	asked := client.RunSubmission{
		Name: r.Name, Questions: r.Spec.Questions, Options: r.Spec.Options, Plan: r.Spec.Plan,
		MaxFailures: r.Spec.MaxFailures, MaxAudioS: r.Spec.MaxAudioS, MaxCost: r.Spec.MaxCost, ChangedSince: r.Spec.ChangedSince, ModelDigest: r.Spec.ModelDigest,
	}
	if r.Spec.Decode != (event.Decoding{}) {
		asked.Decode = &r.Spec.Decode
	}
	return client.Run{
		ID: r.ID, State: string(r.State), Reason: r.Reason, CreatedAt: r.Created, StartedAt: timePtr(r.Sealed), EndedAt: timePtr(r.Ended), Asked: asked, Items: r.Items,
		Counts: client.RunCounts{
			Pending: c[store.ItemPending], Running: c[store.ItemRunning], Succeeded: c[store.ItemSucceeded], Partial: c[store.ItemPartial],
			Failed: c[store.ItemFailed], Cancelled: c[store.ItemCancelled], Skipped: c[store.ItemSkipped],
		},
		Failures: failures, Work: client.RunWork{AudioS: r.AudioS, Windows: r.Windows, Encoded: r.Encoded, Answers: r.Answers, Known: r.AnswersKnown}, Cost: a.deps.Prices.of(r.Cost),
	}
}

func itemView(it store.Item) client.RunItem {
	return client.RunItem{
		Number: it.N, ID: it.ID, URI: it.URI, Fields: it.Fields, State: string(it.State), Code: it.Code, Message: it.Message, Attempts: it.Attempt,
		JobID: it.JobID, SHA256: it.SHA256, Bytes: it.Bytes, DurationS: it.DurationS, Windows: it.Windows, EndedAt: timePtr(it.Ended),
	}
}
