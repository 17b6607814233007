//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
)

// nemesis is one of them.
type nemesis struct {
	kind  string
	at    time.Duration
	lasts time.Duration
	stage string
	pick  int // among several
}

func newNemeses(d dice) []nemesis {
	var out []nemesis
	for _, kind := range nemesisKinds() {
		if !d.hit(0.3, "nemesis", kind) {
			continue
		}
		for i := range 1 + d.below(4, "nemeses", kind) {
			id := fmt.Sprint(kind, i)
			out = append(out, nemesis{
				kind: kind, at: d.between(time.Second, faultsFor, "at", id), lasts: d.between(time.Second, 25*time.Second, "lasts", id),
				stage: stagesAndGateway()[d.below(len(stagesAndGateway()), "stage", id)], pick: d.below(1000, "pick", id),
			})
		}
	}
	for i := range out { // longer than a member of a group may be silent
		if out[i].kind == hang {
			out[i].lasts *= 2
		}
	}
	for i := range out { // longer than all retries together
		if (out[i].kind == objectsDown || out[i].kind == outage) && d.hit(0.04, "long", i) {
			out[i].lasts = 13 * time.Minute
		}
	}
	for i := range out { // a stage that is away for minutes: deadlines and cancels must hold without it
		if out[i].kind == away && d.hit(0.25, "long", i) {
			out[i].lasts = 4 * time.Minute
		}
	}
	return out
}

// harm does the harm of a nemesis at its time, and mends it when it has lasted.
func (w *world) harm(n nemesis) {
	rest(context.Background(), n.at)
	if !w.faults.count(n.kind) {
		return
	}
	w.history.add(entry{who: "nemesis", what: struck, id: n.kind, detail: n.stage})
	if mend := w.begin(n); mend != nil {
		rest(context.Background(), n.lasts)
		mend()
		w.history.add(entry{who: "nemesis", what: mended, id: n.kind, detail: n.stage})
	}
}

// begin does the harm; mend, which may be nil, ends it.
func (w *world) begin(n nemesis) (mend func()) {
	slots := w.of(n.stage)
	one := slots[n.pick%len(slots)]
	switch n.kind {
	case killProcess:
		if p := one.process(); p != nil {
			p.kill(n.kind)
		}
	case crashLoop:
		w.crash(one, n)
	case outage:
		down := w.outages[event.WorkStages()[n.pick%len(event.WorkStages())]]
		down.Add(1)
		return func() { down.Add(-1) }
	case restart:
		one.pause()
		return one.resume
	case away:
		for _, s := range slots {
			s.pause()
		}
		return func() {
			for _, s := range slots {
				s.resume()
			}
		}
	case cutOff:
		if p := one.process(); p != nil {
			p.cut()
		}
	case evict:
		return w.evict(n)
	case hang:
		if p := one.process(); p != nil {
			p.hang(n.lasts)
			return func() {}
		}
	case clockJump:
		wrong := w.faults.between(-20*time.Minute, 20*time.Minute, n.kind, one.name, n.at)
		one.clock.Add(int64(wrong))
		w.ahead.Store(max(w.ahead.Load(), int64(wrong)))
		return func() { one.clock.Add(-int64(wrong)) }
	case hooksDown:
		return during(&w.receiver.down)
	case objectsDown:
		return during(&w.objectsDown)
	case objectsSlow:
		return during(&w.objectsSlow)
	case redisDown:
		return during(&w.redisDown)
	case redisLost:
		for _, key := range w.stored() {
			if w.redis != nil {
				_ = w.redis.Delete(context.Background(), key) // memory: it cannot fail
			}
		}
	case databaseFull, databaseRead, databaseBusy:
		err := errors.New(n.kind)
		w.databaseDown.Store(&err)
		return func() { w.databaseDown.CompareAndSwap(&err, nil) }
	default:
		return w.broke(n)
	}
	return nil
}

// crash kills the process of a slot, and then its successors soon after they have started, as when a machine is broken: they die while they join their
// group, which waits for their predecessors.
func (w *world) crash(s *slot, n nemesis) {
	for i := range 2 + n.pick%4 {
		if p := s.process(); p != nil {
			if i > 0 && !w.faults.count(n.kind) {
				return
			}
			p.kill(n.kind)
		}
		rest(context.Background(), w.faults.between(500*time.Millisecond, 5*time.Second, "again", s.name, n.at, i))
	}
}

// during is a state that lasts until mend.
func during(state *atomic.Bool) (mend func()) {
	state.Store(true)
	return func() { state.Store(false) }
}

// broke is what may be wrong with the broker.
func (w *world) broke(n nemesis) (mend func()) {
	topics := []string{event.TopicJobs, event.TopicWindows, event.TopicEmbeddings, event.TopicPrompts, event.TopicAnswers, event.TopicEvents, event.TopicControl}
	topic := topics[n.pick%len(topics)]
	partition := int32(n.pick) % w.partitions
	if topic == event.TopicControl {
		partition = 0
	}
	switch n.kind {
	case lost:
		w.lose(n)
	case noLeader:
		return w.broker.NoLeader(topic, partition)
	case lostAnswers:
		return w.broker.LostAnswers(topic, partition, 3)
	case noCommits:
		return w.broker.NoCommits("lark." + n.stage)
	}
	return nil
}

// lose loses what lies on the topics of one kind, as a broker does that loses its power before its disks have what it has acknowledged. A fed
// job that nobody has adopted yet has no other trace, so its topic is spared where jobs are fed.
func (w *world) lose(n nemesis) {
	topics := []string{event.TopicWindows, event.TopicEmbeddings, event.TopicPrompts, event.TopicAnswers}
	if !w.fed {
		topics = append(topics, event.TopicJobs)
	}
	for _, topic := range event.InLanes(topics[n.pick%len(topics)]) {
		w.broker.Lose(topic)
		w.history.add(entry{who: "nemesis", what: vanished, id: topic})
	}
}

// evict deletes everything of one kind that a stage has stored.
func (w *world) evict(n nemesis) func() {
	prefix := []string{blob.PrefixPCM, blob.PrefixEmbedding, blob.PrefixPrompt, blob.PrefixPlan}[n.pick%4]
	for _, key := range w.stored() {
		if strings.HasPrefix(key, prefix) {
			_ = w.objects.Delete(context.Background(), key) // memory: it cannot fail
		}
	}
	return nil
}

// stored are the keys of all objects that were ever stored.
func (w *world) stored() []string {
	var keys []string
	w.history.each(stored, func(e entry) { keys = append(keys, e.id) })
	return keys
}
