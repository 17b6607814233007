//go:build synctests

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

const (
	// mends is how long after the end of the faults the last of them is mended, but for a stage that is away, or the object store.
	mends = 50 * time.Second
	// punctuality is how long a job may take to end when its end is due: the reaper's grace and rounds, and a gateway's restart.
	punctuality = time.Minute
)

// verdict reads the history and the clients' view of a seed, and tells what breaks the law.
type verdict struct {
	w        *world
	plan     plan
	clients  []*watcher
	log      []logged
	logged   map[string]bool // ids of outcomes of which an event was written
	outcomes int
	found    []string
}

func newVerdict(w *world, p plan, clients []*watcher) *verdict {
	v := &verdict{w: w, plan: p, clients: clients, log: w.readLog(), logged: make(map[string]bool)}
	for _, rec := range v.log {
		v.logged[rec.outcome] = true
	}
	return v
}

func (v *verdict) breach(format string, args ...any) {
	v.found = append(v.found, fmt.Sprintf(format, args...))
}

// check looks at everything.
func (v *verdict) check(settled bool) {
	if !settled {
		v.breach("records are left on the topics that no stage finishes")
		for _, stage := range event.Stages() {
			v.found = append(v.found, v.w.broker.Describe("lark."+stage)...)
		}
	}
	if len(v.w.history.entries) >= tooMuch {
		v.breach("records go round without end: more than %d steps", tooMuch)
	}
	for _, c := range v.clients {
		v.job(c)
	}
	v.unknown()
	v.givenUp()
	v.offsets()
	v.outbox()
	v.webhooks()
	v.encoderRuns()
	v.cancels()
}

// job: one terminal outcome for each question of each window, each with a reason that this seed explains, and the stream tells the same.
func (v *verdict) job(c *watcher) {
	if c.err != nil {
		v.breach("%s (%s): its end was not seen: %v", c.job.name, c.id, c.err)
		return
	}
	if c.end.ID == "" && c.job.hostile != sound {
		return
	}
	if !client.Terminal(c.end.State) {
		v.breach("%s (%s): its end was told, but it is %s", c.job.name, c.id, c.end.State)
	}
	seen := make(map[string]bool)
	for _, o := range c.outcomes {
		v.outcomes++
		key := fmt.Sprint(o.QuestionIndex, "/", o.Window.Index)
		if seen[key] {
			v.breach("%s (%s): two outcomes of question/window %s", c.job.name, c.id, key)
		}
		seen[key] = true
		if o.Error != nil && !v.explained(c, o.Error.Code) {
			v.breach("%s (%s): question/window %s ended as %s, which nothing in this seed explains: %s", c.job.name, c.id, key, o.Error.Code, o.Error.Message)
		}
	}
	if want := c.end.Counts.Expected; len(c.outcomes) != want || want == 0 {
		v.breach("%s (%s): %d outcomes, %d expected", c.job.name, c.id, len(c.outcomes), want)
	}
	v.stream(c)
	v.punctual(c)
}

// punctual: a deadline or a cancel ends a job soon, whatever is down, once there is a gateway that can write the job store.
func (v *verdict) punctual(c *watcher) {
	var asked, done time.Duration
	ahead := time.Duration(v.w.ahead.Load()) // a gateway notes what is due by its clock
	v.w.history.each(accepted, func(e entry) {
		if e.job == c.id && c.job.deadline > 0 {
			asked = e.at + c.job.deadline + max(c.job.skew, 0) + ahead
		}
	})
	v.w.history.each(cancelled, func(e entry) {
		if e.job == c.id && !client.Terminal(e.detail) {
			asked = e.at + ahead
		}
	})
	v.w.history.each(finished, func(e entry) {
		if e.job == c.id {
			done = e.at
		}
	})
	back := faultsFor + mends
	v.w.history.each(mended, func(e entry) {
		if e.id == away && e.detail == event.StageRecorder {
			back = max(back, e.at)
		}
	})
	if ahead > 0 && asked > 0 { // it notes by that clock, too, when it has given the job up, and does so again a minute after that
		asked += time.Minute
	}
	if limit := max(asked, back) + punctuality; asked > 0 && done > limit {
		v.breach("%s (%s): due to end at %s by its deadline or cancel, but ended at %s", c.job.name, c.id, asked, done)
	}
}

// explained tells whether a job of this seed may end with the code.
func (v *verdict) explained(c *watcher, code string) bool {
	any := func(kinds ...string) bool {
		return slices.ContainsFunc(kinds, func(k string) bool { return v.w.faults.number(k) > 0 })
	}
	switch code {
	case event.CodeCancelled:
		return c.job.cancelAt > 0
	case event.CodeExpired:
		return c.job.deadline > 0
	case event.CodeUndecodable, event.CodeInvalidRecord:
		return c.job.hostile != sound || any(garbled)
	case event.CodeNewerVersion:
		return c.job.hostile != sound || any(newerRecord)
	case event.CodeEngineError:
		return any(failHandler)
	case event.CodeCrashedStage:
		return c.job.deadly || v.deaths() >= 3
	case event.CodeInternal:
		return any(slowObject, failObject, loseObjectAck, objectsSlow, lost, loseRecord)
	case event.CodeBlobUnreachable:
		return any(evict) || v.plan.blind
	case event.CodeAudioMissing:
		// Until a fed job is adopted only the age of its audio speaks for it, and this seed keeps audio for 10 s. And a gateway may write audio again at
		// the moment in which another one's sweep deletes it, see blob.Touch.
		return c.job.fed || v.plan.gateways > 1
	}
	return false // model_mismatch too: an instance of each model runs
}

// deaths counts the processes that died. Whoever takes the partitions of one that hangs cannot know that it is not dead.
func (v *verdict) deaths() int {
	n := v.w.faults.number(hang)
	v.w.history.each(died, func(entry) { n++ })
	return n
}

// lastPublished is when the record was last acknowledged; 0 if it never was.
func (v *verdict) lastPublished(name string) (at time.Duration) {
	v.w.history.each(published, func(e entry) {
		if e.id == name {
			at = e.at
		}
	})
	return at
}

// vanishedAfter tells whether the broker lost what lay on one of these topics after that: whoever died with such a record in hand does not get it again.
func (v *verdict) vanishedAfter(at time.Duration, these func(topic string) bool) (found bool) {
	v.w.history.each(vanished, func(e entry) { found = found || (e.at >= at && these(e.id)) })
	return found
}

// stream: the outcomes once each, then the end; the numbers of events rise.
func (v *verdict) stream(c *watcher) {
	told := make(map[string]bool)
	last := int64(-1)
	for i, e := range c.told {
		if n, err := strconv.ParseInt(e.ID, 10, 64); err == nil {
			if n <= last {
				v.breach("%s (%s): event %d of the stream comes after event %d", c.job.name, c.id, n, last)
			}
			last = n
		}
		if e.Outcome != nil {
			told[e.Outcome.ID] = true
		}
		if (e.Kind == client.EventEnd) != (i == len(c.told)-1) {
			v.breach("%s (%s): event %d of %d of the stream is %s", c.job.name, c.id, i+1, len(c.told), e.Kind)
		}
	}
	for _, o := range c.outcomes {
		if !told[o.ID] {
			v.breach("%s (%s): the stream did not tell outcome %s", c.job.name, c.id, o.ID)
		}
		if !v.logged[o.ID] && !v.vanishedAfter(v.lastPublished(event.TopicAnswers+"/"+o.ID), func(topic string) bool { return topic == event.TopicAnswers }) {
			v.breach("%s (%s): no event of outcome %s is on %s", c.job.name, c.id, o.ID, event.TopicEvents)
		}
	}
	for id := range told {
		if _, belongsToNoPlan := v.w.strays.Load(id); !belongsToNoPlan && !slices.ContainsFunc(c.outcomes, func(o client.Outcome) bool { return o.ID == id }) {
			v.breach("%s (%s): the stream told outcome %s, which the job does not have", c.job.name, c.id, id)
		}
	}
}
