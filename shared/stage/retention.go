package stage

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/kafka"
)

// trimInterval is about how often an instance deletes what is committed and old. Any instance does it for all partitions. Where the number of finished records
// is bounded, the broker has an index of them in memory, and a large catalogue makes half a million of them in ten minutes.
const (
	trimInterval        = 10 * time.Minute
	boundedTrimInterval = time.Minute
)

// trimEvery returns about how often the stage deletes finished records.
func (c Config) trimEvery() time.Duration {
	if c.KeepFinished > 0 {
		return boundedTrimInterval
	}
	return trimInterval
}

// trim keeps the stage's topics from growing for ever: they have no retention, so that nothing is deleted before it is done.
func (r *Runner) trim(ctx context.Context) {
	keep := kafka.Trimmed(slices.Concat(r.cfg.Topics, r.retries.names))
	every := r.cfg.trimEvery()
	for len(keep) > 0 && waitFor(ctx, every/2+r.chance.below(every)) { // so that instances take turns
		n, err := kafka.Trim(ctx, r.client, r.cfg.Group, keep, r.cfg.KeepFinished)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("finished records are not deleted; trying again later", "error", err)
		}
		if n > 0 {
			r.log.Debug("deleted finished records", "records", n)
		}
	}
}

// noteCommitted remembers where the consumption of newly assigned partitions begins, and raises the alarm where the log begins
// later. It changes nothing.
func (r *Runner) noteCommitted(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	select {
	case <-r.opened: // the group may give partitions before the function that opens the client has returned
	case <-ctx.Done():
		return offsets, nil
	}
	starts, err := kadm.NewClient(r.client).ListStartOffsets(ctx, slices.Collect(maps.Keys(offsets))...)
	if err != nil && ctx.Err() == nil { // then the first fetch tells
		r.log.Warn("asking where the topics begin", "error", err)
	}
	for topic, partitions := range offsets {
		for id, at := range partitions {
			p := r.assigned.get(topicPartition{topic, id})
			committed := at.EpochOffset().Offset
			if p == nil || committed < 0 {
				continue
			}
			p.next.Store(committed)
			if start, ok := starts.Lookup(topic, id); ok && start.Err == nil {
				r.noteStart(ctx, p, start.Offset)
			}
		}
	}
	return offsets, nil
}

// noteFetched follows the partition, and raises the alarm where the log begins behind what was fetched before.
func (r *Runner) noteFetched(ctx context.Context, p *partition, fetched kgo.FetchPartition) {
	r.noteStart(ctx, p, fetched.LogStartOffset)
	p.next.Store(fetched.Records[len(fetched.Records)-1].Offset + 1)
}

// noteStart raises the alarm when the log of a partition begins behind the record that comes next: the broker has deleted records
// that the stage has not had. The client goes on with the first record that is left, as if nothing had happened.
func (r *Runner) noteStart(ctx context.Context, p *partition, start int64) {
	next := p.next.Load()
	if next < 0 || start <= next { // negative while nothing is committed: consumption begins at the first record there is
		return
	}
	p.next.Store(start)
	r.metrics.Lost(ctx, r.cfg.Stage, p.topic, start-next)
	r.log.ErrorContext(ctx, "the broker deleted records before they were handled: their questions will get no answer from here; "+
		"set retention.ms of the topic to -1, Larkstream deletes what is finished itself",
		"topic", p.topic, "partition", p.id, "records", start-next, "committed", next, "log_start", start)
}
