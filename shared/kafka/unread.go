package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Unread counts the records of the topics that the group has not committed, whether the group exists, has members, or has ever committed
// anything on a partition. Lag leaves out what a group without members has never touched.
func Unread(ctx context.Context, c Config, group string, topics ...string) (int64, error) {
	client, err := NewClient(c, nil)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	commits, err := admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return 0, unreachable(c, err)
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return 0, unreachable(c, err)
	}
	// The ends come last: what was there at the call is among them.
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return 0, unreachable(c, err)
	}
	var unread int64
	for _, listed := range []kadm.ListedOffsets{starts, ends} {
		if err := listed.Error(); err != nil {
			return 0, fmt.Errorf("counting unread records of group %s: %w", group, err)
		}
	}
	ends.Each(func(end kadm.ListedOffset) {
		from := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = start.Offset
		}
		if commit, ok := commits.Lookup(end.Topic, end.Partition); ok {
			from = max(from, commit.At)
		}
		unread += max(0, end.Offset-from)
	})
	return unread, nil
}
