package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

var idempotencyPattern = regexp.MustCompile(`^[\x21-\x7e]{1,200}$`)

// submitInput leaves the body alone: it is read as a stream, not by huma.
type submitInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Any text of up to 200 printable characters. The same key with the same request returns the same job; with another request, 422; while the first is in flight, 409"`

	raw *rawRequest
}

type rawRequest struct {
	r *http.Request
	w http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (in *submitInput) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	in.raw = &rawRequest{r: r, w: w}
	return nil
}

var _ huma.Resolver = (*submitInput)(nil)

type submitOutput struct {
	Status     int
	Location   string `header:"Location" doc:"Address of the job"`
	RetryAfter int    `header:"Retry-After" doc:"Seconds after which it is worth asking"`
	Body       client.Job
}

func (a *API) registerSubmit() {
	a.options = huma.SchemaFromType(a.huma.OpenAPI().Components.Schemas, typeOf[client.Options]()).Properties
	op := a.operation("submit-job", http.MethodPost, "/v1/jobs", "Submit a job",
		"Either multipart/form-data with the file in part `audio` and the rest in a JSON part `request` (or in simple fields "+
			"`questions`, repeated, `plan`, `spans` and the options), or JSON that names audio by `audio_ref` or `audio_url`.")
	op.DefaultStatus = http.StatusAccepted
	op.Middlewares = huma.Middlewares{a.allowed, a.limited} // submit sets its own time limit
	huma.Register(a.huma, op, a.submit)
	// After registration, or huma would want to read the body itself.
	post := a.huma.OpenAPI().Paths[op.Path].Post
	post.RequestBody = a.submitBody()
	again := *post.Responses["202"]
	again.Description = "The job that an earlier request with the same Idempotency-Key has made"
	post.Responses["200"] = &again
}

func (a *API) submitBody() *huma.RequestBody {
	submission := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[client.Submission](), true, "Submission")
	text := &huma.Schema{Type: huma.TypeString}
	audio := &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "The file: wav, flac, mp3, and what ffmpeg reads where it is installed"}
	form := &huma.Schema{Type: huma.TypeObject, Required: []string{"audio"}, AdditionalProperties: false, Properties: map[string]*huma.Schema{
		"audio":     audio,
		"questions": {Type: huma.TypeArray, Items: text, Description: "Repeat the field for each question"},
		"plan":      {Type: huma.TypeString, Enum: []any{client.PlanAuto, client.PlanAll, client.PlanExplicit}},
		"spans":     {Type: huma.TypeString, Description: "For plan explicit: start-end in seconds, separated by commas", Examples: []any{"30-55,60-85"}},
	}}
	maps.Copy(form.Properties, a.options)
	form.Not = &huma.Schema{} // request and a simple field together; two objects under oneOf would say it too, and generators of clients would send neither
	for _, name := range slices.Sorted(maps.Keys(form.Properties)) {
		if name != "audio" {
			form.Not.AnyOf = append(form.Not.AnyOf, &huma.Schema{Required: []string{"request", name}})
		}
	}
	form.Properties["request"] = submission
	named := &huma.Schema{AllOf: []*huma.Schema{submission, {OneOf: []*huma.Schema{
		{Title: "Audio that was sent before", Type: huma.TypeObject, Required: []string{"audio_ref"}}, {Title: "Audio of a URL", Type: huma.TypeObject, Required: []string{"audio_url"}},
	}}}}
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: form}, "application/json": {Schema: named}}}
}

// submit takes a job in, in this order: a slot, the idempotency key, the body (audio to a spool file),
// validation, audio to the object store, job and outbox in one transaction, a signal to the relay.
// A failure before the transaction leaves no job; the sweep deletes audio without a job later.
func (a *API) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	from := service.Client(in.raw.r.RemoteAddr)
	if whose, limit := a.uploads.take(from); limit > 0 {
		return nil, again(http.StatusTooManyRequests, codeTooManyUploads, 1, "%d requests %s are being taken in, which is the limit", limit, whose)
	}
	defer a.uploads.give(from)
	if err := a.room(max(0, in.raw.r.ContentLength)); err != nil { // before the body, which a refusal need not take
		return nil, a.fail(ctx, err)
	}
	if err := a.withinLimits(ctx, in.raw.r.ContentLength); err != nil {
		return nil, a.fail(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.limits.UploadTimeout)
	defer cancel()
	job, before, err := a.once(ctx, in.IdempotencyKey, entry(ctx, "submit-job", "", in.raw.r.RemoteAddr), func() (*request, error) {
		req, err := a.readRequest(ctx, in.raw)
		if err == nil {
			if err = a.validate(req); err != nil {
				req.discard()
			}
		}
		return req, err
	})
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &submitOutput{Status: http.StatusAccepted, Location: "/v1/jobs/" + job.ID, RetryAfter: 1, Body: a.jobView(ctx, job, a.deps.Hub.Progress(job.ID))}
	if before {
		out.Status, out.Body.IdempotentReply = http.StatusOK, true
	}
	return out, nil
}

// once makes the job of the request that read reads and checks, or finds the one that an earlier request with the same idempotency key has made.
func (a *API) once(ctx context.Context, key string, submitted store.Audit, read func() (*request, error)) (job store.Job, before bool, err error) {
	claim, used, err := a.claim(ctx, key)
	if err != nil {
		return store.Job{}, false, err
	}
	defer a.hold(ctx, claim)()
	defer func() {
		if err != nil {
			a.release(ctx, claim)
		}
	}()
	req, err := read()
	if err != nil {
		return store.Job{}, false, err
	}
	defer req.discard()
	fingerprint, err := req.fingerprint()
	switch {
	case err != nil:
		return store.Job{}, false, err
	case used == nil:
		job, err = a.create(ctx, req, store.CreateOptions{Claim: claim, Fingerprint: fingerprint, KeepUntil: a.now().Add(a.limits.IdempotencyTTL), Audit: &submitted})
		return job, false, err
	case used.Fingerprint != fingerprint:
		return store.Job{}, false, invalid(codeIdempotencyMismatch, "this Idempotency-Key was used with another request")
	}
	job, err = a.job(ctx, used.JobID)
	return job, true, err
}

func (a *API) claim(ctx context.Context, key string) (store.Claim, *store.Used, error) {
	if key == "" {
		return store.Claim{}, nil, nil
	}
	if !idempotencyPattern.MatchString(key) {
		return store.Claim{}, nil, problem(http.StatusBadRequest, codeIdempotencyInvalid, "Idempotency-Key must be 1 to 200 printable characters without spaces")
	}
	return a.deps.Store.Reserve(ctx, tenantOf(ctx), key, a.now().Add(claimLapse))
}

const (
	// claimLapse is how long a gateway that dies blocks the idempotency keys of its requests in flight; it renews its claims every claimRenewal.
	claimLapse   = 30 * time.Second
	claimRenewal = 10 * time.Second
)

// hold keeps a claim until the function that it returns is called. A claim that cannot be renewed lapses: the transaction that makes the job finds out.
func (a *API) hold(ctx context.Context, claim store.Claim) (done func()) {
	if claim.Key == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(claimRenewal)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if err := a.deps.Store.Extend(ctx, claim, a.now().Add(claimLapse)); err != nil && ctx.Err() == nil {
					a.deps.Log.WarnContext(ctx, "the hold on an idempotency key is not renewed", slog.Any("error", err))
				}
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// release gives the key back after a request that made no job, also when its caller has gone.
func (a *API) release(ctx context.Context, claim store.Claim) {
	if claim.Key == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.limits.RequestTimeout)
	defer cancel()
	if err := a.deps.Store.Release(ctx, claim); err != nil {
		a.deps.Log.WarnContext(ctx, "idempotency key stays taken until it lapses", slog.Any("error", err))
	}
}

// create makes the job of a request that was checked, and brings its audio into the object store. opts are filled with the limits of the lane and the tenant.
func (a *API) create(ctx context.Context, req *request, opts store.CreateOptions) (store.Job, error) {
	audio, err := a.storeAudio(ctx, req)
	if err != nil {
		return store.Job{}, err
	}
	opts.MaxOpen = a.limits.MaxOpenJobs
	opts.Limits = auth.From(ctx).Tenant.Limits
	if req.AudioRef == "" {
		opts.UploadBytes = audio.Bytes
	}
	if req.Lane == event.LaneBulk {
		opts.MaxOpen = a.limits.MaxOpenBulkJobs
	}
	opts.MaxWindows, opts.MaxTenantWindows = a.limits.LaneWindows(req.Lane)
	job, err := a.accept(ctx, req.Submission, audio, opts)
	switch {
	case errors.Is(err, store.ErrClaimExpired):
		return store.Job{}, store.ErrKeyInFlight
	case errors.Is(err, store.ErrTooManyJobs):
		return store.Job{}, again(http.StatusTooManyRequests, codeTooManyJobs, 5, "%d jobs of this lane have not ended yet, which is the limit", opts.MaxOpen)
	}
	return job, err
}

// request is a submission as it came in, with its uploaded audio if it has any.
type request struct {
	client.Submission
	upload *spooled
}

func (r *request) discard() {
	if r.upload != nil {
		_ = r.upload.Close() // the file is unlinked already
	}
}

// fingerprint identifies what is asked for: equal requests have equal ones, however they are sent.
func (r *request) fingerprint() (string, error) {
	same := r.Submission
	if r.upload != nil {
		same.AudioRef = r.upload.sha256
	}
	raw, err := json.Marshal(same)
	if err != nil {
		return "", fmt.Errorf("taking fingerprint of request: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// storeAudio brings the audio of a request into the object store, or finds it there.
func (a *API) storeAudio(ctx context.Context, req *request) (event.AudioFile, error) {
	switch {
	case req.upload != nil:
		return a.keep(ctx, req.upload, req.AudioName)
	case req.AudioURL != "":
		return a.download(ctx, req.AudioURL, req.AudioName)
	}
	return a.stored(ctx, req)
}

// stored finds the audio that a request names by its hash. A hash is no permission: it must be the tenant's own.
func (a *API) stored(ctx context.Context, req *request) (event.AudioFile, error) {
	own, err := a.deps.Store.OwnsAudio(ctx, tenantOf(ctx), req.AudioRef)
	if err != nil {
		return event.AudioFile{}, err
	}
	size := int64(0)
	if own {
		size, err = a.deps.Blobs.Touch(ctx, event.AudioKey(req.AudioRef))
	}
	if !own || errors.Is(err, blob.ErrNotFound) {
		return event.AudioFile{}, invalid(codeAudioRefUnknown, "audio_ref names audio that you have not uploaded, or that is no longer stored; upload it again")
	}
	if err != nil {
		return event.AudioFile{}, err
	}
	return event.AudioFile{SHA256: req.AudioRef, Name: req.AudioName, Bytes: size}, nil
}

// keep moves a spool file into the object store.
func (a *API) keep(ctx context.Context, f *spooled, name string) (event.AudioFile, error) {
	if f.bytes == 0 {
		return event.AudioFile{}, invalid(codeAudioEmpty, "the audio is empty")
	}
	key := event.AudioKey(f.sha256)
	err := a.put(ctx, key, f)
	if err == nil {
		if _, err = a.deps.Blobs.Touch(ctx, key); errors.Is(err, blob.ErrNotFound) {
			err = a.put(ctx, key, f) // a sweep was about to delete an older copy and met this one; it does so once
		}
	}
	if err != nil {
		return event.AudioFile{}, fmt.Errorf("storing audio: %w", err)
	}
	return event.AudioFile{SHA256: f.sha256, Name: name, Bytes: f.bytes}, nil
}

func (a *API) put(ctx context.Context, key string, f *spooled) error {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewinding spooled audio: %w", err)
	}
	_, err := a.deps.Blobs.Put(ctx, key, f.file, a.limits.MaxAudioBytes)
	return err
}

func (a *API) download(ctx context.Context, rawURL, name string) (event.AudioFile, error) {
	d, err := a.deps.Fetcher.Fetch(ctx, rawURL)
	if err != nil {
		return event.AudioFile{}, err
	}
	defer func() { _ = d.Close() }() // what was read has been read
	f, err := a.spool(d)
	if err != nil {
		return event.AudioFile{}, fmt.Errorf("downloading audio: %w", err)
	}
	defer func() { _ = f.Close() }()
	if name == "" {
		name = d.Name
	}
	return a.keep(ctx, f, name)
}

// accept writes the job and its record, and returns the job.
func (a *API) accept(ctx context.Context, sub client.Submission, audio event.AudioFile, opts store.CreateOptions) (store.Job, error) {
	job := a.newJob(ctx, a.deps.NewID(), sub, audio)
	hook, err := a.hookOf(ctx, sub.Webhook)
	if err != nil {
		return store.Job{}, err
	}
	job.Hook = hook
	rec, err := a.encode(ctx, event.NewJob(job.JobSpec))
	if err != nil {
		return store.Job{}, err
	}
	if err := a.deps.Store.Create(ctx, job, []event.Record{job.Own(rec)}, opts); err != nil {
		return store.Job{}, err
	}
	a.deps.Wake()
	a.deps.Metrics.JobAccepted(ctx, job.Tenant)
	return job, nil
}

// newJob is the job of a submission of the caller.
func (a *API) newJob(ctx context.Context, id string, sub client.Submission, audio event.AudioFile) store.Job {
	now := a.now().UTC().Truncate(time.Millisecond)
	spec := event.JobSpec{
		ID: id, Audio: audio, Questions: sub.Questions, Plan: sub.Plan, Spans: sub.Spans, Options: sub.Options, Created: now,
	}
	if sub.Decode != nil {
		spec.Decode = *sub.Decode
	}
	if sub.DeadlineS > 0 {
		spec.Deadline = now.Add(time.Duration(sub.DeadlineS * float64(time.Second)))
	}
	job := store.NewJob(tenantOf(ctx), spec, telemetry.TraceID(ctx))
	job.Labels, job.Metadata, job.Isolated = sub.Labels, sub.Metadata, auth.From(ctx).Tenant.Isolated
	trace.SpanFromContext(ctx).SetAttributes(telemetry.AttrTenant.String(job.Tenant), telemetry.AttrJobID.String(job.ID), telemetry.AttrTrackSHA256.String(audio.SHA256))
	return job
}

// encode makes a record that carries the request's trace.
func (a *API) encode(ctx context.Context, msg proto.Message) (event.Record, error) {
	rec, err := event.Encode(outbox.Source, msg)
	if err != nil {
		return event.Record{}, err
	}
	rec.Headers = telemetry.InjectHeaders(ctx, rec.Headers)
	return rec, nil
}
