package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
)

// TailFrom is where Tail begins to read.
type TailFrom int

const (
	// Earliest reads all that the topic holds.
	Earliest TailFrom = iota
	// Latest reads what is written after Tail's caughtUp channel is closed.
	Latest
)

const (
	tailPoll = time.Second
	// tailRefresh is how often new partitions are looked for.
	tailRefresh = 10 * time.Second
	// tailIdlePolls without a record count as the end of the log: compaction and transactions may
	// leave offsets at the end of a partition that no record will ever have.
	tailIdlePolls = 3
	tailRetry     = 200 * time.Millisecond
)

// Tail reads every partition of a topic without a consumer group. It follows partitions added later, and reconnects for as
// long as ctx lives. fn is called for one record at a time, in order within a partition. caughtUp is closed once fn has
// had every record that existed at the start; with Latest, once the starting offsets are fixed, after which no record
// is missed. wait blocks until the reader has stopped after ctx ended; its error is nil unless the configuration is
// unusable.
func Tail(ctx context.Context, c Config, topic string, from TailFrom,
	fn func(rec event.Record, partition int32, offset int64),
) (caughtUp <-chan struct{}, wait func() error) {
	t := &tail{config: c, topic: topic, from: from, fn: fn, caughtUp: make(chan struct{}), goals: map[int32]int64{}, known: map[int32]bool{}}
	done := make(chan error, 1)
	go func() { done <- t.run(ctx) }()
	return t.caughtUp, sync.OnceValue(func() error { return <-done })
}

type tail struct {
	config Config
	topic  string
	from   TailFrom
	fn     func(event.Record, int32, int64)

	caughtUp chan struct{}
	caught   bool
	goals    map[int32]int64 // partition -> offset to reach before caughtUp
	known    map[int32]bool
	idle     int
}

func (t *tail) run(ctx context.Context) error {
	// Where to begin is asked for in addPartitions. A position that the log no longer has means that the log is another one.
	reset := kgo.NewOffset().AtStart()
	client, err := NewClient(t.config, nil, kgo.ConsumeResetOffset(reset), kgo.FetchMaxWait(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if !t.begin(ctx, client, admin, t.from) {
		return nil
	}
	refreshed := time.Now()
	for ctx.Err() == nil {
		if !t.poll(ctx, client) {
			// The client library does not take up a topic made anew before it has forgotten the old one.
			client.PurgeTopicsFromConsuming(t.topic)
			clear(t.known)
			clear(t.goals)
			if !t.begin(ctx, client, admin, Earliest) {
				return nil
			}
		}
		if time.Since(refreshed) > tailRefresh {
			refreshed = time.Now()
			_ = t.addPartitions(ctx, client, admin, Earliest) // tried again at the next refresh
		}
	}
	return nil
}

// begin fixes the starting offsets, trying until the topic exists and the broker answers.
func (t *tail) begin(ctx context.Context, client *kgo.Client, admin *kadm.Client, from TailFrom) bool {
	for {
		err := t.addPartitions(ctx, client, admin, from)
		if err == nil {
			t.checkCaughtUp()
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(tailRetry):
		}
	}
}

func (t *tail) addPartitions(ctx context.Context, client *kgo.Client, admin *kadm.Client, from TailFrom) error {
	starts, err := offsets(admin.ListStartOffsets(ctx, t.topic))
	if err != nil {
		return err
	}
	ends, err := offsets(admin.ListEndOffsets(ctx, t.topic))
	if err != nil {
		return err
	}
	fresh := make(map[int32]kgo.Offset)
	for p, start := range starts {
		if t.known[p] {
			continue
		}
		t.known[p] = true
		at := start
		if from == Latest {
			at = ends[p]
		}
		fresh[p] = kgo.NewOffset().At(at)
		if at < ends[p] && !t.caught {
			t.goals[p] = ends[p]
		}
	}
	if len(fresh) > 0 {
		client.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.topic: fresh})
	}
	return nil
}

func offsets(listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	out := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	if len(out) == 0 {
		return nil, errors.New("topic has no partitions")
	}
	return out, nil
}

// poll hands on what there is; false when the topic was made anew.
func (t *tail) poll(ctx context.Context, client *kgo.Client) bool {
	pollCtx, cancel := context.WithTimeout(ctx, tailPoll)
	defer cancel()
	fetches := client.PollFetches(pollCtx)
	seen := 0
	fetches.EachRecord(func(rec *kgo.Record) {
		seen++
		t.fn(FromClient(rec), rec.Partition, rec.Offset)
		if goal, ok := t.goals[rec.Partition]; ok && rec.Offset+1 >= goal {
			delete(t.goals, rec.Partition)
		}
	})
	t.noteIdle(ctx, client, seen, fetches.Err())
	t.checkCaughtUp()
	anew := false
	fetches.EachError(func(_ string, _ int32, err error) { anew = anew || errors.Is(err, kerr.UnknownTopicID) })
	return !anew
}

// noteIdle gives up the remaining goals once several polls have brought nothing although the broker answers: no record will
// reach them.
func (t *tail) noteIdle(ctx context.Context, client *kgo.Client, seen int, err error) {
	if t.caught || seen > 0 {
		t.idle = 0
		return
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return
	}
	if t.idle++; t.idle < tailIdlePolls {
		return
	}
	pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if client.Ping(pingCtx) == nil {
		clear(t.goals)
	}
}

func (t *tail) checkCaughtUp() {
	if !t.caught && len(t.goals) == 0 {
		t.caught = true
		close(t.caughtUp)
	}
}
