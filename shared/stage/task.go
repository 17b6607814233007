package stage

import (
	"cmp"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

// task is one record between being polled and being committed.
type task struct {
	part *partition
	rec  *kgo.Record
	meta meta
	cost int64 // bytes that handling the record may need
	done bool  // guarded by part.offsets.mu
	// downs and good belong to the breaker, see othersFareWell.
	downs int
	waits bool // the job's watchers know that it waits
	good  uint64
}

// job is the id of the job that the record belongs to; "" for none that is known.
func (t *task) job() string { return cmp.Or(t.meta.job, t.meta.rec.Get(event.HeaderSubject)) }

// owner is whose record it is and in which lane.
func (t *task) owner() owner { return owner{t.part.lane, t.meta.tenant} }

// waited is how long the record has waited by now: since it was written, or since it was due.
func (t *task) waited(now time.Time) time.Duration {
	since := t.rec.Timestamp
	if t.meta.due.After(since) {
		since = t.meta.due
	}
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since))
}

// meta is what the runner itself reads of a record.
type meta struct {
	rec      event.Record  // as the handler sees it
	msg      proto.Message // of rec, until a handler takes it
	tenant   string
	job      string
	deadline time.Time // zero for none
	startBy  time.Time // when work on it must have begun; zero for none
	noRetry  bool      // what fails at the first attempt is not tried again
	attempt  int       // delayed retries counted so far
	due      time.Time // when a record of a retry topic may be handled
	err      error     // why it cannot be decoded
}

// taskReader makes tasks of polled records.
type taskReader struct {
	topics  map[string]bool // the stage's own topics
	retries retryTopics
	cost    func(event.Record) int64 // nil counts a record's size on the wire
}

func newTaskReader(topics []string, retries retryTopics, cost func(event.Record) int64) *taskReader {
	r := &taskReader{topics: make(map[string]bool), retries: retries, cost: cost}
	for _, t := range topics {
		r.topics[t] = true
	}
	return r
}

func (r *taskReader) task(p *partition, rec *kgo.Record) *task {
	t := &task{part: p, rec: rec, meta: r.read(rec), cost: int64(recordBytes(rec))}
	if r.cost != nil {
		t.cost = r.cost(t.meta.rec)
	}
	return t
}

func (r *taskReader) read(rec *kgo.Record) meta {
	m := meta{rec: kafka.FromClient(rec)}
	if delay, retried := r.retries.delayOf(rec.Topic); retried {
		m.attempt = attemptOf(m.rec)
		m.due = r.retries.clock.dueOf(m.rec, delay)
		if origin := m.rec.Get(event.HeaderOriginTopic); r.topics[origin] {
			m.rec.Topic = origin
		}
		if key := m.rec.Get(event.HeaderKey); key != "" {
			m.rec.Key = key
		}
	}
	m.tenant, _ = event.TenantOf(m.rec)
	if m.msg, m.err = event.Decode(m.rec); m.err == nil {
		m.job, m.deadline = jobOf(m.msg)
		m.startBy, m.noRetry = termsOf(m.msg)
		m.deadline, m.startBy = r.retries.clock.at(m.deadline), r.retries.clock.at(m.startBy)
	}
	return m
}

// owned gives records that come of the task's record to its tenant.
func (t *task) owned(recs []event.Record) []event.Record {
	for i, rec := range recs {
		recs[i] = event.Owned(rec, t.meta.rec)
	}
	return recs
}

// take returns the record's message for one attempt. Only a record that is tried again is decoded again: the handler may have changed the
// message that it got.
func (m *meta) take() (proto.Message, error) {
	msg := m.msg
	if m.msg = nil; msg != nil {
		return msg, nil
	}
	return event.Decode(m.rec)
}

func jobOf(msg proto.Message) (job string, deadline time.Time) {
	if j, ok := msg.(*eventpb.Job); ok {
		return j.GetJobId(), deadlineAt(j.GetDeadlineUnixMs())
	}
	if w, ok := msg.(interface{ GetTask() *eventpb.Task }); ok {
		return w.GetTask().GetJobId(), deadlineAt(w.GetTask().GetDeadlineUnixMs())
	}
	return "", time.Time{}
}

// termsOf are the job's own terms beside its deadline. Work on a job begins with its own record; a window's has begun.
func termsOf(msg proto.Message) (startBy time.Time, noRetry bool) {
	if j, ok := msg.(*eventpb.Job); ok {
		o := event.Options{StartWithinS: j.GetStartWithinS()}
		return o.StartBy(time.UnixMilli(j.GetCreatedUnixMs())), j.GetNoRetry()
	}
	if w, ok := msg.(interface{ GetTask() *eventpb.Task }); ok {
		return time.Time{}, w.GetTask().GetNoRetry()
	}
	return time.Time{}, false
}

func deadlineAt(unixMs int64) time.Time {
	if unixMs <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(unixMs)
}
