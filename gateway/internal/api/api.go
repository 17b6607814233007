package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/sync/semaphore"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/dead"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/fetch"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Store is the part of the job store that the API uses.
type Store interface {
	Create(ctx context.Context, job store.Job, outbox []event.Record, opts store.CreateOptions) error
	Get(ctx context.Context, id string) (store.Job, error)
	Peek(ctx context.Context, id string) (store.Job, error)
	List(ctx context.Context, q store.ListQuery) ([]store.Job, error)
	Outcomes(ctx context.Context, jobID string, after, limit int) ([]*eventpb.Outcome, int, error)
	Delete(ctx context.Context, id string) error
	Cancel(ctx context.Context, id string, stop, ends []event.Record) (store.Job, error)
	// OwnsAudio tells whether a tenant has sent audio with this hash.
	OwnsAudio(ctx context.Context, tenant, sha256 string) (bool, error)
	Reserve(ctx context.Context, tenant, key string, lapse time.Time) (store.Claim, *store.Used, error)
	KeyJob(ctx context.Context, tenant, key string) (string, error)
	Extend(ctx context.Context, claim store.Claim, lapse time.Time) error
	Release(ctx context.Context, claim store.Claim) error
}

// Blobs is the part of the object store that the API uses.
type Blobs interface {
	Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error)
	// Touch makes an object too young to be swept and returns its size, or blob.ErrNotFound.
	Touch(ctx context.Context, key string) (int64, error)
}

// Fetcher downloads audio from URLs.
type Fetcher interface {
	Fetch(ctx context.Context, rawURL string) (*fetch.Download, error)
}

// Metrics counts accepted jobs.
type Metrics interface {
	JobAccepted(ctx context.Context, tenant string)
}

// Limits of requests.
type Limits struct {
	MaxAudioBytes       int64         // of an upload or download
	MaxQuestions        int           // per job
	MaxQuestionChars    int           // per question
	MaxSpans            int           // of plan explicit
	MaxAnswers          int           // of plan explicit: spans times questions
	MaxOpenJobs         int           // interactive ones not ended; more are refused
	MaxOpenBulkJobs     int           // bulk ones
	InteractiveWindows  int           // of interactive jobs in Kafka; further jobs wait in the job store
	BulkWindows         int           // of bulk jobs
	TenantWindows       int           // of one tenant in each lane; 0 = all of the lane's but an eighth
	MaxUploads          int           // requests that submit at once
	MaxUploadsPerClient int           // of one client address
	MaxStreams          int           // event streams at once
	MaxStreamsPerClient int           // of one client address
	MinUploadRate       int64         // bytes per second that a body must come at, over UploadWindow
	UploadWindow        time.Duration // over which the rate of a body is measured
	UploadTimeout       time.Duration // whole request that submits
	RequestTimeout      time.Duration // every other request but a stream
	StreamTimeout       time.Duration // longest life of one event stream
	Heartbeat           time.Duration // between comments on an idle stream
	IdempotencyTTL      time.Duration // how long a key is remembered
}

// LaneWindows is how many windows of a lane may be in Kafka, in all and of one tenant. Without a bound of its own a tenant leaves an eighth of the lane to
// those who come after it, so that their jobs need not wait until its own are done.
func (l Limits) LaneWindows(lane string) (all, ofTenant int) {
	all = l.InteractiveWindows
	if lane == event.LaneBulk {
		all = l.BulkWindows
	}
	if l.TenantWindows > 0 {
		return all, l.TenantWindows
	}
	return all, all - all/8
}

// Deps of an API.
type Deps struct {
	Store   Store
	Blobs   Blobs
	Fetcher Fetcher
	Hub     *stream.Hub
	// Watching is told of each stream of a job that has not ended, and returns what is called at the stream's end. Optional.
	Watching func(ctx context.Context, jobID string) (leave func())
	// LogRead is closed once Hub has been given what the log held at the start; nil = it has been.
	LogRead <-chan struct{}
	// Room refuses more bytes of audio, with an error that wraps ErrNoRoom. It is asked often and must be quick. nil = there is always room.
	Room func(bytes int64) error
	// Wake is called when the outbox has new records or a job waits.
	Wake    func()
	Metrics Metrics
	Models  []client.Model
	// Dead are the dead letters, and Supersede is the job store's part in replacing their outcomes.
	Dead      *dead.Letters
	Supersede SupersedeStore
	// Runs are the runs over catalogues, and WakeRuns is called when one of them has changed.
	Runs     RunStore
	Survey   Surveyor
	WakeRuns func()
	// Files and Batches are those of OpenAI's API, FileBlobs holds the bytes of the files, and WakeBatches is called when a batch has changed.
	Files       FileStore
	FileBlobs   FileBlobs
	Batches     BatchStore
	WakeBatches func()
	// Admin keeps tenants and keys, and Forget makes changes of them hold at once.
	Admin  AdminStore
	Forget func()
	// Webhooks keeps the endpoints of tenants, and Guard says which URLs they may have.
	Webhooks WebhookStore
	Guard    *fetch.Guard
	// Prices of what jobs cost, and Retention of ended jobs; 0 = for ever.
	Prices    Prices
	Retention time.Duration
	// NewID gives a new job id; nil takes event.NewJobID.
	NewID func() string
	// SpoolDir is where uploads lie until their hash is known; "" = the system's temporary folder.
	SpoolDir string
	Log      *slog.Logger
}

// API serves HTTP. Close ends its event streams.
type API struct {
	limits  Limits
	deps    Deps
	mux     *http.ServeMux
	huma    huma.API
	options map[string]*huma.Schema // of a job, by name
	uploads *slots
	rates   *rates
	streams *slots
	search  *semaphore.Weighted // searches among vectors at once
	now     func() time.Time

	closing chan struct{}
	close   sync.Once
}

// Version of the API: the first number is that of the paths.
const Version = "1.0.0"

//go:generate go test . -run ^TestOpenAPI$ -update

// maxFormBytes bounds all of a request that submits but the audio.
const maxFormBytes = 1 << 20

// New refuses missing dependencies and limits.
func New(limits Limits, deps Deps) (*API, error) {
	if deps.Store == nil || deps.Blobs == nil || deps.Fetcher == nil || deps.Hub == nil || deps.Wake == nil || deps.Metrics == nil || deps.Log == nil || deps.Dead == nil || deps.Supersede == nil ||
		deps.Runs == nil || deps.Survey == nil || deps.WakeRuns == nil || deps.Admin == nil || deps.Forget == nil || deps.Webhooks == nil || deps.Guard == nil ||
		deps.Files == nil || deps.FileBlobs == nil || deps.Batches == nil || deps.WakeBatches == nil {
		return nil, errors.New("making API: a dependency is missing")
	}
	for _, n := range []int64{
		limits.MaxAudioBytes, int64(limits.MaxQuestions), int64(limits.MaxQuestionChars), int64(limits.MaxSpans), int64(limits.MaxAnswers),
		int64(limits.MaxUploads), int64(limits.MaxUploadsPerClient), int64(limits.MaxStreams), int64(limits.MaxStreamsPerClient),
		limits.MinUploadRate, int64(limits.UploadWindow), int64(limits.UploadTimeout), int64(limits.RequestTimeout),
		int64(limits.StreamTimeout), int64(limits.Heartbeat), int64(limits.IdempotencyTTL),
	} {
		if n <= 0 {
			return nil, errors.New("making API: every limit must be above 0")
		}
	}
	if deps.NewID == nil {
		deps.NewID = event.NewJobID
	}
	a := &API{
		limits: limits, deps: deps, mux: http.NewServeMux(), now: time.Now, rates: newRates(), search: semaphore.NewWeighted(maxSearches),
		uploads: newSlots(limits.MaxUploads, limits.MaxUploadsPerClient), streams: newSlots(limits.MaxStreams, limits.MaxStreamsPerClient),
		closing: make(chan struct{}),
	}
	a.huma = humago.New(a.mux, a.config())
	a.huma.UseMiddleware(filled)
	a.register()
	a.mux.HandleFunc("/", a.notFound)
	return a, nil
}

// Close ends the event streams that are open; new ones end at once. It may be called again.
func (a *API) Close() { a.close.Do(func() { close(a.closing) }) }

// Handler is the whole API. Browsers may call it from its own pages only.
func (a *API) Handler() http.Handler {
	return a.recovered(http.NewCrossOriginProtection().Handler(a.mux))
}

// Handle adds a route beside the API.
func (a *API) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// OpenAPI returns the specification as indented JSON.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().MarshalJSON() }

func (a *API) config() huma.Config {
	cfg := huma.DefaultConfig("Larkstream", Version)
	cfg.Info.Description = "Ask questions about music. A job is audio and questions; it is cut into windows, and every question " +
		"of every window ends in exactly one outcome. Errors are RFC 9457 problems with a stable `code`."
	cfg.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	cfg.Servers = []*huma.Server{{URL: "/", Description: "The gateway that served this specification"}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		schemeKey:   {Type: "http", Scheme: "bearer", Description: "A key, lk_<id>_<secret>, or a JWT of the gateway's OpenID provider. A gateway on loopback with auth none takes every request"},
		schemeLogin: {Type: "http", Scheme: "basic", Description: "The key as the password, with any user name, for browsers"},
	}
	cfg.DocsPath = ""    // the page of /docs is ours: it works without the internet
	cfg.SchemasPath = "" // schemas are in the specification
	cfg.CreateHooks = nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{toProblem, encode}
	cfg.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	return cfg
}

func (a *API) register() {
	a.registerSubmit()
	a.registerReads()
	a.registerCancel()
	a.registerDelete()
	a.registerEvents()
	a.registerDead()
	a.registerRuns()
	a.registerDiff()
	a.registerSimilar()
	a.registerPlan()
	a.registerRunEvents()
	a.registerChat()
	a.registerModels()
	a.registerFiles()
	a.registerBatches()
	a.registerTenants()
	a.registerKeys()
	a.registerWebhooks()
	a.registerLimits()
	a.registerAudit()
	a.declareCursors()
	schemas := a.huma.OpenAPI().Components.Schemas.Map()
	schemas["Tags"] = tagsSchema()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
}

// declareCursors tells the form of cursors. It is not huma that checks it: what is no cursor of a list has a code of its own.
func (a *API) declareCursors() {
	for _, item := range a.huma.OpenAPI().Paths {
		if item.Get == nil {
			continue
		}
		for _, p := range item.Get.Parameters {
			if p.Name == "cursor" {
				p.Schema.Pattern = cursorGrammar
			}
		}
	}
}

// tagsSchema is the form as the vocabularies have it: the Go type does not tell.
func tagsSchema() *huma.Schema {
	var keywords map[string]any
	if err := json.Unmarshal(tags.JSONSchema(), &keywords); err != nil {
		panic(err) // unreachable: it is JSON, as its own tests show
	}
	delete(keywords, "$schema") // an OpenAPI document has one dialect
	return &huma.Schema{Extensions: keywords}
}

// operation fills what all operations share.
func (a *API) operation(id, method, path, summary, description string) huma.Operation {
	problem := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[client.Problem](), true, "Problem")
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Description: description, Tags: []string{"jobs"},
		Responses: map[string]*huma.Response{"default": {
			Description: "Problem",
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
		}},
		Security:    secured(id),
		Middlewares: huma.Middlewares{a.allowed, a.limited, a.audited, a.bounded},
	}
}

// filled refuses parameters of the query that are there without a value and whose form no empty text has: huma takes them for absent, and a caller whose
// variable was empty would get the whole list.
func filled(ctx huma.Context, next func(huma.Context)) {
	u := ctx.URL()
	given := u.Query()
	for _, p := range ctx.Operation().Parameters {
		values, ok := given[p.Name]
		if p.In != "query" || !ok || values[0] != "" || emptyFits(p.Schema) {
			continue
		}
		_, w := humago.Unwrap(ctx)
		refusal := invalid(codeInvalidRequest, "the parameter %s has no value; leave it out or give it one", p.Name)
		refusal.TraceID = telemetry.TraceID(ctx.Context())
		writeProblem(w, refusal)
		return
	}
	next(ctx)
}

func emptyFits(s *huma.Schema) bool {
	return s.Type == huma.TypeString && s.Format == "" && len(s.Enum) == 0 && (s.Pattern == "" || s.Pattern == cursorGrammar)
}

// bounded gives a request its time.
func (a *API) bounded(ctx huma.Context, next func(huma.Context)) {
	bound, cancel := context.WithTimeout(ctx.Context(), a.limits.RequestTimeout)
	defer cancel()
	next(huma.WithContext(ctx, bound))
}
