package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/admit"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/batches"
	"github.com/larkstream/larkstream/gateway/internal/housekeeping"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/recorder"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/gateway/internal/web"
	"github.com/larkstream/larkstream/gateway/internal/webhook"
	"github.com/larkstream/larkstream/gateway/traces"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/fetch"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	flushTimeout = 5 * time.Second
	// envPrefix begins the names of the gateway's own variables.
	envPrefix = "LARK_GATEWAY_"
)

// Command parses args and the environment and runs the gateway until ctx ends.
func Command(ctx context.Context, args []string) error {
	cfg := empty()
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceGateway, Summary: "serves the HTTP API and records outcomes", EnvPrefix: envPrefix, Args: args,
		Examples: []string{
			"LARK_ADMIN_KEY=lk_admin_$(openssl rand -hex 32) KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark DATABASE_URL=postgres://lark:password@db:5432/lark?sslmode=verify-full gateway --http-addr :8080",
			"LARK_ADMIN_KEY=$(cat key) gateway --http-addr :8080 --admin-addr :8081 --hosts music.example,gateway",
			"gateway --auth oidc --oidc-issuer https://login.example --oidc-audience larkstream --http-addr :8080",
			"gateway --fetch-allow music.internal,10.20.0.0/16",
		},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, cfg Config) error { return RunOn(ctx, host.Host{}, cfg) }

// RunOn is Run on another host than this machine.
func RunOn(ctx context.Context, on host.Host, cfg Config) (err error) {
	viewer := traces.New(traces.Limits{})
	telCfg := cfg.Telemetry(telemetry.ServiceGateway)
	telCfg.Spans = viewer
	tel, stop, err := on.Telemetry(ctx, telCfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, stop)) }()
	blobs, err := on.Blobs(ctx, cfg.BlobURL.Reveal())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	jobs, err := store.OpenOn(ctx, cfg.DatabaseURL.Reveal(), on.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, jobs.Close()) }()
	if on.Now != nil {
		jobs.SetNow(on.Now)
	}
	producer, err := on.Producer(on.Kafka(cfg.Kafka(telemetry.ServiceGateway)), kafka.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, producer.Close)) }()
	g := &gateway{
		host: on, cfg: cfg, tel: tel, traces: viewer, blobs: blobs, jobs: jobs, producer: producer,
		room: newRoom(cfg.Sweep, cfg.SpoolDir, blobs), hub: cfg.hub(), logRead: make(chan struct{}), ledger: telemetry.NewLedgerMetrics(),
		watching: stream.NewWatching(telemetry.ServiceGateway, producer.Emit, tel.Log),
	}
	parts, err := g.parts(ctx)
	if err != nil {
		return err
	}
	return on.Run(ctx, cfg.Common, telemetry.ServiceGateway, tel, parts...)
}

// flush runs a last step that must outlive ctx, within a bound.
func flush(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("stopping gateway: %w", err)
	}
	return nil
}

// gateway holds what the parts share.
type gateway struct {
	host     host.Host
	cfg      Config
	tel      *telemetry.Telemetry
	traces   *traces.Store
	blobs    *blob.Store
	jobs     *store.SQL
	producer host.Producer
	room     *room
	hub      *stream.Hub
	watching *stream.Watching
	logRead  chan struct{} // closed once hub holds what the log held at the start
	ledger   *telemetry.LedgerMetrics
	adopted  atomic.Bool // every job that was on the log at some moment since the start is in the job store
}

// parts in the order in which they start; they stop in reverse: streams end first, the outbox and the
// events go on until nobody needs them.
func (g *gateway) parts(ctx context.Context) ([]service.Part, error) {
	relay, err := outbox.New(outbox.Config{}, outbox.Deps{Random: g.host.Random, Store: g.jobs, Publisher: g.producer, Log: g.tel.Log})
	if err != nil {
		return nil, err
	}
	windows, ofTenant := make(map[string]int), make(map[string]int)
	for _, lane := range event.Lanes() {
		windows[lane], ofTenant[lane] = g.cfg.apiLimits().LaneWindows(lane)
	}
	admitter, err := admit.New(admit.Config{Windows: windows, TenantWindows: ofTenant}, admit.Deps{Store: g.jobs, Published: relay.Wake, Metrics: g.ledger, Log: g.tel.Log})
	if err != nil {
		return nil, err
	}
	record, err := recorder.New(recorder.Deps{Random: g.host.Random, Store: g.jobs, Metrics: g.ledger, Log: g.tel.Log, JobsPending: g.jobsPending})
	if err != nil {
		return nil, err
	}
	runner, err := g.runner(record)
	if err != nil {
		return nil, err
	}
	callers, err := g.authenticator(ctx)
	if err != nil {
		return nil, err
	}
	wake := func() {
		relay.Wake()
		admitter.Wake()
	}
	bundle, err := g.bundle()
	if err != nil {
		return nil, err
	}
	controller, err := g.runs(bundle, wake)
	if err != nil {
		return nil, err
	}
	var batcher *batches.Controller // it makes its jobs with the API, which wakes it
	server, err := g.api(bundle, callers, wake, controller.Wake, func() { batcher.Wake() })
	if err != nil {
		return nil, err
	}
	hooks, err := g.webhooks()
	if err != nil {
		return nil, err
	}
	if batcher, err = g.batches(server, wake); err != nil {
		return nil, err
	}
	keeper, err := g.keeper(record, server)
	if err != nil {
		return nil, err
	}
	g.room.sweep = keeper.Wake
	reap, err := g.reaper(relay)
	if err != nil {
		return nil, err
	}
	hosts, err := g.cfg.hosts()
	if err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	topics := &provisioner{cfg: g.kafka(), topics: event.WithPartitions(event.Topics(), int32(g.cfg.KafkaPartitions)), log: g.tel.Log, done: make(chan struct{})}
	parts := []service.Part{
		{Name: "topics", Run: topics.run, Ready: topics.ready},
		{Name: "database", Ready: func() error { return g.jobs.Ping(context.WithoutCancel(ctx)) }},
		{Name: "events", Run: g.followEvents},
		{Name: "outbox", Run: relay.Run},
		{Name: "admission", Run: admitter.Run},
		{Name: "runs", Run: controller.Run},
		{Name: "webhooks", Run: hooks.Run},
		{Name: "batches", Run: batcher.Run},
		{Name: recorder.Source, Run: runner.Run, Ready: func() error { return errors.Join(runner.Ready(), record.Ready()) }, Degraded: runner.Degraded},
		{Name: "housekeeping", Run: keeper.Run},
		{Name: "backlogs", Run: g.followBacklogs},
		{Name: "watching", Run: g.watching.Run},
	}
	return append(append(parts, reaperParts(g, reap)...),
		service.Part{Name: "api", Routes: g.routes(server, callers), Guard: func(next http.Handler) http.Handler { return openai.Errors(hosts.Only(next)) }, AdminRoutes: g.adminRoutes(), AdminGuard: hosts.Only, Degraded: func() error { return g.room.ask(0) }, Run: func(ctx context.Context) error {
			<-ctx.Done()
			server.Close()
			return nil
		}},
	), nil
}

func (g *gateway) kafka() kafka.Config { return g.host.Kafka(g.cfg.Kafka(telemetry.ServiceGateway)) }

func (g *gateway) runner(record *recorder.Recorder) (*stage.Runner, error) {
	return stage.New(recording(g.cfg), stage.Deps{Kafka: g.kafka(), Handle: g.host.Handle(recorder.Source, record.Handle), Random: g.host.Random, Now: g.host.Now, Producer: g.producer, Log: g.tel.Log})
}

// recording is how the recorder reads. What it has in hand is what it writes next and no more, however slow the database is: twice the handlers in flight, and
// four times of each topic, over all partitions. A job has one record and at least two answers, so the records of bulk jobs, which start whenever an answer has
// started, never fall behind.
func recording(cfg Config) stage.Config {
	n := cfg.RecorderConcurrency
	return stage.Config{
		Stage: recorder.Source, Topics: append(event.InLanes(event.TopicJobs), event.TopicAnswers), Concurrency: n, BulkTurn: 1, MaxInFlightRecords: 2 * n, QueueRecords: max(1, 4*n/max(event.WorkPartitions, cfg.KafkaPartitions)),
		DrainTimeout: cfg.DrainTimeout, HandlerTimeout: cfg.HandlerTimeout, Partitions: cfg.KafkaPartitions, KeepFinished: cfg.KafkaKeepFinished,
		IgnoreDeadlines: true, // a job past its deadline is adopted all the same, or its outcomes would belong to nothing
	}
}

// jobsPending counts the job records that the recorder has not taken up yet.
func (g *gateway) jobsPending(ctx context.Context) (int64, error) {
	return kafka.Unread(ctx, g.kafka(), event.Group(recorder.Source), event.InLanes(event.TopicJobs)...)
}

func (g *gateway) keeper(record *recorder.Recorder, server *api.API) (*housekeeping.Keeper, error) {
	return housekeeping.New(housekeeping.Config{Interval: g.cfg.Sweep.Interval, Retention: g.cfg.Retention}, housekeeping.Deps{
		Store: g.jobs, ExpireFiles: server.ExpireFiles, Audit: record.Audit, OutboxPending: g.ledger.OutboxPending, Webhooks: g.ledger.WebhookBacklog, Log: g.tel.Log,
		Sweep: g.sweep,
	})
}

func (g *gateway) webhooks() (*webhook.Sender, error) {
	guard, err := fetch.NewGuard(g.cfg.Fetch.Allow, fetch.Deps{})
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Config{}, webhook.Deps{
		Store: g.jobs, Guard: guard, Metrics: g.ledger, Transport: g.host.Outside, Now: g.host.Now, Random: g.host.Random, Log: g.tel.Log,
	})
}

func (g *gateway) api(bundle *model.Bundle, callers *auth.Authenticator, wake, wakeRuns, wakeBatches func()) (*api.API, error) {
	fetcher, err := g.cfg.fetcher()
	if err != nil {
		return nil, err
	}
	guard, err := fetch.NewGuard(g.cfg.Fetch.Allow, fetch.Deps{})
	if err != nil {
		return nil, err
	}
	look, err := g.survey(bundle)
	if err != nil {
		return nil, err
	}
	letters, err := g.letters()
	if err != nil {
		return nil, err
	}
	return api.New(g.cfg.apiLimits(), api.Deps{
		Store: g.jobs, Blobs: g.blobs, Fetcher: fetcher, Hub: g.hub, LogRead: g.logRead, Watching: g.watching.Enter, Room: g.room.ask, Wake: wake, Metrics: g.ledger,
		Models: models(bundle), Dead: letters, Supersede: g.jobs, Runs: g.jobs, Survey: look, WakeRuns: wakeRuns, Files: g.jobs, FileBlobs: g.blobs, Batches: g.jobs, WakeBatches: wakeBatches, Admin: g.jobs, Webhooks: g.jobs, Guard: guard, Prices: api.Prices(g.cfg.Prices), Retention: g.cfg.Retention, Forget: callers.Forget, NewID: g.host.NewID, SpoolDir: g.cfg.SpoolDir, Log: g.tel.Log,
	})
}

// bundle is what the stages serve, read from its manifest alone: the stages verify the weights, which may be many gigabytes, and the gateway must listen
// before a liveness probe gives it up. A gateway without the bundle's folder works; it only cannot say what the stages serve, and gets nil.
func (g *gateway) bundle() (*model.Bundle, error) {
	b, err := model.Read(g.cfg.ModelDir)
	if errors.Is(err, fs.ErrNotExist) {
		g.tel.Log.Info("model bundle is not at hand, /v1/models is empty, runs are planned without windows, and their items get no vectors", slog.String("model_dir", g.cfg.ModelDir))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if b.EncoderOnly() {
		return nil, fmt.Errorf("describing the model: %s has an encoder only, which cannot answer; set LARK_MODEL_DIR to a complete bundle such as models/lark-nano", g.cfg.ModelDir)
	}
	return b, b.SetPrecision(g.cfg.EncoderPrecision)
}

func models(b *model.Bundle) []client.Model {
	if b == nil {
		return nil
	}
	created := int64(0)
	if info, err := os.Stat(filepath.Join(b.Dir, model.ManifestFile)); err == nil {
		created = info.ModTime().Unix()
	}
	return []client.Model{{
		ID: b.DisplayName(), Object: client.ModelObject, Created: created, OwnedBy: client.ModelOwner, Digest: b.Digest, Licence: b.Licence, Encoder: b.EncoderID, WindowS: b.Encoder.SpanS, Random: b.Random, Quality: b.Quality,
	}}
}

// routes are the API and its pages, for known callers. The host check stands before them, so that a rebound name learns nothing.
func (g *gateway) routes(server *api.API, callers *auth.Authenticator) map[string]http.Handler {
	web.Register(server)
	return map[string]http.Handler{"/": callers.Guard(g.tel.Log, web.WriteProblem)(telemetry.HTTPHandler(server.Handler()))}
}

// adminRoutes are served beside metrics: traces show what all tenants do.
func (g *gateway) adminRoutes() map[string]http.Handler {
	page := g.traces.PageHandler()
	return map[string]http.Handler{
		"/debug/traces": page, "/debug/traces/": page,
		// The intake is not traced, or every export would make spans to export.
		"/v1/traces": web.LoopbackOnly(g.traces.OTLPHandler()),
	}
}

// followEvents feeds the hub from the log, from its beginning: streams can then be resumed after the
// gateway was started again.
func (g *gateway) followEvents(ctx context.Context) error {
	last := make(map[int32]int64) // partition -> offset
	caughtUp, wait := kafka.Tail(ctx, g.kafka(), event.TopicEvents, kafka.Earliest, func(rec event.Record, partition int32, offset int64) {
		if before, ok := last[partition]; ok && offset <= before { // the log begins anew
			clear(last)
			g.hub.Reset()
		}
		last[partition] = offset
		ev, err := event.DecodeAs[*eventpb.Event](rec)
		if err != nil {
			g.ledger.Stray(ctx, "undecodable_event")
			return
		}
		g.hub.Append(offset, ev)
	})
	select {
	case <-caughtUp:
		close(g.logRead)
	case <-ctx.Done():
	}
	return wait()
}
