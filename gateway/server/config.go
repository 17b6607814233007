package server

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/gateway/internal/web"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/fetch"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/worker"
)

// defaultHTTPAddr is where the gateway listens: unlike the stages, it is what people open.
const defaultHTTPAddr = "127.0.0.1:8080"

// Config is the user's configuration of the gateway.
type Config struct {
	service.Common `yaml:",inline"`
	// DatabaseURL is where jobs and outcomes lie: sqlite:///absolute/path, sqlite://./relative/path, or postgres://user:password@host:5432/database,
	// which any number of gateways may share.
	DatabaseURL config.Secret `yaml:"database_url" env:"DATABASE_URL" flag:"database-url" default:"sqlite://./data/gateway.db" help:"job store: sqlite:///path for one gateway, postgres://user:password@host:5432/database for any number"`
	// Auth says who may send requests: none, keys or oidc.
	Auth string `yaml:"auth" flag:"auth" help:"who may send requests: none = everybody who reaches http_addr, which must be loopback; keys = holders of keys; oidc = holders of keys and of tokens of oidc.issuer. Empty: keys if LARK_ADMIN_KEY or LARK_TOKEN sets a secret, else none"`
	// AdminKey is a key of tenant default with every scope that is there from the first start on.
	AdminKey config.Secret `yaml:"admin_key" env:"LARK_ADMIN_KEY" help:"first key, lk_<id>_<secret>, with every scope; empty: one is made at the first start and printed once"`
	// Token opens everything of tenant default beside the keys.
	Token config.Secret `yaml:"token" env:"LARK_TOKEN" help:"secret of at least 16 characters that opens everything of tenant default, for installations older than keys; a key here is not looked at, because LARK_TOKEN is what lark sends"`
	// InsecureNoAuth lets the gateway listen on other addresses than loopback with auth none.
	InsecureNoAuth bool       `yaml:"insecure_no_auth" flag:"insecure-no-auth" help:"allow auth none on every address, behind a proxy that authenticates callers"`
	OIDC           OIDCConfig `yaml:"oidc"`
	// Hosts are the names under which people and proxies reach the gateway, beside loopback and the addresses of this machine.
	Hosts  []string     `yaml:"hosts" help:"host names and addresses that requests may be for, beside loopback and the address that was called; others get 421. Health and readiness answer for every host"`
	Limits LimitsConfig `yaml:"limits"`
	Fetch  FetchConfig  `yaml:"fetch"`
	Events EventsConfig `yaml:"events"`
	Sweep  SweepConfig  `yaml:"sweep"`
	Runs   RunsConfig   `yaml:"runs"`
	// Sources are the places where the audio of runs is read.
	Sources []string     `yaml:"sources" env:"LARK_SOURCES" help:"places that the audio of runs may be read from where it lies: /folder, s3://bucket/prefix?endpoint=…, gs://bucket/prefix, https://host/prefix (?private=true: also in our own network); separated by commas. Every key with the scope runs reads all of them. The chunker needs the same"`
	Reaper  ReaperConfig `yaml:"reaper"`
	// Retention is how long jobs stay after their end.
	Retention time.Duration `yaml:"retention" flag:"retention" default:"2160h" help:"time after which an ended job is deleted with its outcomes; 0: never"`
	Prices    PricesConfig  `yaml:"prices"`
	// SpoolDir holds uploads until their hash is known.
	SpoolDir string `yaml:"spool_dir" flag:"spool-dir" help:"folder for uploads in progress; empty: the system's"`
	// RecorderConcurrency is how many jobs' outcomes are recorded at once; they share transactions of up to 256.
	RecorderConcurrency int `yaml:"recorder_concurrency" default:"256" help:"jobs whose outcomes are recorded at once; they share transactions of up to 256"`
}

// OIDCConfig says whose tokens are taken with auth oidc.
type OIDCConfig struct {
	Issuer      string `yaml:"issuer" help:"URL of the OpenID provider, such as https://login.example"`
	Audience    string `yaml:"audience" help:"audience that tokens must be for"`
	TenantClaim string `yaml:"tenant_claim" default:"tenant" help:"claim that holds the name of the tenant, which must exist"`
	ScopeClaim  string `yaml:"scope_claim" default:"scope" help:"claim that holds the scopes, as a text with spaces or as a list"`
}

// PricesConfig makes an amount of what jobs cost.
type PricesConfig struct {
	Currency      string  `yaml:"currency" help:"currency of amounts in costs, such as EUR; empty: costs have no amounts"`
	AudioSecond   float64 `yaml:"audio_second" default:"0" help:"price of a second of audio heard"`
	EncoderSecond float64 `yaml:"encoder_second" default:"0" help:"price of a second of the encoder's work"`
	PromptToken   float64 `yaml:"prompt_token" default:"0" help:"price of a token of a prompt"`
	OutputToken   float64 `yaml:"output_token" default:"0" help:"price of a token of an answer"`
}

// LimitsConfig bounds requests.
type LimitsConfig struct {
	MaxAudioBytes       int64         `yaml:"max_audio_bytes" default:"1073741824" help:"largest upload or download, in bytes"`
	MaxQuestions        int           `yaml:"max_questions" default:"64" help:"questions per job"`
	MaxQuestionChars    int           `yaml:"max_question_chars" default:"2000" help:"characters per question"`
	MaxSpans            int           `yaml:"max_spans" default:"256" help:"windows of an explicit plan"`
	MaxAnswers          int           `yaml:"max_answers" default:"4096" help:"windows of an explicit plan times questions; the chunker has the same limit for every plan"`
	MaxOpenJobs         int           `yaml:"max_open_jobs" default:"10000" help:"interactive jobs not ended; more are refused with 429"`
	MaxOpenBulkJobs     int           `yaml:"max_open_bulk_jobs" default:"1000000" help:"bulk jobs not ended; more are refused with 429"`
	InteractiveWindows  int           `yaml:"interactive_windows" default:"1024" help:"windows of interactive jobs in Kafka at once; further jobs wait in the database, and tenants take turns by seconds of audio"`
	BulkWindows         int           `yaml:"bulk_windows" default:"1024" help:"windows of bulk jobs in Kafka at once; further jobs wait in the database, and tenants take turns by seconds of audio"`
	TenantWindows       int           `yaml:"tenant_windows" default:"0" help:"windows of one tenant in Kafka at once in each lane, so that a tenant's jobs wait while others have room; 0: all of the lane's but an eighth"`
	MaxUploads          int           `yaml:"max_uploads" default:"32" help:"requests that submit at once"`
	MaxUploadsPerClient int           `yaml:"max_uploads_per_client" default:"16" help:"requests that submit at once from one address; behind a proxy, all come from one"`
	MaxStreams          int           `yaml:"max_streams" default:"1024" help:"event streams at once"`
	MaxStreamsPerClient int           `yaml:"max_streams_per_client" default:"512" help:"event streams at once of one address; behind a proxy, all are of one"`
	MinUploadRate       int64         `yaml:"min_upload_rate" default:"1024" help:"bytes per second that the body of a request that submits must come at, over each upload_window"`
	UploadWindow        time.Duration `yaml:"upload_window" default:"30s" help:"time over which min_upload_rate is measured"`
	UploadTimeout       time.Duration `yaml:"upload_timeout" default:"15m" help:"whole of a request that submits"`
	RequestTimeout      time.Duration `yaml:"request_timeout" default:"30s" help:"whole of any other request but a stream"`
	StreamTimeout       time.Duration `yaml:"stream_timeout" default:"6h" help:"longest life of one event stream"`
	Heartbeat           time.Duration `yaml:"heartbeat" default:"2s" help:"between comments on an idle event stream; clients count a stream as dead that is silent for twice as long, and at least 4s"`
	IdempotencyTTL      time.Duration `yaml:"idempotency_ttl" default:"24h" help:"how long an Idempotency-Key is remembered"`
}

// FetchConfig bounds downloads of audio_url.
type FetchConfig struct {
	Allow        []string      `yaml:"allow" help:"hosts, addresses and networks that may be reached by downloads and webhooks although they are not public; webhooks to them may use http"`
	Timeout      time.Duration `yaml:"timeout" default:"5m" help:"whole of one download"`
	MaxRedirects int           `yaml:"max_redirects" default:"5" help:"redirects followed; each target is checked"`
}

// EventsConfig bounds the memory of event streams.
type EventsConfig struct {
	JobEvents  int `yaml:"job_events" default:"4096" help:"events kept per job"`
	JobBytes   int `yaml:"job_bytes" default:"1048576" help:"bytes of events kept per job"`
	Jobs       int `yaml:"jobs" default:"4096" help:"jobs whose events are kept"`
	TotalBytes int `yaml:"total_bytes" default:"67108864" help:"bytes of events kept in all"`
}

// SweepConfig is the budget of the object store.
type SweepConfig struct {
	Interval     time.Duration `yaml:"interval" default:"10m" help:"between sweeps of the object store"`
	MaxBytes     int64         `yaml:"max_bytes" default:"53687091200" help:"all objects together; while sweeps leave a tenth more, uploads are refused with 507; 0: no limit"`
	AudioBytes   int64         `yaml:"audio_bytes" default:"10737418240" help:"submitted audio; 0: no limit of its own"`
	WindowsBytes int64         `yaml:"windows_bytes" default:"10737418240" help:"PCM of windows; 0: no limit of its own"`
	KeepYounger  time.Duration `yaml:"keep_younger" default:"24h" help:"audio and embeddings younger than this stay, for work in hand may need them"`
	KeepWindows  time.Duration `yaml:"keep_windows" default:"1h" help:"keep_younger of windows, plans and soft prompts, which are made again when they are gone"`
	MinFreeBytes int64         `yaml:"min_free_bytes" default:"1073741824" help:"uploads are refused with 507 while the disks of a file:// object store and of the uploads in progress have less room; 0: no check"`
}

// ReaperConfig says when the gateway itself ends a job or publishes it again.
type ReaperConfig struct {
	Interval  time.Duration `yaml:"interval" default:"5s" help:"between looks at the open jobs"`
	Grace     time.Duration `yaml:"grace" default:"15s" help:"after a deadline or a cancel, for the stages to end the job themselves"`
	Idle      time.Duration `yaml:"idle" default:"1m" help:"that a job stands still, while no stage has anything left to do, before it is published again"`
	Republish int           `yaml:"republish" default:"3" help:"times that a job is published again without a step forward before it is given up"`
}

// RunsConfig bounds runs over catalogues.
type RunsConfig struct {
	InFlight int `yaml:"in_flight" default:"256" help:"items of one run that are in hand at once"`
	Readers  int `yaml:"readers" default:"4" help:"files of runs that are hashed at once"`
	// StalledAfter is how long no item of a run may end before the run says so.
	StalledAfter time.Duration `yaml:"stalled_after" default:"1m" help:"a run of which no item has ended for so long, with some in hand, says so"`
}

// defaultAdminAddr is where metrics and traces are: on loopback, for they are the operator's.
const defaultAdminAddr = "127.0.0.1:8081"

// empty is the configuration before anything is read: where the gateway's defaults are not those of all services.
func empty() Config {
	return Config{Common: service.Common{HTTPAddr: defaultHTTPAddr, AdminAddr: defaultAdminAddr}}
}

// DefaultConfig is the configuration of an empty file and environment.
func DefaultConfig() (Config, error) {
	c := empty()
	return c, config.Defaults(&c)
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{worker.Validate(c.Common)}
	positive := func(name string, v int64) {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("%s: must be above 0", name))
		}
	}
	l := c.Limits
	for name, v := range map[string]int64{
		"limits.max_audio_bytes": l.MaxAudioBytes, "limits.max_questions": int64(l.MaxQuestions),
		"limits.max_question_chars": int64(l.MaxQuestionChars), "limits.max_spans": int64(l.MaxSpans), "limits.max_answers": int64(l.MaxAnswers),
		"limits.max_open_jobs": int64(l.MaxOpenJobs), "limits.max_open_bulk_jobs": int64(l.MaxOpenBulkJobs),
		"limits.interactive_windows": int64(l.InteractiveWindows), "limits.bulk_windows": int64(l.BulkWindows),
		"limits.max_uploads": int64(l.MaxUploads), "limits.max_streams": int64(l.MaxStreams),
		"limits.max_uploads_per_client": int64(l.MaxUploadsPerClient), "limits.max_streams_per_client": int64(l.MaxStreamsPerClient),
		"limits.min_upload_rate": l.MinUploadRate, "limits.upload_window": int64(l.UploadWindow),
		"limits.upload_timeout": int64(l.UploadTimeout), "limits.request_timeout": int64(l.RequestTimeout),
		"limits.stream_timeout": int64(l.StreamTimeout), "limits.heartbeat": int64(l.Heartbeat), "limits.idempotency_ttl": int64(l.IdempotencyTTL),
		"fetch.timeout": int64(c.Fetch.Timeout), "sweep.interval": int64(c.Sweep.Interval),
		"events.job_events": int64(c.Events.JobEvents), "events.job_bytes": int64(c.Events.JobBytes),
		"events.jobs": int64(c.Events.Jobs), "events.total_bytes": int64(c.Events.TotalBytes),
		"reaper.interval": int64(c.Reaper.Interval), "reaper.grace": int64(c.Reaper.Grace), "reaper.idle": int64(c.Reaper.Idle),
		"reaper.republish": int64(c.Reaper.Republish),
		"runs.in_flight":   int64(c.Runs.InFlight), "runs.readers": int64(c.Runs.Readers), "runs.stalled_after": int64(c.Runs.StalledAfter),
		"recorder_concurrency": int64(c.RecorderConcurrency),
	} {
		positive(name, v)
	}
	if err := store.CheckURL(c.DatabaseURL.Reveal()); err != nil {
		faults = append(faults, fmt.Errorf("database_url: %w", err))
	}
	if _, err := source.New(c.Sources); err != nil {
		faults = append(faults, err)
	}
	if _, err := c.hosts(); err != nil {
		faults = append(faults, fmt.Errorf("hosts: %w", err))
	}
	if l.TenantWindows < 0 {
		faults = append(faults, errors.New("limits.tenant_windows: must not be below 0"))
	}
	if c.Retention < 0 {
		faults = append(faults, errors.New("retention: must not be below 0"))
	}
	if c.AdminAddr == "" {
		faults = append(faults, errors.New("admin_addr: must not be empty: metrics and traces are not for whoever reaches http_addr"))
	}
	if err := c.checkAuth(); err != nil {
		faults = append(faults, err)
	}
	if s := c.Sweep; s.MaxBytes < 0 || s.AudioBytes < 0 || s.WindowsBytes < 0 || s.KeepYounger < 0 || s.KeepWindows < 0 || s.MinFreeBytes < 0 {
		faults = append(faults, errors.New("sweep: budgets must not be below 0"))
	}
	if _, err := c.fetcher(); err != nil && c.Limits.MaxAudioBytes > 0 && c.Fetch.Timeout > 0 {
		faults = append(faults, fmt.Errorf("fetch: %w", err))
	}
	return errors.Join(faults...)
}

func (c *Config) fetcher() (*fetch.Fetcher, error) {
	return fetch.New(fetch.Config{
		Allow: c.Fetch.Allow, MaxBytes: c.Limits.MaxAudioBytes, Timeout: c.Fetch.Timeout, MaxRedirects: c.Fetch.MaxRedirects,
	}, fetch.Deps{})
}

// hosts are the configured ones and the name in http_addr, if it has one.
func (c *Config) hosts() (web.Hosts, error) {
	names := slices.Clone(c.Hosts)
	if bound, _, err := net.SplitHostPort(c.HTTPAddr); err == nil && bound != "" && bound != "0.0.0.0" && bound != "::" {
		names = append(names, bound)
	}
	return web.NewHosts(names)
}

func (c *Config) apiLimits() api.Limits { return api.Limits(c.Limits) }

func (c *Config) hub() *stream.Hub { return stream.New(stream.Config(c.Events)) }

func (c *Config) budget() blob.Budget {
	b := blob.Budget{Bytes: c.Sweep.MaxBytes, Prefixes: make(map[string]int64), KeepYounger: c.Sweep.KeepYounger, KeepDerivedYounger: c.Sweep.KeepWindows}
	if c.Sweep.AudioBytes > 0 {
		b.Prefixes[blob.PrefixAudio] = c.Sweep.AudioBytes
	}
	if c.Sweep.WindowsBytes > 0 {
		b.Prefixes[blob.PrefixPCM] = c.Sweep.WindowsBytes
	}
	return b
}
