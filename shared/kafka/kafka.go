package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
)

// Config names the cluster. Every constructor of this package takes it.
type Config struct {
	// Brokers are the seed addresses, host:port.
	Brokers []string
	// ClientID is shown in the broker's logs and quotas; "larkstream" when empty.
	ClientID string
	// Security is how clients log in and whether they speak TLS.
	Security Security
	// Dial opens the connections to the brokers; nil takes the machine's network.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Deps are what the process hands in.
type Deps struct {
	Log *slog.Logger
}

const (
	dialTimeout = 5 * time.Second
	// pingTimeout bounds Ping, so that a wrong address is told at once and not after retries.
	pingTimeout = 5 * time.Second
	// metadataMaxAge is how soon new topics and partitions are seen.
	metadataMaxAge = 15 * time.Second
)

// ErrNoBrokers says that no broker address was configured.
var ErrNoBrokers = errors.New("no Kafka brokers configured: set KAFKA_BROKERS to host:port, or several with commas between")

// Validate reports an unusable configuration.
func (c Config) Validate() error {
	if len(c.Brokers) == 0 {
		return ErrNoBrokers
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return fmt.Errorf("reading broker address %q: %w", b, err)
		}
	}
	return c.Security.Validate()
}

// clientOptions are the options that every client of this system has. A nil log is silent.
func clientOptions(c Config, log *slog.Logger) ([]kgo.Opt, error) {
	id := c.ClientID
	if id == "" {
		id = "larkstream"
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.MetadataMaxAge(metadataMaxAge),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.RetryBackoffFn(retryBackoff),
	}
	secure, err := c.Security.TLSConfig()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Dial != nil:
		opts = append(opts, kgo.Dialer(c.Dial))
	case secure != nil:
		opts = append(opts, kgo.DialTimeout(dialTimeout), kgo.DialTLSConfig(secure))
	default:
		opts = append(opts, kgo.DialTimeout(dialTimeout))
	}
	if login := c.Security.Login(); login != nil {
		opts = append(opts, kgo.SASL(login))
	}
	if log != nil {
		opts = append(opts, kgo.WithHooks(&connectionLog{log: log}), kgo.WithLogger(&libraryLog{log: log}))
	}
	return opts, nil
}

// retryBackoff is the wait before a request is tried again: 50 ms doubling to 2 s, so that a broker
// restarted by a supervisor is found quickly.
func retryBackoff(tries int) time.Duration {
	return min(50*time.Millisecond<<min(tries, 6), 2*time.Second)
}

// NewClient validates the configuration and makes a client; it does not connect yet.
func NewClient(c Config, log *slog.Logger, opts ...kgo.Opt) (*kgo.Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	base, err := clientOptions(c, log)
	if err != nil {
		return nil, fmt.Errorf("making Kafka client: %w", err)
	}
	client, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("making Kafka client: %w", err)
	}
	return client, nil
}

// Ping reports whether a broker answers within five seconds.
func Ping(ctx context.Context, c Config) error {
	client, err := NewClient(c, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return unreachable(c, err)
	}
	return nil
}

func unreachable(c Config, err error) error {
	if remedy := c.Security.Remedy(err); remedy != "" {
		return fmt.Errorf("reaching Kafka at %s: %w; %s", strings.Join(c.Brokers, ", "), err, remedy)
	}
	return fmt.Errorf("reaching Kafka at %s: %w", strings.Join(c.Brokers, ", "), err)
}

// ToClient converts a record for the client library.
func ToClient(rec event.Record) *kgo.Record {
	out := &kgo.Record{Topic: rec.Topic, Value: rec.Value, Headers: make([]kgo.RecordHeader, len(rec.Headers))}
	if rec.Key != "" {
		out.Key = []byte(rec.Key)
	}
	for i, h := range rec.Headers {
		out.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
	}
	return out
}

// FromClient converts a record of the client library.
func FromClient(rec *kgo.Record) event.Record {
	out := event.Record{
		Topic: rec.Topic, Key: string(rec.Key), Value: rec.Value,
		Headers: make([]event.Header, len(rec.Headers)), Time: rec.Timestamp,
	}
	for i, h := range rec.Headers {
		out.Headers[i] = event.Header{Key: h.Key, Value: h.Value}
	}
	return out
}

// connectionLog writes one line when a broker stops answering, and one when it answers again.
type connectionLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	lost bool
}

var _ kgo.HookBrokerConnect = (*connectionLog)(nil)

// OnBrokerConnect is called by the client after each dial.
func (l *connectionLog) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	l.mu.Lock()
	changed := l.lost != (err != nil)
	l.lost = err != nil
	l.mu.Unlock()
	if !changed {
		return
	}
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	if err != nil {
		l.log.Warn("broker unreachable, retrying", "addr", addr, "error", err)
		return
	}
	l.log.Info("broker reachable again", "addr", addr)
}
