package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// BatchStore is the part of the job store that batches need.
type BatchStore interface {
	CreateBatch(ctx context.Context, b store.Batch) error
	GetBatch(ctx context.Context, id string) (store.Batch, error)
	ListBatches(ctx context.Context, tenant string, after store.Place, limit int) ([]store.Batch, error)
	StopBatch(ctx context.Context, id string, state store.BatchState) (store.Batch, error)
}

const (
	codeBatchNotFound = "batch_not_found"
	codeBatchEnded    = "batch_ended"
	maxWindowHours    = 7 * 24
)

var batchPattern = regexp.MustCompile(`^batch_[A-Za-z0-9._-]{1,80}$`)

type newBatchInput struct{ Body openai.NewBatch }

type batchInput struct {
	ID string `path:"id" doc:"Batch id" maxLength:"100"`
}

type batchOutput struct{ Body openai.Batch }

type listBatchesInput struct {
	After string `query:"after" doc:"Id of the last batch of the page before" maxLength:"100"`
	Limit int    `query:"limit" doc:"Batches per page" minimum:"1" maximum:"100" default:"20"`
}

type listBatchesOutput struct{ Body openai.BatchList }

func (a *API) registerBatches() {
	create := a.spoken("create-batch", http.MethodPost, "/v1/batches", "Create a batch", "Makes a bulk job of each line of a file: `{\"custom_id\":…,\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{…}}`, at most 50,000. "+
		"A line that cannot be read or whose custom_id comes twice refuses the whole file; a request that is refused or fails has a line in the error file. Results come in the order of the requests.", "batches")
	huma.Register(a.huma, create, a.createBatch)
	huma.Register(a.huma, a.spoken("list-batches", http.MethodGet, "/v1/batches", "List batches", "Newest first, in pages.", "batches"), a.listBatches)
	huma.Register(a.huma, a.spoken("get-batch", http.MethodGet, "/v1/batches/{id}", "Get a batch", "Its state, counts and files.", "batches"), func(ctx context.Context, in *batchInput) (*batchOutput, error) {
		b, err := a.batch(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &batchOutput{Body: batchView(b)}, nil
	})
	huma.Register(a.huma, a.spoken("cancel-batch", http.MethodPost, "/v1/batches/{id}/cancel", "Cancel a batch",
		"Requests that have not begun never do, and those in hand are cancelled. Answers that are there are kept in the output. Cancelling again changes nothing.", "batches"), a.cancelBatch)
}

// batch reads a batch of the tenant, with a problem as its error.
func (a *API) batch(ctx context.Context, id string) (store.Batch, error) {
	err := store.ErrBatchNotFound
	var b store.Batch
	if batchPattern.MatchString(id) {
		b, err = a.deps.Batches.GetBatch(ctx, id)
	}
	if err == nil && b.Tenant != tenantOf(ctx) {
		err = store.ErrBatchNotFound
	}
	if err != nil {
		return store.Batch{}, a.failBatch(ctx, err)
	}
	return b, nil
}

func (a *API) failBatch(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrBatchNotFound):
		return problem(http.StatusNotFound, codeBatchNotFound, "there is no such batch")
	case errors.Is(err, store.ErrBatchEnded):
		return problem(http.StatusBadRequest, codeBatchEnded, "the batch cannot be cancelled any more: it has ended, or writes its results")
	}
	return a.fail(ctx, err)
}

func (a *API) createBatch(ctx context.Context, in *newBatchInput) (*batchOutput, error) {
	f, err := a.file(ctx, in.Body.InputFileID)
	if err != nil {
		return nil, err
	}
	if f.Purpose != openai.PurposeBatch {
		return nil, openai.Refuse(http.StatusBadRequest, "input_file_id", "invalid_value", "the file is of purpose %s, and batch is needed", f.Purpose)
	}
	window, err := windowOf(in.Body.CompletionWindow)
	if err != nil {
		return nil, err
	}
	if err := validateTexts(codeMetadataInvalid, "metadata", in.Body.Metadata, maxMetadataValue); err != nil {
		return nil, located(err)
	}
	keep := int64(keepFiles / time.Second)
	if e := in.Body.OutputExpires; e != nil {
		keep = e.Seconds
	}
	now := a.now().UTC().Truncate(time.Millisecond)
	b := store.Batch{
		ID: openai.BatchPrefix + a.deps.NewID(), Tenant: tenantOf(ctx), State: store.BatchValidating, Created: now, Expires: now.Add(window),
		Spec: store.BatchSpec{Input: f.ID, Endpoint: in.Body.Endpoint, Window: in.Body.CompletionWindow, Metadata: in.Body.Metadata, KeepS: keep},
	}
	if err := a.deps.Batches.CreateBatch(ctx, b); err != nil {
		return nil, a.fail(ctx, err)
	}
	a.deps.WakeBatches()
	return &batchOutput{Body: batchView(b)}, nil
}

// windowOf reads hours or days, whose form the specification has checked.
func windowOf(text string) (time.Duration, error) {
	n, err := strconv.Atoi(text[:len(text)-1])
	if text[len(text)-1] == 'd' {
		n *= 24
	}
	if err != nil || n < 1 || n > maxWindowHours {
		return 0, openai.Refuse(http.StatusBadRequest, "completion_window", "invalid_value", "completion_window must be 1h to %dh, such as 24h", maxWindowHours)
	}
	return time.Duration(n) * time.Hour, nil
}

func (a *API) listBatches(ctx context.Context, in *listBatchesInput) (*listBatchesOutput, error) {
	var after store.Place
	if in.After != "" {
		b, err := a.batch(ctx, in.After)
		if err != nil {
			return nil, err
		}
		after = store.Place{Created: b.Created, ID: b.ID}
	}
	batches, err := a.deps.Batches.ListBatches(ctx, tenantOf(ctx), after, in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &listBatchesOutput{Body: openai.BatchList{Object: "list", Data: []openai.Batch{}}}
	out.Body.HasMore = len(batches) > in.Limit
	for _, b := range batches[:min(len(batches), in.Limit)] {
		out.Body.Data = append(out.Body.Data, batchView(b))
	}
	if n := len(out.Body.Data); n > 0 {
		out.Body.FirstID, out.Body.LastID = &out.Body.Data[0].ID, &out.Body.Data[n-1].ID
	}
	return out, nil
}

func (a *API) cancelBatch(ctx context.Context, in *batchInput) (*batchOutput, error) {
	b, err := a.batch(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if b, err = a.deps.Batches.StopBatch(ctx, b.ID, store.BatchCancelling); err != nil {
		return nil, a.failBatch(ctx, err)
	}
	a.deps.WakeBatches()
	return &batchOutput{Body: batchView(b)}, nil
}

func batchView(b store.Batch) openai.Batch {
	at := func(state store.BatchState) *int64 { return unix(b.Times[state]) }
	v := openai.Batch{
		ID: b.ID, Object: "batch", Endpoint: b.Spec.Endpoint, InputFileID: b.Spec.Input, CompletionWindow: b.Spec.Window, Status: string(b.State),
		CreatedAt: b.Created.Unix(), ExpiresAt: unix(b.Expires), InProgressAt: at(store.BatchInProgress), FinalizingAt: at(store.BatchFinalizing), CompletedAt: at(store.BatchCompleted),
		FailedAt: at(store.BatchFailed), ExpiredAt: at(store.BatchExpired), CancellingAt: at(store.BatchCancelling), CancelledAt: at(store.BatchCancelled),
		RequestCounts: openai.BatchCounts{Total: b.Total, Completed: b.Completed, Failed: b.Failed}, Metadata: b.Spec.Metadata,
	}
	if b.State == store.BatchExpiring {
		v.Status = string(store.BatchInProgress)
	}
	for to, id := range map[**string]string{&v.OutputFileID: b.Output, &v.ErrorFileID: b.Errors} {
		if id != "" {
			*to = &id
		}
	}
	if len(b.Faults) > 0 {
		v.Errors = &openai.BatchErrors{Object: "list"}
		for _, f := range b.Faults {
			e := openai.BatchError{Code: f.Code, Message: f.Message, Line: f.Line}
			if f.Param != "" {
				e.Param = &f.Param
			}
			v.Errors.Data = append(v.Errors.Data, e)
		}
	}
	return v
}

// BatchJob makes the bulk job of a line of a batch, whose audio is then in the object store. Its errors are as those of a completion.
func (a *API) BatchJob(ctx context.Context, tenant store.Tenant, line io.Reader, until time.Time) (store.Job, error) {
	ctx = auth.With(ctx, auth.Principal{Tenant: tenant, ID: "batch"})
	req, sub, err := a.readChat(line, "body")
	if err != nil {
		return store.Job{}, a.fail(ctx, err)
	}
	defer sub.discard()
	if req.Stream {
		return store.Job{}, openai.Refuse(http.StatusBadRequest, "stream", "unsupported_parameter", "a request of a batch is not streamed: leave stream out")
	}
	sub.Lane = event.LaneBulk
	audio, err := a.storeAudio(ctx, sub)
	if err != nil {
		return store.Job{}, a.fail(ctx, err)
	}
	id := a.deps.NewID()
	ctx, span := telemetry.Tracer().Start(telemetry.JobTrace(ctx, id), telemetry.SpanIndex)
	defer span.End()
	job := a.newJob(ctx, id, sub.Submission, audio)
	job.Deadline = until
	return job, nil
}

// BatchAnswer is the answer to a request of a batch whose job has ended.
func (a *API) BatchAnswer(job store.Job, outcomes []*eventpb.Outcome) (status int, body any) {
	var t tally
	for _, o := range outcomes {
		t.add(a.outcomeView(askedOf(job), o))
	}
	if p := t.fault(); p != nil {
		return p.Status, openai.ErrorBody{Error: openai.Told(p)}
	}
	return http.StatusOK, t.completion(job)
}

// bodyOf is the request of a batch's line.
func bodyOf(raw []byte) ([]byte, error) {
	var line openai.RequestLine
	if err := json.Unmarshal(raw, &line); err != nil {
		return nil, problem(http.StatusBadRequest, codeMalformedBody, "the line is no request of a batch")
	}
	return line.Body, nil
}
