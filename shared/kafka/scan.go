package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
)

// Place is a record's place in its topic.
type Place struct {
	Partition int32
	Offset    int64
}

// scanIdlePolls without a record count as a partition's end: its last offsets may have no record.
const scanIdlePolls = 3

// Scan hands fn the records that a topic holds at the call, one partition after another, each in order, beginning at from and at the first
// record that is not older than since (zero: any age). It ends when fn returns false. The topic need not exist.
func Scan(ctx context.Context, c Config, topic string, from Place, since time.Time, fn func(rec event.Record, at Place) bool) error {
	client, err := NewClient(c, nil, kgo.FetchMaxWait(time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	starts, ends, err := scanBounds(ctx, kadm.NewClient(client), topic, since)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil
	}
	if err != nil {
		return unreachable(c, err)
	}
	for _, p := range slices.Sorted(maps.Keys(starts)) {
		start := starts[p]
		if p == from.Partition {
			start = max(start, from.Offset)
		}
		if p < from.Partition || start >= ends[p] {
			continue
		}
		more, err := scanPartition(ctx, client, topic, Place{p, start}, ends[p], fn)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// scanBounds are the first offset to read and the one after the last, by partition.
func scanBounds(ctx context.Context, admin *kadm.Client, topic string, since time.Time) (starts, ends map[int32]int64, err error) {
	if starts, err = offsets(admin.ListStartOffsets(ctx, topic)); err != nil {
		return nil, nil, err
	}
	if ends, err = offsets(admin.ListEndOffsets(ctx, topic)); err != nil || since.UnixMilli() <= 0 { // negative times mean something else to a broker
		return starts, ends, err
	}
	young, err := offsets(admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic))
	for p, at := range young {
		starts[p] = max(starts[p], at)
	}
	return starts, ends, err
}

// scanPartition reads a partition up to end; more is false if fn has had enough.
func scanPartition(ctx context.Context, client *kgo.Client, topic string, from Place, end int64, fn func(event.Record, Place) bool) (more bool, err error) {
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {from.Partition: kgo.NewOffset().At(from.Offset)}})
	defer client.RemoveConsumePartitions(map[string][]int32{topic: {from.Partition}})
	for idle := 0; idle < scanIdlePolls; idle++ {
		pollCtx, cancel := context.WithTimeout(ctx, tailPoll)
		fetches := client.PollFetches(pollCtx)
		cancel()
		if ctx.Err() != nil {
			return false, fmt.Errorf("reading %s: %w", topic, context.Cause(ctx))
		}
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return false, fmt.Errorf("reading %s: %w", topic, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			rec := it.Next()
			idle = -1
			if rec.Offset >= end {
				return true, nil
			}
			if rec.Offset >= from.Offset && !fn(FromClient(rec), Place{rec.Partition, rec.Offset}) {
				return false, nil
			}
			if rec.Offset == end-1 {
				return true, nil
			}
		}
	}
	return true, nil
}

// DeleteBefore deletes the records of a partition that lie before the place.
func DeleteBefore(ctx context.Context, c Config, topic string, at Place) error {
	client, err := NewClient(c, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	cut := make(kadm.Offsets)
	cut.AddOffset(topic, at.Partition, at.Offset, -1)
	done, err := kadm.NewClient(client).DeleteRecords(ctx, cut)
	if err != nil {
		return unreachable(c, err)
	}
	if p, ok := done.Lookup(topic, at.Partition); ok && p.Err != nil {
		return fmt.Errorf("deleting records of %s: %w", topic, p.Err)
	}
	return nil
}
