//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// scratch is what seeds share: folders on the machine's disk.
type scratch struct {
	dir    string
	models []string
}

// newScratch makes the folders; the caller removes dir.
func newScratch() (s scratch, err error) {
	root := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		root = "/dev/shm" // in memory: a transaction need not wait for a disk
	}
	if s.dir, err = os.MkdirTemp(root, "lark-sim-"); err != nil {
		return s, fmt.Errorf("making a scratch folder: %w", err)
	}
	for _, name := range []string{"one", "two"} {
		dir := filepath.Join(s.dir, "model-"+name)
		if err := writeBundle(dir, name); err != nil {
			return s, errors.Join(err, os.RemoveAll(s.dir))
		}
		s.models = append(s.models, dir)
	}
	return s, warm()
}

// warm has the cache make what all of its users in a process share: channels that are made inside of a bubble cannot be used in the next one.
func warm() error {
	ctx := context.Background()
	store, err := blob.Open(ctx, "mem://")
	if err != nil {
		return err
	}
	c, err := cache.Open(ctx, "", store, cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		return err
	}
	key := blob.PrefixEmbedding + "v1/warm"
	if err := c.Put(ctx, key, tensor.Matrix{Rows: 64, Cols: 64, Data: make([]float32, 64*64)}); err != nil {
		return err
	}
	_, err = c.Get(ctx, key, cache.Shape{Rows: 64, Cols: 64})
	return errors.Join(err, c.Close(), store.Close())
}

// simulate runs a seed under a virtual clock. It is called outside of bubbles.
func simulate(t *testing.T, seed uint64, s scratch, o Options) (r Result, err error) {
	defer func() {
		if fault := recover(); fault != nil { // goroutines that do not end
			err = fmt.Errorf("simulating seed %d: %v\n%s", seed, fault, bubbled())
		}
	}()
	synctest.Test(t, func(*testing.T) { r, err = inBubble(seed, s, o) })
	return r, err
}

// bubbled is where the goroutines of bubbles are.
func bubbled() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var out []string
	for _, g := range strings.Split(string(all), "\n\n") {
		if first, _, _ := strings.Cut(g, "\n"); strings.Contains(first, "synctest bubble") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

func inBubble(seed uint64, s scratch, o Options) (Result, error) {
	log := slog.New(slog.DiscardHandler)
	if o.Log != nil {
		log = slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	p := newPlan(dice(seed))
	w, err := newWorld(seed, p, s, log)
	if err != nil {
		return Result{Seed: seed}, err
	}
	w.open(p)
	clients := w.play(p)
	settled := w.settle()
	w.awaitHooks(clients)
	w.history.close(w.broker)
	v := newVerdict(w, p, clients)
	v.check(settled)
	r := Result{
		Seed: seed, Violations: v.found, Jobs: len(p.jobs), Faults: w.faults.counted(), VirtualS: time.Since(w.history.start).Seconds(), Outcomes: v.outcomes,
	}
	if o.Trace {
		for _, e := range w.history.entries {
			r.Trace = append(r.Trace, e.String())
		}
	}
	return r, w.close()
}

// play has the clients do their jobs among the faults, and waits for them.
func (w *world) play(p plan) []*watcher {
	ctx, cancel := context.WithTimeout(w.life, faultsFor+patience)
	defer cancel()
	var all sync.WaitGroup
	clients := make([]*watcher, len(p.jobs))
	for i, j := range p.jobs {
		clients[i] = &watcher{w: w, job: j}
		all.Go(func() { clients[i].follow(ctx) })
	}
	for _, n := range p.nemeses {
		all.Go(func() { w.harm(n) })
	}
	all.Go(func() {
		rest(context.Background(), faultsFor)
		w.faults.end()
	})
	all.Wait()
	return clients
}

// settle waits until every stage has finished everything that is on its topics; false if that does not happen.
func (w *world) settle() bool {
	ctx, cancel := context.WithTimeout(w.life, patience)
	defer cancel()
	for {
		if w.unread() == 0 {
			return true
		}
		if !rest(ctx, 5*time.Second) {
			return false
		}
	}
}

// unread counts what the groups have not committed.
func (w *world) unread() int64 {
	var total int64
	for stage, topics := range map[string][]string{
		event.StageChunker: {event.TopicJobs}, event.StageEncoder: {event.TopicWindows}, event.StageProjector: {event.TopicEmbeddings},
		event.StageLLM: {event.TopicPrompts}, event.StageRecorder: {event.TopicJobs, event.TopicAnswers},
	} {
		for _, delay := range event.RetryDelays() {
			topics = append(topics, event.RetryTopic(stage, delay))
		}
		for _, topic := range topics {
			total += w.broker.Unread(event.Group(stage), event.InLanes(topic)...)
		}
	}
	return total
}
