package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	pollRecords    = 64
	fetchBytes     = 4 << 20
	commitInterval = 500 * time.Millisecond
	commitTimeout  = 5 * time.Second
	// sessionTimeout is how long a killed instance keeps its partitions. Heartbeats run beside the
	// handlers, so that slow work does not need a longer one.
	sessionTimeout   = 10 * time.Second
	heartbeat        = time.Second
	rebalanceTimeout = time.Minute
	// revokeWait bounds how long a rebalance waits for work in hand; below rebalanceTimeout.
	revokeWait   = 30 * time.Second
	startBackoff = 500 * time.Millisecond
	// retryPartitions and retryRetention of retry topics that the provisioning did not make.
	retryPartitions = 8
	retryRetention  = 7 * 24 * time.Hour
	pollErrorLog    = 30 * time.Second
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
	r.poll(ctx)
	return r.drain(context.WithoutCancel(ctx))
}

// provision makes the stage's retry topics where they are missing, trying until the broker answers.
func (r *Runner) provision(ctx context.Context) bool {
	specs := make([]event.TopicSpec, 0, len(r.cfg.RetryDelays))
	for _, d := range r.cfg.RetryDelays {
		specs = append(specs, event.TopicSpec{
			Name: event.RetryTopic(r.cfg.Stage, d), Partitions: retryPartitions, Retention: retryRetention,
		})
	}
	for {
		err := kafka.Provision(ctx, r.deps.Kafka, specs)
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
	topics := append([]string{}, r.cfg.Topics...)
	for _, d := range r.cfg.RetryDelays {
		topics = append(topics, event.RetryTopic(r.cfg.Stage, d))
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeat),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitInterval),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(pauseBytes),
		kgo.FetchMaxWait(time.Second),
		// Only from a poll's return until its records stand in their partitions' queues: so that
		// no record of an assignment that has ended enters the queue of the next one.
		kgo.BlockRebalanceOnPoll(),
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
			if p := r.partition(topicPartition{f.Topic, f.Partition}); p != nil && len(f.Records) > 0 {
				p.enqueue(f.Records)
			}
		})
		r.client.AllowRebalance()
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

func (r *Runner) partition(tp topicPartition) *partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.parts[tp]
}

func (r *Runner) onAssigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, ids := range assigned {
		for _, id := range ids {
			p := newPartition(r, topicPartition{topic, id})
			r.parts[p.topicPartition] = p
			r.work.Go(p.feed)
		}
	}
	r.assigned.Store(true)
}

// onRevoked gives partitions up in good order: begins nothing more, waits for what runs, commits
// what is finished, and forbids all commits after that.
func (r *Runner) onRevoked(ctx context.Context, _ *kgo.Client, revoked map[string][]int32) {
	parts := r.take(revoked)
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		p.stopNow()
	}
	if !waitIdle(parts, min(r.cfg.DrainTimeout, revokeWait)) {
		r.log.Info("abandoning work on revoked partitions; it will be done again", "partitions", len(parts))
	}
	for _, p := range parts {
		p.close(ErrRevoked)
	}
	r.commit(ctx)
}

// onLost drops partitions that another instance may already own: nothing is waited for or committed.
func (r *Runner) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	parts := r.take(lost)
	for _, p := range parts {
		p.close(ErrRevoked)
		p.stopped()
	}
	if len(parts) > 0 {
		r.log.Info("partitions lost; their work will be done again", "partitions", len(parts))
	}
}

func (r *Runner) take(partitions map[string][]int32) []*partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*partition
	for topic, ids := range partitions {
		for _, id := range ids {
			tp := topicPartition{topic, id}
			if p := r.parts[tp]; p != nil {
				out = append(out, p)
				delete(r.parts, tp)
			}
		}
	}
	return out
}

func (r *Runner) takeAll() []*partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Collect(maps.Values(r.parts))
	clear(r.parts)
	return out
}

func (r *Runner) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := r.client.CommitMarkedOffsets(ctx); err != nil {
		r.log.Warn("committing offsets; finished work will be done again", "error", err)
	}
}

// drain ends the runner in good order; ctx is not the one whose end began it.
func (r *Runner) drain(ctx context.Context) error {
	r.assigned.Store(false)
	parts := r.takeAll()
	for _, p := range parts {
		p.stopNow()
	}
	clean := waitIdle(parts, r.cfg.DrainTimeout*3/4)
	for _, p := range parts {
		p.close(ErrStopping)
	}
	ended := clean || waitIdle(parts, r.cfg.DrainTimeout/4)
	r.commit(ctx)
	r.leave(ctx)
	if ended {
		r.work.Wait()
	}
	if !clean {
		return fmt.Errorf("draining stage %s: handlers still running after %s; their records will come again",
			r.cfg.Stage, r.cfg.DrainTimeout*3/4)
	}
	return nil
}

// leave tells the group that the instance goes, so that others take over at once.
func (r *Runner) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := r.client.LeaveGroupContext(ctx); err != nil {
		r.log.Warn("leaving group", "group", r.cfg.Group, "error", err)
	}
	r.client.Close()
	for _, p := range r.takeAll() { // assigned during the drain
		p.close(ErrStopping)
	}
}

// waitFor waits for d; false when ctx ends first.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// backoff is the jittered wait before attempt n+1 (n from 1): base doubling, half to one and a half.
func backoff(base time.Duration, n int) time.Duration {
	d := min(base<<min(n-1, 16), 30*time.Second)
	return d/2 + rand.N(d+1) //nolint:gosec // jitter needs no secrecy
}
