package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// backlogTimeout bounds one reading of a group.
	backlogTimeout = 10 * time.Second
	// backlogFetchBytes is how much of a partition is fetched to learn the time of one record.
	backlogFetchBytes = 64 << 10
)

// Backlogs asks the broker what consumer groups have left to do. Unlike a stage's own metrics, its answers are right while the stage is stopped,
// and while it is idle. It is for one goroutine.
type Backlogs struct {
	config Config
	client *kgo.Client
	admin  *kadm.Client
	first  map[string]map[stretch]time.Time // stage -> first record that it has left -> since when that record waits
}

// NewBacklogs makes a reader; it connects with the first reading. The caller must Close it.
func NewBacklogs(c Config) (*Backlogs, error) {
	client, err := NewClient(c, nil, kgo.FetchMaxPartitionBytes(backlogFetchBytes), kgo.FetchMaxWait(time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	return &Backlogs{config: c, client: client, admin: kadm.NewClient(client), first: make(map[string]map[stretch]time.Time)}, nil
}

// Close ends the connections.
func (b *Backlogs) Close() { b.client.Close() }

// Read tells, for every partition of the topics, what the stage's group has not committed, and how many members the group has.
func (b *Backlogs) Read(ctx context.Context, stage string, topics ...string) (telemetry.Backlog, error) {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	out := telemetry.Backlog{Stage: stage, Group: event.Group(stage)}
	var err error
	if out.Members, err = b.members(ctx, out.Group); err != nil {
		return out, unreachable(b.config, err)
	}
	left, err := uncommitted(ctx, b.admin, out.Group, topics)
	if err != nil {
		return out, unreachable(b.config, err)
	}
	since, err := b.waiting(ctx, left, b.first[stage])
	b.first[stage] = since
	if err != nil {
		return out, fmt.Errorf("reading the first records that %s has left: %w", stage, err)
	}
	for _, s := range left {
		out.Partitions = append(out.Partitions, telemetry.PartitionBacklog{
			Topic: s.topic, Lane: event.LaneOf(s.topic), Retry: event.IsRetry(s.topic), Partition: s.partition,
			Records: s.to - s.from, Since: since[s.head()],
		})
	}
	return out, nil
}

func (b *Backlogs) members(ctx context.Context, group string) (int, error) {
	described, err := b.admin.DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil
	}
	return len(described[group].Members), err
}

// head names the first record of a stretch.
func (s stretch) head() stretch { return stretch{topic: s.topic, partition: s.partition, from: s.from} }

// waiting tells since when the first record of each stretch waits. It fetches only the records that known does not name: while a stage is
// stopped, the first record stays the same.
func (b *Backlogs) waiting(ctx context.Context, left []stretch, known map[stretch]time.Time) (map[stretch]time.Time, error) {
	since, unseen := make(map[stretch]time.Time), make(map[stretch]bool)
	for _, s := range left {
		at, ok := known[s.head()]
		switch {
		case s.from == s.to:
		case ok:
			since[s.head()] = at
		default:
			unseen[s.head()] = true
		}
	}
	return since, b.fetch(ctx, unseen, since)
}

// fetch reads the records named and notes since when they wait.
func (b *Backlogs) fetch(ctx context.Context, unseen map[stretch]bool, since map[stretch]time.Time) error {
	if len(unseen) == 0 {
		return nil
	}
	from, named := make(map[string]map[int32]kgo.Offset), make(map[string][]int32)
	begins := make(map[stretch]stretch)
	for s := range unseen {
		if from[s.topic] == nil {
			from[s.topic] = make(map[int32]kgo.Offset)
		}
		from[s.topic][s.partition] = kgo.NewOffset().At(s.from)
		named[s.topic] = append(named[s.topic], s.partition)
		begins[stretch{topic: s.topic, partition: s.partition}] = s
	}
	b.client.AddConsumePartitions(from)
	defer b.client.RemoveConsumePartitions(named)
	for len(begins) > 0 {
		fetches := b.client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			at := stretch{topic: rec.Topic, partition: rec.Partition}
			if s, ok := begins[at]; ok {
				since[s] = waitsSince(rec)
				delete(begins, at)
			}
		})
	}
	return nil
}

// waitsSince is when a record was written, or, on a retry topic, when it is due.
func waitsSince(rec *kgo.Record) time.Time {
	if ms, err := strconv.ParseInt(FromClient(rec).Get(event.HeaderNotBefore), 10, 64); err == nil && event.IsRetry(rec.Topic) {
		if due := time.UnixMilli(ms); due.After(rec.Timestamp) {
			return due
		}
	}
	return rec.Timestamp
}
