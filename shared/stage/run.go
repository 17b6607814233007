package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	pollRecords    = 512
	fetchBytes     = 4 << 20
	commitInterval = 500 * time.Millisecond
	commitTimeout  = 5 * time.Second
	// sessionTimeout is how long a killed instance keeps its partitions. Heartbeats run beside the
	// handlers, so that slow work does not need a longer one.
	sessionTimeout = 10 * time.Second
	heartbeat      = time.Second
	// A rebalance waits for work in hand as long as a drain does, so that a roll-out, which is both, does no work twice. It must end
	// rebalanceSpare before the group gives the instance up. The instance's other partitions are worked on meanwhile.
	rebalanceSpare = 30 * time.Second
	startBackoff   = 500 * time.Millisecond
	pollErrorLog   = 30 * time.Second
)

// Run consumes until ctx is cancelled, then drains: it fetches nothing more, lets running handlers
// finish within DrainTimeout, commits, and leaves the group. The error is nil after a clean drain.
func (r *Runner) Run(ctx context.Context) error {
	if r.started.Swap(true) {
		return errors.New("running stage: a Runner runs once")
	}
	if !r.provision(ctx) {
		return nil
	}
	client, err := kafka.NewClient(r.deps.Kafka, r.log, r.groupOptions()...)
	if err != nil {
		return fmt.Errorf("running stage %s: %w", r.cfg.Stage, err)
	}
	r.client = client
	close(r.opened)
	var beside sync.WaitGroup
	beside.Go(func() { r.trim(ctx) })
	beside.Go(func() { r.watchAhead(ctx) })
	r.poll(ctx)
	beside.Wait()
	return r.drain(context.WithoutCancel(ctx))
}

// provision makes the stage's retry topics where they are missing, trying until the broker answers.
func (r *Runner) provision(ctx context.Context) bool {
	for {
		err := kafka.Provision(ctx, r.deps.Kafka, event.WithPartitions(r.retries.specs(), int32(r.cfg.Partitions)))
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			r.log.Warn("retry topics not there yet", "error", err)
		}
		if !waitFor(ctx, startBackoff) {
			return false
		}
	}
}

func (r *Runner) groupOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.WithHooks(r.pulse),
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(slices.Concat(r.cfg.Topics, r.retries.names)...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeat),
		kgo.RebalanceTimeout(r.drainWait() + rebalanceSpare),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitInterval),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.FetchMaxWait(time.Second),
		// Only from a poll's return until its records stand in their partitions' queues: so that
		// no record of an assignment that has ended enters the queue of the next one.
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(r.noteCommitted),
		kgo.OnPartitionsAssigned(r.onAssigned),
		kgo.OnPartitionsRevoked(r.onRevoked),
		kgo.OnPartitionsLost(r.onLost),
	}
}

func (r *Runner) poll(ctx context.Context) {
	var logged time.Time
	for ctx.Err() == nil {
		fetches := r.client.PollRecords(ctx, pollRecords)
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if p := r.assigned.get(topicPartition{f.Topic, f.Partition}); p != nil && len(f.Records) > 0 {
				p.guard.seen(f.HighWatermark)
				r.noteFetched(ctx, p, f.FetchPartition)
				p.inbox.add(f.Records)
			}
		})
		r.client.AllowRebalance()
		r.takeUpAnew(fetches)
		err := fetches.Err()
		if err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(logged) > pollErrorLog {
			logged = time.Now()
			r.log.Warn("fetching records", "error", err)
		}
		waitFor(ctx, startBackoff)
	}
}

// takeUpAnew makes the client take up topics that were made anew, or whose broker came back without its log: the library goes on refusing to
// read them until it has forgotten the old ones.
func (r *Runner) takeUpAnew(fetches kgo.Fetches) {
	var topics []string
	fetches.EachError(func(topic string, _ int32, err error) {
		if errors.Is(err, kerr.UnknownTopicID) && !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	})
	if len(topics) == 0 {
		return
	}
	r.log.Warn("topics were made anew; reading them from their beginning", "topics", topics)
	r.client.PurgeTopicsFromConsuming(topics...)
	r.client.AddConsumeTopics(topics...)
}

func (r *Runner) onAssigned(_ context.Context, client *kgo.Client, assigned map[string][]int32) {
	for topic, ids := range assigned {
		for _, id := range ids {
			tp := topicPartition{topic, id}
			p := newPartition(tp, client, r.admit.places(), newGuard(r.deps.Marks, r.cfg.Group, tp, r.log))
			if !r.assigned.add(p) {
				p.close(ErrStopping)
				return // the instance leaves the group
			}
			r.work.Go(func() { p.feed(r.read, r.admit) }) //nolint:contextcheck // it lives as long as the partition, not as this call
		}
	}
	r.joined.Store(true)
}

// onRevoked gives partitions up in good order: begins nothing more, waits for what runs, commits
// what is finished, and forbids all commits after that.
func (r *Runner) onRevoked(ctx context.Context, _ *kgo.Client, revoked map[string][]int32) {
	parts := r.assigned.take(revoked)
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		p.stopNow()
	}
	if !waitIdle(parts, r.drainWait()) {
		r.log.Info("abandoning work on revoked partitions; it will be done again", "partitions", len(parts))
	}
	for _, p := range parts {
		p.close(ErrRevoked)
	}
	r.commit(ctx)
	closeGuards(ctx, parts)
}

// closeGuards tells the next owners of the partitions that this one has not died.
func closeGuards(ctx context.Context, parts []*partition) {
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() { p.guard.close(ctx) })
	}
	all.Wait()
}

// onLost drops partitions that another instance may already own: nothing is waited for or committed.
func (r *Runner) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	parts := r.assigned.take(lost)
	for _, p := range parts {
		p.guard.lose()
		p.close(ErrRevoked)
		p.stopped()
	}
	if len(parts) > 0 {
		r.log.Info("partitions lost; their work will be done again", "partitions", len(parts))
	}
}

func (r *Runner) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := r.client.CommitMarkedOffsets(ctx); err != nil {
		r.log.Warn("committing offsets; finished work will be done again", "error", err)
	}
}

// drainWait is how long work in hand may go on once the stage or its partition has to end.
func (r *Runner) drainWait() time.Duration { return r.cfg.DrainTimeout * 3 / 4 }

// drain ends the runner in good order; ctx is not the one whose end began it.
func (r *Runner) drain(ctx context.Context) error {
	r.joined.Store(false)
	parts := r.assigned.close()
	for _, p := range parts {
		p.stopNow()
	}
	clean := waitIdle(parts, r.drainWait())
	for _, p := range parts {
		p.close(ErrStopping)
	}
	ended := clean || waitIdle(parts, r.cfg.DrainTimeout/4)
	r.commit(ctx)
	closeGuards(ctx, parts)
	r.leave(ctx)
	if ended {
		r.work.Wait()
	}
	if !clean {
		return fmt.Errorf("draining stage %s: handlers still running after %s; their records will come again",
			r.cfg.Stage, r.drainWait())
	}
	return nil
}

// leave tells the group that the instance goes, so that others take over at once. It waits a bounded time: where the library waits for a rebalance that does not
// end, its Close does not return either, and a stage that must end cannot wait for that.
func (r *Runner) leave(ctx context.Context) {
	leaving, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := r.client.LeaveGroupContext(leaving); err != nil {
		r.log.Warn("leaving group", "group", r.cfg.Group, "error", err)
	}
	closed := make(chan struct{})
	go r.close(closed)
	closing, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	select {
	case <-closed:
	case <-closing.Done():
		r.log.Warn("the Kafka client does not close; the stage ends without it", "group", r.cfg.Group, "after", commitTimeout)
	}
}

// close closes the Kafka client. The library's Close polls once more at its end, which holds rebalances up until they are allowed, and may have left a goroutine
// that waits for one.
func (r *Runner) close(done chan<- struct{}) {
	defer close(done)
	r.client.Close()
	r.client.AllowRebalance()
}
