package topic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	ours "github.com/larkstream/larkstream/shared/kafka"
)

// AllPartitions is DumpConfig's default partition.
const AllPartitions = -1

// DumpConfig says what to dump.
type DumpConfig struct {
	Brokers []string
	// Security is how the brokers are reached.
	Security ours.Security
	Topic    string
	// Partition is the only one to read, or AllPartitions.
	Partition int
	// From is where to begin and To where to end; To itself is not dumped. Without Follow, nothing is dumped that is
	// written after the dump has begun.
	From, To Position
	// Follow goes on with what is written, until the context ends.
	Follow bool
	// Max ends the dump after so many records; 0 is no limit.
	Max int64
	// Key, unless nil, is the only key to dump.
	Key *string
	// Raw leaves the decoded payload out.
	Raw bool
	// Log tells of what holds up the dump; nil is silent.
	Log *slog.Logger
}

const (
	// fetchBytes bounds one answer of the broker, unless a single batch is larger; one answer per partition is in memory.
	fetchBytes = 1 << 20
	fetchWait  = 500 * time.Millisecond
	// idleFetches without a record count as the end: compaction and transactions leave offsets that no record has.
	idleFetches = 3
	// fetchTries in a row that fail end a dump that does not follow.
	fetchTries   = 8
	fetchBackoff = 100 * time.Millisecond
	fetchMaxWait = 2 * time.Second
)

// errEnough ends a dump that has reached its Max.
var errEnough = errors.New("enough records")

// Dump writes the records to out, one JSON object a line, and returns their number. Without Follow it reads one partition
// after another, each in order; with Follow it reads all of them at once, and ends without an error when ctx does.
func Dump(ctx context.Context, cfg DumpConfig, out io.Writer) (records int64, err error) {
	c, err := connect(cfg.Brokers, cfg.Security)
	if err != nil {
		return 0, err
	}
	defer c.close()
	d := &dumper{DumpConfig: cfg, cluster: c, out: bufio.NewWriterSize(out, 64<<10)}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	spans, err := d.spans(ctx)
	if err != nil {
		return 0, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	if !d.Follow {
		group.SetLimit(1)
	}
	for _, s := range spans {
		group.Go(func() error { return d.read(groupCtx, s) })
	}
	err = group.Wait()
	if errors.Is(err, errEnough) || (d.Follow && ctx.Err() != nil) {
		err = nil
	}
	return d.records, errors.Join(err, d.flush())
}

type dumper struct {
	DumpConfig
	cluster *cluster

	mu      sync.Mutex
	out     *bufio.Writer
	records int64
}

// span is a stretch of a partition, to excluded.
type span struct {
	partition int
	from, to  int64
}

func (d *dumper) spans(ctx context.Context) ([]span, error) {
	partitions, err := d.cluster.partitions(ctx, d.Topic)
	if err != nil {
		return nil, err
	}
	if d.Partition != AllPartitions {
		if !slices.Contains(partitions, d.Partition) {
			return nil, fmt.Errorf("topic %s has no partition %d; its partitions are 0 to %d", d.Topic, d.Partition, len(partitions)-1)
		}
		partitions = []int{d.Partition}
	}
	limits, err := d.cluster.bounds(ctx, d.Topic, partitions)
	if err != nil {
		return nil, err
	}
	from, err := d.cluster.resolve(ctx, d.Topic, d.From, limits)
	if err != nil {
		return nil, err
	}
	to, err := d.cluster.resolve(ctx, d.Topic, d.To, limits)
	if err != nil {
		return nil, err
	}
	spans := make([]span, len(partitions))
	for i, p := range partitions {
		spans[i] = span{partition: p, from: from[p], to: to[p]}
		if d.Follow {
			spans[i].to = math.MaxInt64
		}
	}
	return spans, nil
}

// read dumps a span.
func (d *dumper) read(ctx context.Context, s span) error {
	offset, idle, failed := s.from, 0, 0
	for offset < s.to {
		next, err := d.step(ctx, s, offset)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("dump of %s ended at partition %d, offset %d: %w", d.Topic, s.partition, next, context.Cause(ctx))
		case errors.Is(err, errEnough):
			return err
		case err != nil && next == offset:
			failed++
			if err := d.waitAfter(ctx, s, offset, failed, err); err != nil {
				return err
			}
			continue
		case next > offset:
			offset, idle, failed = next, 0, 0
			continue
		}
		failed = 0
		if idle++; idle >= idleFetches && !d.Follow {
			d.Log.Info("no records at the end of a partition", "topic", d.Topic, "partition", s.partition, "from", offset, "to", s.to)
			return nil
		}
	}
	return nil
}

// waitAfter waits after the failed fetch number n in a row; its error ends the dump.
func (d *dumper) waitAfter(ctx context.Context, s span, offset int64, n int, err error) error {
	err = fmt.Errorf("reading %s, partition %d from offset %d: %w", d.Topic, s.partition, offset, err)
	var output *outputError
	if errors.As(err, &output) || (n >= fetchTries && !d.Follow) {
		return err
	}
	if n == 1 {
		d.Log.Warn("reading failed, trying again", "error", err)
	}
	timer := time.NewTimer(min(fetchBackoff<<min(n, 10), fetchMaxWait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return nil
}

// step dumps what one fetch gives and returns the offset to go on from. An error with a later offset than before is one
// that the next fetch will meet again.
func (d *dumper) step(ctx context.Context, s span, offset int64) (next int64, err error) {
	resp, err := d.cluster.fetch(ctx, d.Topic, s.partition, offset)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return d.skipDeleted(ctx, s, offset, err)
	}
	if err != nil {
		return offset, err
	}
	next = offset
	for {
		rec, err := resp.ReadRecord()
		if errors.Is(err, io.EOF) {
			return next, d.flushIf(d.Follow)
		}
		if err != nil {
			return next, err
		}
		out, err := d.record(s, rec)
		switch {
		case err != nil:
			return next, err
		case rec.Offset < offset: // a batch begins before the offset that was asked for
			continue
		case rec.Offset >= s.to:
			return s.to, nil
		}
		if err := d.write(out); err != nil {
			return next, err
		}
		next = rec.Offset + 1
	}
}

// skipDeleted finds the offset to go on from when retention has deleted records before they were dumped.
func (d *dumper) skipDeleted(ctx context.Context, s span, offset int64, cause error) (int64, error) {
	limits, err := d.cluster.bounds(ctx, d.Topic, []int{s.partition})
	if err != nil {
		return offset, err
	}
	first := limits[s.partition].first
	if first <= offset {
		return offset, cause
	}
	d.Log.Warn("retention deleted records before they were dumped", "topic", d.Topic, "partition", s.partition, "from", offset, "to", first)
	return first, nil
}

func (c *cluster) fetch(ctx context.Context, topic string, partition int, offset int64) (kafka.RecordReader, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.client.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait,
	})
	if err != nil {
		return nil, err
	}
	if resp.Error != nil {
		return nil, resp.Error
	}
	return resp.Records, nil
}
