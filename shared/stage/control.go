package stage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	// maxCancelled bounds the remembered jobs, at about 50 bytes each and so 50 MB in all; memory grows with the jobs, not ahead of them. The
	// oldest are forgotten first: their job ends all the same, because the gateway ends it, and only the work on its records is done in vain.
	maxCancelled = 1_000_000
	// maxWatched bounds the jobs of which is remembered that somebody streams them. A gateway serves a thousand streams.
	maxWatched = 50_000
)

// jobSum stands for a job id of any length: the first half of its SHA-256. Nobody finds two ids with one sum.
type jobSum [sha256.Size / 2]byte

func sumOf(job string) jobSum {
	sum := sha256.Sum256([]byte(job))
	return jobSum(sum[:sha256.Size/2])
}

// Control reads from the compacted control topic which jobs are cancelled and which are watched. All runners of a process share one.
type Control struct {
	config   kafka.Config
	log      *slog.Logger
	caughtUp chan struct{}

	mu        sync.Mutex
	cancelled map[jobSum]struct{}
	order     []jobSum // as cancelled; may name jobs removed since
	watchers  map[string]map[*context.CancelCauseFunc]struct{}
	watched   map[string]time.Time // job -> until when the word that somebody streams it counts
}

// NewControl makes a Control; it uses Deps.Log alone. The Control knows nothing until Run has read the topic.
func NewControl(c kafka.Config, d Deps) (*Control, error) {
	if d.Log == nil {
		return nil, errors.New("making control: no logger given")
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("making control: %w", err)
	}
	return &Control{
		config: c, log: d.Log, caughtUp: make(chan struct{}),
		cancelled: make(map[jobSum]struct{}), watchers: make(map[string]map[*context.CancelCauseFunc]struct{}),
		watched: make(map[string]time.Time),
	}, nil
}

// Run follows the control topic until ctx is cancelled.
func (c *Control) Run(ctx context.Context) error {
	caughtUp, wait := kafka.Tail(ctx, c.config, event.TopicControl, kafka.Earliest, c.take)
	select {
	case <-caughtUp:
		close(c.caughtUp)
	case <-ctx.Done():
	}
	if err := wait(); err != nil {
		return fmt.Errorf("following %s: %w", event.TopicControl, err)
	}
	return nil
}

// Ready is nil once every record that was on the topic at the start has been read.
func (c *Control) Ready() error {
	select {
	case <-c.caughtUp:
		return nil
	default:
		return errors.New("control topic not read to its end yet")
	}
}

// take reads one control record; a tombstone forgets the job.
func (c *Control) take(rec event.Record, partition int32, offset int64) {
	if len(rec.Value) == 0 {
		c.forget(rec.Key)
		return
	}
	msg, err := event.DecodeAs[*eventpb.Control](rec)
	if err != nil {
		c.log.Warn("skipping control record", "partition", partition, "offset", offset, "error", err)
		return
	}
	if msg.GetKind() == event.ControlWatch {
		c.noteWatched(msg.GetJobId(), time.UnixMilli(msg.GetAtUnixMs()).Add(event.WatchLease))
		return
	}
	c.cancel(msg.GetJobId())
}

// forget takes a tombstone.
func (c *Control) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if job, ok := event.UnwatchedJob(key); ok {
		delete(c.watched, job)
		return
	}
	delete(c.cancelled, sumOf(key))
}

func (c *Control) noteWatched(job string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if len(c.watched) >= maxWatched {
		maps.DeleteFunc(c.watched, func(_ string, until time.Time) bool { return now.After(until) })
	}
	if now.Before(until) && len(c.watched) < maxWatched {
		c.watched[job] = until
	}
}

// Watched tells whether somebody streams the job.
func (c *Control) Watched(jobID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.watched[jobID]
	return ok && time.Now().Before(until)
}

func (c *Control) cancel(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := sumOf(job)
	if _, known := c.cancelled[sum]; !known {
		c.cancelled[sum] = struct{}{}
		c.order = append(c.order, sum)
	}
	for len(c.order) > maxCancelled {
		delete(c.cancelled, c.order[0])
		c.order = c.order[1:]
	}
	for cancel := range c.watchers[job] {
		(*cancel)(ErrCancelled)
	}
}

// watch calls cancel with ErrCancelled once the job is cancelled, at once if it is already. A nil Control never cancels,
// and neither does a record without a job.
func (c *Control) watch(job string, cancel context.CancelCauseFunc) (unwatch func()) {
	if c == nil || job == "" {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, cancelled := c.cancelled[sumOf(job)]; cancelled {
		cancel(ErrCancelled)
		return func() {}
	}
	if c.watchers[job] == nil {
		c.watchers[job] = make(map[*context.CancelCauseFunc]struct{})
	}
	c.watchers[job][&cancel] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers[job], &cancel)
		if len(c.watchers[job]) == 0 {
			delete(c.watchers, job)
		}
	}
}
