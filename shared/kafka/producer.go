package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// deliveryTimeout bounds how long one Publish waits for its acknowledgements.
	deliveryTimeout = 30 * time.Second
	// emitBuffer is how many best-effort records may wait for the broker.
	emitBuffer = 4096
)

// ErrTooLarge says that a record exceeds what the broker accepts; sending it again cannot help.
var ErrTooLarge = errors.New("record too large")

// Producer writes records: idempotent, acknowledged by all in-sync replicas, partitioned by key
// hash as Kafka's own clients do. It is safe for concurrent use.
type Producer struct {
	client  *kgo.Client
	log     *slog.Logger
	metrics *telemetry.StageMetrics
	emitted atomic.Int64 // best-effort records in the buffer
	dropped atomic.Int64
	purges  sync.WaitGroup
}

// NewProducer makes a producer; it connects with the first record.
func NewProducer(c Config, d Deps) (*Producer, error) {
	if d.Log == nil {
		return nil, errors.New("making producer: no logger given")
	}
	client, err := NewClient(c, d.Log,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // latency per hop matters more than batch size here
		kgo.RecordDeliveryTimeout(deliveryTimeout),
		// We prefer a bounded wait to the guarantee of no duplicates, because every sink is idempotent by outcome id.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MaxBufferedRecords(16*emitBuffer),
		kgo.UnknownTopicRetries(-1), // a topic may be provisioned a moment later
	)
	if err != nil {
		return nil, err
	}
	return &Producer{client: client, log: d.Log, metrics: telemetry.NewStageMetrics()}, nil
}

// Unacknowledged is the error of a Publish that some records did not come through.
type Unacknowledged struct {
	// Failed are the indexes of these records, rising. All others are acknowledged.
	Failed []int
	// First is why the first of them failed.
	First error
	total int
}

func (e *Unacknowledged) Error() string {
	return fmt.Sprintf("%d of %d records not acknowledged, first: %v", len(e.Failed), e.total, e.First)
}

func (e *Unacknowledged) Unwrap() error { return e.First }

// Publish writes the records and returns once each is acknowledged or has failed. An error is an *Unacknowledged: the caller
// publishes the failed records again, except after ErrTooLarge, which wins over other errors. A record without trace context gets
// the trace context of ctx.
func (p *Producer) Publish(ctx context.Context, recs ...event.Record) error {
	var wg sync.WaitGroup
	faults := make([]error, len(recs))
	wg.Add(len(recs))
	for i, rec := range recs {
		p.client.Produce(ctx, ToClient(withTrace(ctx, rec)), func(_ *kgo.Record, err error) {
			defer wg.Done()
			if err != nil {
				p.forgetLost(rec.Topic, err)
				faults[i] = fmt.Errorf("publishing to %s: %w", rec.Topic, tooLarge(err))
			}
		})
	}
	wg.Wait()
	return unacknowledged(faults)
}

// unacknowledged makes one error of the faults of a batch, nil if there is none.
func unacknowledged(faults []error) error {
	e := &Unacknowledged{total: len(faults)}
	for i, err := range faults {
		if err == nil {
			continue
		}
		e.Failed = append(e.Failed, i)
		if e.First == nil || (errors.Is(err, ErrTooLarge) && !errors.Is(e.First, ErrTooLarge)) {
			e.First = err
		}
	}
	if e.First == nil {
		return nil
	}
	return e
}

func tooLarge(err error) error {
	if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

// Emit writes a record if it can, and returns at once. It is for progress and tokens, which no answer depends on. When
// the buffer is full or the broker does not answer, the record is dropped and counted.
func (p *Producer) Emit(ctx context.Context, rec event.Record) {
	if p.emitted.Add(1) > emitBuffer {
		p.emitted.Add(-1)
		p.drop(ctx, rec.Topic)
		return
	}
	p.client.TryProduce(context.WithoutCancel(ctx), ToClient(withTrace(ctx, rec)), func(_ *kgo.Record, err error) {
		p.emitted.Add(-1)
		if err != nil {
			p.forgetLost(rec.Topic, err)
			p.drop(ctx, rec.Topic)
			p.log.Debug("dropping best-effort record", "topic", rec.Topic, "error", err)
		}
	})
}

// forgetLost makes the client take up a topic that was made anew, or whose broker came back without its log: the library goes on refusing
// records for it until it has forgotten the old topic.
func (p *Producer) forgetLost(topic string, err error) {
	if errors.Is(err, kerr.UnknownTopicID) {
		p.purges.Go(func() { p.client.PurgeTopicsFromProducing(topic) }) // not from within the library's callback
	}
}

func (p *Producer) drop(ctx context.Context, topic string) {
	p.dropped.Add(1)
	p.metrics.EventsDropped(ctx, topic, 1)
}

// Dropped is the number of best-effort records that were not written.
func (p *Producer) Dropped() int64 { return p.dropped.Load() }

// Close waits for what is buffered until ctx ends, then closes the connections.
func (p *Producer) Close(ctx context.Context) error {
	err := p.client.Flush(ctx)
	p.client.Close()
	p.purges.Wait()
	if err != nil {
		return fmt.Errorf("flushing producer: %w", err)
	}
	return nil
}

// withTrace adds the trace context of ctx to a record that has none.
func withTrace(ctx context.Context, rec event.Record) event.Record {
	if rec.Get("traceparent") == "" {
		rec.Headers = telemetry.InjectHeaders(ctx, rec.Headers)
	}
	return rec
}
