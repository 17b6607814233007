package service

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Common is the part of the configuration that every service has. Services embed it with
// `yaml:",inline"`.
type Common struct {
	// HTTPAddr serves health, readiness and metrics (and the gateway's API). Port 0 takes a free one,
	// which the ready line of the log names.
	HTTPAddr string `yaml:"http_addr" env:"LARK_HTTP_ADDR" flag:"http-addr" default:"127.0.0.1:0" help:"address of health, readiness and metrics; port 0 takes a free one"`
	// AdminAddr serves metrics, profiles and what else is for whoever runs the service; empty serves them on HTTPAddr.
	AdminAddr string `yaml:"admin_addr" env:"LARK_ADMIN_ADDR" flag:"admin-addr" help:"address of metrics and /debug, and of health and readiness once more; port 0 takes a free one; empty: http_addr"`
	// HTTPConnections bounds the connections to HTTPAddr. On those over the bounds only health, readiness and metrics are answered.
	HTTPConnections int `yaml:"http_connections" env:"LARK_HTTP_CONNECTIONS" flag:"http-connections" default:"4096" help:"HTTP connections at once; beyond them only health, readiness and metrics are answered"`
	// HTTPConnectionsPerClient bounds the connections from one IPv4 address or IPv6 network of 64 bits.
	HTTPConnectionsPerClient int `yaml:"http_connections_per_client" env:"LARK_HTTP_CONNECTIONS_PER_CLIENT" flag:"http-connections-per-client" default:"1024" help:"HTTP connections at once from one address; behind a proxy, all come from one"`
	// KafkaBrokers are host:port pairs of the brokers to start from.
	KafkaBrokers []string `yaml:"kafka_brokers" env:"KAFKA_BROKERS" flag:"kafka-brokers" default:"127.0.0.1:9092" help:"brokers to start from, host:port, separated by commas"`
	// KafkaPartitions is how many partitions the topics that carry work have at least; 0 makes new topics with 8 and lets others be.
	KafkaPartitions int `yaml:"kafka_partitions" env:"KAFKA_PARTITIONS" flag:"kafka-partitions" default:"0" help:"partitions of the topics that carry work, which bound the instances of a stage that work at once; topics with fewer grow; 0: 8 for new topics"`
	// KafkaKeepFinished bounds what a broker without much room keeps of finished records. lark up sets it for its own broker.
	KafkaKeepFinished int64 `yaml:"kafka_keep_finished" env:"KAFKA_KEEP_FINISHED" flag:"kafka-keep-finished" default:"0" help:"finished records that each partition of the topics that carry work keeps, the newest; 0: all of the last 7 days, of answers 30"`
	// Security is how the brokers are reached.
	Security kafka.Security `yaml:",inline"`
	// RedisURL is redis://[user:password@]host:port[/db]; empty runs without Redis, on blobs alone.
	RedisURL config.Secret `yaml:"redis_url" env:"REDIS_URL" flag:"redis-url" help:"redis://[user:password@]host:port[/db]; empty: the embedding cache is blobs alone"`
	// BlobURL is where audio, windows and embeddings lie: file:///dir or s3://bucket?....
	BlobURL config.Secret `yaml:"blob_url" env:"BLOB_URL" flag:"blob-url" default:"file://./data/blobs" help:"object store: file:///dir, file://./relative/dir or s3://bucket?endpoint=..."`
	// ModelDir is the folder of the model bundle.
	ModelDir string `yaml:"model_dir" env:"LARK_MODEL_DIR" flag:"model-dir" default:"models/lark-nano" help:"folder of the model bundle"`
	// EncoderPrecision is the arithmetic of a Jukebox encoder: f32, bf16x2 or bf16; empty is the bundle's. It is part of the model's digest,
	// so that stages which disagree refuse each other's records.
	EncoderPrecision string `yaml:"encoder_precision" env:"LARK_ENCODER_PRECISION" flag:"encoder-precision" help:"f32, bf16x2 or bf16, for a Jukebox encoder, the same in every service; empty: the bundle's"`
	// MaxAheadBytes bounds what a stage puts into the object store before the next stage has read it, in each lane.
	MaxAheadBytes int64 `yaml:"max_ahead_bytes" env:"LARK_MAX_AHEAD_BYTES" flag:"max-ahead-bytes" default:"1073741824" help:"bytes that a stage may put into the object store for the next stage, in each lane, before that has read them"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log_level" env:"LARK_LOG_LEVEL" flag:"log-level" default:"info" help:"debug, info, warn or error"`
	// LogFormat is text or json.
	LogFormat string `yaml:"log_format" env:"LARK_LOG_FORMAT" flag:"log-format" default:"text" help:"text or json"`
	// OTLPEndpoint is the base URL of an OTLP collector over HTTP; empty sends nothing.
	OTLPEndpoint string `yaml:"otlp_endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" flag:"otlp-endpoint" help:"base URL of an OTLP collector over HTTP, for traces and metrics; empty: nothing is sent"`
	// OTLPTracesEndpoint is a full URL for traces alone; it comes before OTLPEndpoint.
	OTLPTracesEndpoint string `yaml:"otlp_traces_endpoint" env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" flag:"otlp-traces-endpoint" help:"full URL for traces alone, before otlp-endpoint"`
	// DrainTimeout bounds the whole of an ordered stop.
	DrainTimeout time.Duration `yaml:"drain_timeout" env:"LARK_DRAIN_TIMEOUT" flag:"drain-timeout" default:"30s" help:"time to finish work in hand after SIGTERM"`
	// HandlerTimeout bounds one attempt of a stage on a record.
	HandlerTimeout time.Duration `yaml:"handler_timeout" env:"LARK_HANDLER_TIMEOUT" flag:"handler-timeout" default:"1h" help:"longest time of one attempt on a record; then the attempt has failed with the code timeout"`
	// StateFile, when set, names a file that holds {"pid", "http_addr"} while the service runs.
	StateFile string `yaml:"state_file" env:"LARK_STATE_FILE" flag:"state-file" help:"file to hold the process id and address while the service runs; empty for none"`
	// Pprof serves /debug/pprof on HTTPAddr, to whoever can reach it.
	Pprof bool `yaml:"pprof" env:"LARK_PPROF" flag:"pprof" help:"serve /debug/pprof on http-addr"`
}

// Validate reports all faults of the common settings, joined.
func (c Common) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, _, err := net.SplitHostPort(c.HTTPAddr); err != nil {
		fault("http_addr: %w", err)
	}
	if _, _, err := net.SplitHostPort(c.AdminAddr); c.AdminAddr != "" && err != nil {
		fault("admin_addr: %w", err)
	}
	if c.HTTPConnections <= 0 {
		fault("http_connections: must be above 0")
	}
	if c.HTTPConnectionsPerClient <= 0 {
		fault("http_connections_per_client: must be above 0")
	}
	if len(c.KafkaBrokers) == 0 {
		fault("kafka_brokers: at least one is needed")
	}
	for _, b := range c.KafkaBrokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			fault("kafka_brokers: %w", err)
		}
	}
	if c.KafkaPartitions < 0 || c.KafkaPartitions > event.MaxPartitions {
		fault("kafka_partitions: must be 0 to %d", event.MaxPartitions)
	}
	if c.KafkaKeepFinished < 0 {
		fault("kafka_keep_finished: must not be negative")
	}
	if err := c.Security.Validate(); err != nil {
		faults = append(faults, err)
	}
	if c.BlobURL == "" {
		fault("blob_url: is empty")
	}
	if c.MaxAheadBytes <= 0 {
		fault("max_ahead_bytes: must be above 0")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		fault("log_level: %q is not debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != telemetry.LogText && c.LogFormat != telemetry.LogJSON {
		fault("log_format: %q is not text or json", c.LogFormat)
	}
	if c.DrainTimeout <= 0 {
		fault("drain_timeout: must be above 0")
	}
	if c.HandlerTimeout <= 0 {
		fault("handler_timeout: must be above 0")
	}
	return errors.Join(faults...)
}

// Kafka returns the configuration of a service's Kafka clients.
func (c Common) Kafka(clientID string) kafka.Config {
	return kafka.Config{Brokers: c.KafkaBrokers, ClientID: clientID, Security: c.Security}
}

// Telemetry returns the telemetry configuration of a service.
func (c Common) Telemetry(name string) telemetry.Config {
	return telemetry.Config{
		Service: name, Version: Version(), OTLPEndpoint: c.OTLPEndpoint, OTLPTracesEndpoint: c.OTLPTracesEndpoint,
		LogLevel: c.LogLevel, LogFormat: c.LogFormat,
	}
}

// version is set by the linker: -X github.com/larkstream/larkstream/shared/service.version=v1.2.3.
var version string

// Version is the version that the binary was built from: what the linker was told, a module version, a
// commit, or "dev".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "dev"
}
