package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
)

// Trimmed gives the trimmed topics of these names with the time that finished records are kept.
func Trimmed(topics []string) map[string]time.Duration {
	out := make(map[string]time.Duration)
	for _, spec := range event.Topics() {
		if spec.Trimmed && slices.Contains(topics, spec.Name) {
			out[spec.Name] = spec.Retention
		}
	}
	return out
}

// Trim deletes finished records of trimmed topics: those that every group with commits on the topic has committed; owner must be one of these groups. A finished record is deleted
// once it is older than keep says, or, where records is above 0, once its partition has so many finished records that are newer. It needs no lease: several instances may do it at once, and what one has deleted
// the others find deleted. It returns how many records it has deleted.
func Trim(ctx context.Context, client *kgo.Client, owner string, keep map[string]time.Duration, records int64) (int64, error) {
	if len(keep) == 0 {
		return 0, nil
	}
	admin := kadm.NewClient(client)
	committed, err := lowestCommits(ctx, admin, owner, keep)
	if err != nil {
		return 0, fmt.Errorf("trimming topics: %w", err)
	}
	var deleted int64
	for topic, retention := range keep {
		n, err := trimTopic(ctx, admin, topic, committed[topic], time.Now().Add(-retention), records)
		if err != nil {
			return deleted, fmt.Errorf("trimming %s: %w", topic, err)
		}
		deleted += n
	}
	return deleted, nil
}

// lowestCommits gives, for each partition that owner has committed, the lowest offset that any group which reads the topic has
// committed. A partition on which one of these groups has committed nothing is left out.
func lowestCommits(ctx context.Context, admin *kadm.Client, owner string, topics map[string]time.Duration) (map[string]map[int32]int64, error) {
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing groups: %w", err)
	}
	own, err := commitsOf(ctx, admin, owner)
	if err != nil {
		return nil, err
	}
	lowest := make(map[string]map[int32]int64)
	for topic := range topics {
		lowest[topic] = commitsOn(own, topic)
	}
	for _, name := range groups.Groups() {
		if name == owner {
			continue
		}
		commits, err := commitsOf(ctx, admin, name)
		if err != nil {
			return nil, err
		}
		for topic := range topics {
			lower(lowest[topic], commitsOn(commits, topic))
		}
	}
	return lowest, nil
}

// lower takes the commits of one more group on a topic into account. A group without any does not read the topic.
func lower(lowest, others map[int32]int64) {
	for partition, at := range lowest {
		other, ok := others[partition]
		switch {
		case len(others) == 0:
		case !ok:
			delete(lowest, partition)
		default:
			lowest[partition] = min(at, other)
		}
	}
}

// commitsOf reads the commits of a group; a group that does not exist, or no longer, has none.
func commitsOf(ctx context.Context, admin *kadm.Client, group string) (kadm.OffsetResponses, error) {
	commits, err := admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading commits of group %s: %w", group, err)
	}
	return commits, nil
}

func commitsOn(commits kadm.OffsetResponses, topic string) map[int32]int64 {
	out := make(map[int32]int64)
	for partition, c := range commits[topic] {
		if c.Err == nil && c.At >= 0 {
			out[partition] = c.At
		}
	}
	return out
}

// trimTopic deletes what lies below the commits and is older than before, or lies there below the newest so many records.
func trimTopic(ctx context.Context, admin *kadm.Client, topic string, committed map[int32]int64, before time.Time, records int64) (int64, error) {
	starts, err := offsets(admin.ListStartOffsets(ctx, topic))
	if err != nil {
		return 0, err
	}
	young, err := offsets(admin.ListOffsetsAfterMilli(ctx, before.UnixMilli(), topic))
	if err != nil {
		return 0, err
	}
	var deleted int64
	cut := make(kadm.Offsets)
	for partition, at := range committed {
		start, known := starts[partition]
		first, ok := young[partition]
		if records > 0 {
			first = max(first, at-records)
		}
		if to := min(at, first); known && ok && to > start {
			cut.AddOffset(topic, partition, to, -1)
			deleted += to - start
		}
	}
	if len(cut) == 0 {
		return 0, nil
	}
	done, err := admin.DeleteRecords(ctx, cut)
	if err != nil {
		return 0, err
	}
	var faults []error
	for _, partitions := range done {
		for _, p := range partitions {
			faults = append(faults, p.Err)
		}
	}
	return deleted, errors.Join(faults...)
}
