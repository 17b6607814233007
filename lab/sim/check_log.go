//go:build synctests

package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

// cancelReaches is how soon every stage knows of a cancel that is on the control topic.
const cancelReaches = 5 * time.Second

// logged is a record as it lies on a topic.
type logged struct {
	topic     string
	partition int32
	offset    int64
	id, job   string
	readable  bool
	outcome   string // id of the outcome that an event tells
}

// readLog reads every topic from its beginning to its end.
func (w *world) readLog() []logged {
	var mu sync.Mutex
	var out []logged
	ctx, cancel := context.WithCancel(context.Background())
	var waits []func() error
	for _, spec := range event.Topics() {
		if !w.broker.Written(spec.Name) {
			continue
		}
		caughtUp, wait := kafka.Tail(ctx, w.kafka("reader"), spec.Name, kafka.Earliest, func(rec event.Record, partition int32, offset int64) {
			msg, err := event.Decode(rec)
			told, _ := msg.(*eventpb.Event)
			mu.Lock()
			defer mu.Unlock()
			out = append(out, logged{spec.Name, partition, offset, rec.Get(event.HeaderID), rec.Get(event.HeaderSubject), err == nil, told.GetOutcome().GetOutcomeId()})
		})
		<-caughtUp
		waits = append(waits, wait)
	}
	cancel()
	for _, wait := range waits {
		_ = wait() // the configuration is in order
	}
	return out
}

// unknown: the store knows the jobs that were asked for and no others.
func (v *verdict) unknown() {
	known := make(map[string]bool)
	for _, c := range v.clients {
		known[c.id] = true
	}
	for {
		list, err := v.clients[0].api().List(context.Background(), client.ListOptions{Limit: 100})
		if err == nil {
			for _, j := range list.Jobs {
				if !known[j.ID] {
					v.breach("the store has job %s, which nobody asked for", j.ID)
				}
			}
			return
		}
		if !rest(context.Background(), time.Second) {
			return
		}
	}
}

// givenUp: what a stage gives up ends its questions, where the record names a job: whoever wrote the dead letter wrote outcomes too. If it died between the two, it
// is given the record again, unless the broker has lost it.
func (v *verdict) givenUp() {
	dead := make(map[string]bool) // process
	v.w.history.each(died, func(e entry) { dead[e.who] = true })
	answered := make(map[string]bool)  // process and job
	ended := make(map[string]bool)     // letter
	letters := make(map[string]string) // letter -> job
	v.w.history.each(published, func(e entry) {
		if strings.HasPrefix(e.id, event.TopicAnswers+"/") {
			answered[e.who+" "+e.job] = true
		}
	})
	v.w.history.each(published, func(e entry) {
		if strings.HasPrefix(e.id, event.TopicDead+"/") && e.job != "" && !strings.HasPrefix(e.who, "gateway") {
			letters[e.id] = e.job
			ended[e.id] = ended[e.id] || answered[e.who+" "+e.job] || (dead[e.who] && v.vanishedAfter(e.at, func(topic string) bool { return e.who[:strings.IndexAny(e.who, "0123456789")] == event.StageOf(topic) }))
		}
	})
	for _, id := range slices.Sorted(maps.Keys(letters)) {
		if !ended[id] {
			v.breach("%s of job %s is written, but no outcome with it", id, letters[id])
		}
	}
}

// offsets: a group commits an offset only once every record before it is settled: handled, and its outputs acknowledged.
func (v *verdict) offsets() {
	written := v.written()
	settled := v.settled(written)
	spared := v.spared()
	places := make(map[string][]logged)
	for _, rec := range v.log {
		place := fmt.Sprintf("%s/%d", rec.topic, rec.partition)
		places[place] = append(places[place], rec)
	}
	high := make(map[string]int64)
	v.w.history.each(committed, func(e entry) {
		to, _ := strconv.ParseInt(e.detail, 10, 64) // written by Sprint
		place := e.who + " " + e.id
		for _, rec := range places[e.id] {
			if rec.offset >= to || rec.offset < high[place] || !rec.readable || spared[rec.job] {
				continue
			}
			at, ok := settled[strings.TrimPrefix(e.who, "lark.")+" "+rec.id]
			_, buried := written[event.TopicDead+"/"+rec.id]
			if (!ok || at > e.at) && !buried {
				v.breach("%s committed %s to %d at %s, but record %s at %d was not settled", e.who, e.id, to, e.at, rec.id, rec.offset)
			}
		}
		high[place] = max(high[place], to)
	})
}

// written is when each record was first acknowledged.
func (v *verdict) written() map[string]time.Duration {
	out := make(map[string]time.Duration)
	v.w.history.each(published, func(e entry) {
		if _, ok := out[e.id]; !ok {
			out[e.id] = e.at
		}
	})
	return out
}

// outbox: a gateway takes a record from its outbox only once the broker has acknowledged it.
func (v *verdict) outbox() {
	written := v.written()
	v.w.history.each(cleared, func(e entry) {
		if at, ok := written[e.id]; !ok || at > e.at {
			v.breach("%s took %s from the outbox at %s, but the broker had not acknowledged it", e.who, e.id, e.at)
		}
	})
}

// settled is when each stage had handled a record and had its outputs acknowledged.
func (v *verdict) settled(written map[string]time.Duration) map[string]time.Duration {
	out := make(map[string]time.Duration)
	v.w.history.each(ended, func(e entry) {
		stage := strings.TrimRight(strings.SplitN(e.who, ".", 2)[0], "0123456789")
		if stage == "gateway" {
			stage = event.StageRecorder
		}
		_, id, _ := strings.Cut(e.id, "/")
		at := e.at
		if names, ok := strings.CutPrefix(e.detail, "ok: "); ok {
			for _, name := range strings.Fields(names) {
				acked, ok := written[name]
				if !ok {
					return
				}
				at = max(at, acked)
			}
		}
		if before, ok := out[stage+" "+id]; !ok || at < before {
			out[stage+" "+id] = at
		}
	})
	return out
}

// spared are the jobs that may end without a handler: by a cancel or a deadline, or because their record came to the gateway once more after their end.
func (v *verdict) spared() map[string]bool {
	out := make(map[string]bool)
	v.w.history.each(published, func(e entry) {
		if strings.HasPrefix(e.id, event.TopicControl+"/") {
			out[e.job] = true
		}
	})
	for _, c := range v.clients {
		if c.job.cancelAt > 0 || c.job.deadline > 0 || c.job.hostile != sound {
			out[c.id] = true
		}
	}
	return out
}

// encoderRuns: a window is encoded again only if its embedding was not there when the encoder took it up.
func (v *verdict) encoderRuns() {
	last := make(map[string]time.Duration) // key -> when it was stored
	v.w.history.each(stored, func(e entry) {
		if !strings.HasPrefix(e.id, blob.PrefixEmbedding) || !strings.HasPrefix(e.who, event.StageEncoder) {
			return
		}
		if before, ok := last[e.id]; ok && before < e.since && !v.evictedBetween(before, e.at) {
			v.breach("%s encoded %s again at %s although its embedding was there since %s", e.who, e.id, e.at, before)
		}
		last[e.id] = e.at
	})
}

func (v *verdict) evictedBetween(from, to time.Duration) bool {
	found := false
	v.w.history.each(struck, func(e entry) { found = found || (e.id == evict && e.at >= from && e.at <= to) })
	return found
}

// cancels: no work on a job begins once its cancel has had time to reach the stages.
func (v *verdict) cancels() {
	known := make(map[string]time.Duration)
	v.w.history.each(published, func(e entry) {
		if strings.HasPrefix(e.id, event.TopicControl+"/") {
			if _, ok := known[e.job]; !ok {
				known[e.job] = e.at
			}
		}
	})
	v.w.history.each(began, func(e entry) {
		at, ok := known[e.job]
		if ok && e.at > at+cancelReaches && !v.hung(at, e.at) && !strings.HasPrefix(e.who, "gateway") {
			v.breach("%s began work on %s at %s, though the cancel of its job was on the control topic since %s", e.who, e.id, e.at, at)
		}
	})
}

// hung tells whether a process hung, or had just gone on, at some time from from to to: it could not know what others knew.
func (v *verdict) hung(from, to time.Duration) bool {
	found := false
	v.w.history.each(mended, func(e entry) { found = found || (e.id == hang && e.at+cancelReaches >= from && e.at <= to) })
	v.w.history.each(struck, func(e entry) { found = found || (e.id == hang && e.at >= from && e.at <= to) })
	return found
}
