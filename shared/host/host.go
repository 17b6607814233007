// Package host is what a service runs on. The zero Host is this machine: its network, its clock, its disks. The simulator (lab/sim) gives
// each of its services a Host of its own, and everything else in the service stays as it is.
package host

import (
	"cmp"
	"context"
	"database/sql/driver"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Producer writes records; see kafka.Producer.
type Producer interface {
	Publish(ctx context.Context, recs ...event.Record) error
	Emit(ctx context.Context, rec event.Record)
	Close(ctx context.Context) error
}

var _ Producer = (*kafka.Producer)(nil)

// Host is what a service runs on. A nil field stands for what the machine has.
type Host struct {
	// Log is the service's logger. With it the service starts no telemetry of its own.
	Log *slog.Logger
	// ClientID is the service's name in Kafka.
	ClientID string
	// Dial opens connections to Kafka.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Objects is the object store.
	Objects *blob.Store
	// Hot is the fast tier of the cache, in place of Redis.
	Hot cache.Cache
	// Wrap stands before the producer.
	Wrap func(Producer) Producer
	// Handler stands before the handler of a stage.
	Handler func(stage string, h stage.Handler) stage.Handler
	// Now tells the time of day on the machine, which may be wrong.
	Now func() time.Time
	// Outside carries the requests of webhooks.
	Outside http.RoundTripper
	// Random gives random numbers of 64 bits for jitter, to several goroutines.
	Random func() uint64
	// NewID gives a new job id.
	NewID func() string
	// Database stands before the database.
	Database func(driver.Connector) driver.Connector
	// Serve runs the parts of the service until ctx ends.
	Serve func(ctx context.Context, cfg service.Common, log *slog.Logger, parts ...service.Part) error
}

// Telemetry starts the service's telemetry. The function returned stops it.
func (h Host) Telemetry(ctx context.Context, cfg telemetry.Config) (*telemetry.Telemetry, func(context.Context) error, error) {
	if h.Log != nil {
		return &telemetry.Telemetry{Log: h.Log}, func(context.Context) error { return nil }, nil
	}
	return telemetry.Start(ctx, cfg)
}

// Blobs opens the object store.
func (h Host) Blobs(ctx context.Context, url string) (*blob.Store, error) {
	if h.Objects != nil {
		return h.Objects, nil
	}
	return blob.Open(ctx, url)
}

// Kafka is the configuration of clients of the cluster.
func (h Host) Kafka(c kafka.Config) kafka.Config {
	c.ClientID, c.Dial = cmp.Or(h.ClientID, c.ClientID), h.Dial
	return c
}

// Producer makes a producer; it connects with the first record.
func (h Host) Producer(c kafka.Config, d kafka.Deps) (Producer, error) {
	p, err := kafka.NewProducer(c, d)
	if err != nil {
		return nil, err
	}
	if h.Wrap != nil {
		return h.Wrap(p), nil
	}
	return p, nil
}

// Handle is what a stage calls for each record.
func (h Host) Handle(name string, handler stage.Handler) stage.Handler {
	if h.Handler != nil {
		return h.Handler(name, handler)
	}
	return handler
}

// Run runs the parts of a service until ctx ends or a part stops, and serves HTTP.
func (h Host) Run(ctx context.Context, cfg service.Common, name string, tel *telemetry.Telemetry, parts ...service.Part) error {
	if h.Serve != nil {
		return h.Serve(ctx, cfg, tel.Log, parts...)
	}
	return service.Run(ctx, cfg, name, service.Version(), tel, tel.Log, parts...)
}
