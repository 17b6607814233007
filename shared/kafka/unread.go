package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Unread counts the records of the topics that the group has not committed, whether the group exists, has members, or has ever committed
// anything on a partition. Lag leaves out what a group without members has never touched.
func Unread(ctx context.Context, c Config, group string, topics ...string) (int64, error) {
	client, err := NewClient(c, nil)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	each, err := UnreadBy(ctx, client, group, topics...)
	if err != nil {
		return 0, unreachable(c, err)
	}
	var unread int64
	for _, n := range each {
		unread += n
	}
	return unread, nil
}

// UnreadBy is Unread on an open client, topic by topic.
func UnreadBy(ctx context.Context, client *kgo.Client, group string, topics ...string) (map[string]int64, error) {
	left, err := uncommitted(ctx, kadm.NewClient(client), group, topics)
	if err != nil {
		return nil, err
	}
	unread := make(map[string]int64)
	for _, s := range left {
		unread[s.topic] += s.to - s.from
	}
	return unread, nil
}

// stretch is what a group has not committed of one partition: the offsets from from to before to.
type stretch struct {
	topic     string
	partition int32
	from, to  int64
}

// uncommitted lists the stretches of every partition of the topics, also the empty ones.
func uncommitted(ctx context.Context, admin *kadm.Client, group string, topics []string) ([]stretch, error) {
	commits, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	// The ends come last: what was there at the call is among them.
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for _, listed := range []kadm.ListedOffsets{starts, ends} {
		if err := listed.Error(); err != nil {
			return nil, fmt.Errorf("counting unread records of group %s: %w", group, err)
		}
	}
	var left []stretch
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = start.Offset
		}
		if commit, ok := commits.Lookup(end.Topic, end.Partition); ok {
			from = max(from, commit.At)
		}
		left = append(left, stretch{topic: end.Topic, partition: end.Partition, from: min(from, end.Offset), to: end.Offset})
	})
	return left, nil
}
