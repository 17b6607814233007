//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

var errInjected = errors.New("simulated fault")

const stepLag = 20 * time.Millisecond

// name is a record's name in the history: where it goes, and its id.
func name(rec event.Record) string { return rec.Topic + "/" + rec.Get(event.HeaderID) }

// handler stands before the handler of a stage.
func (p *process) handler(stageName string, h stage.Handler) stage.Handler {
	return func(ctx context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
		what := stageName + " " + name(rec)
		n := p.slot.w.faults.attempt("handle", what)
		if err := p.before(ctx, what, n, rec); err != nil {
			p.note(ended, name(rec), rec.Get(event.HeaderSubject), "error: "+err.Error())
			return nil, err
		}
		p.awake()
		out, err := h(context.WithValue(ctx, handling{}, time.Since(p.slot.w.history.start)), rec, msg)
		if p.strike(killHandled, what, n) {
			return nil, errKilled
		}
		p.note(ended, name(rec), rec.Get(event.HeaderSubject), result(out, err))
		return out, err
	}
}

// handling is the key under which a handler's context holds when it began.
type handling struct{}

// before is what may happen before a record is handled.
func (p *process) before(ctx context.Context, what string, n int, rec event.Record) error {
	f := p.slot.w.faults
	p.awake()
	if p.dead.Load() {
		return errKilled
	}
	p.note(began, name(rec), rec.Get(event.HeaderSubject), fmt.Sprintf("attempt %d", n))
	if !rest(ctx, f.lag(stepLag, what, n)) {
		return context.Cause(ctx)
	}
	if p.strike(killTaken, what, n) {
		return errKilled
	}
	if _, deadly := p.slot.w.deadly.Load(rec.Get(event.HeaderSubject)); deadly && p.slot.stage == event.StageEncoder {
		p.kill("deadly record " + what)
		return errKilled
	}
	if f.strike(slowHandler, what, n) && !rest(ctx, f.between(time.Second, 20*time.Second, slowHandler, what, n)) {
		return context.Cause(ctx)
	}
	switch {
	case p.slot.stage == event.StageRecorder: // it waits for its database and has nothing else that may fail
	case p.slot.w.outages[p.slot.stage].Load() > 0:
		return stage.Unavailable(stage.Coded(event.CodeEngineError, errInjected))
	case f.strike(failHandler, what, n):
		return stage.Coded(event.CodeEngineError, errInjected)
	case f.strike(downHandler, what, n):
		return stage.Unavailable(errInjected)
	}
	return nil
}

func result(out []event.Record, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	names := make([]string, len(out))
	for i, rec := range out {
		names[i] = name(rec)
	}
	return "ok: " + strings.Join(names, " ")
}

// producer stands before the producer of a process.
func (p *process) producer(inner host.Producer) host.Producer {
	return &faultyProducer{Producer: inner, p: p, f: p.slot.w.faults}
}

type faultyProducer struct {
	host.Producer
	p *process
	f *faults
}

// Emit drops some events: nothing may depend on them.
func (q *faultyProducer) Emit(ctx context.Context, rec event.Record) {
	if q.p.dead.Load() || q.f.strike(dropEvent, name(rec), 0) {
		return
	}
	q.Producer.Emit(ctx, rec)
}

// Publish writes the records as the faults allow.
func (q *faultyProducer) Publish(ctx context.Context, recs ...event.Record) error {
	if q.p.dead.Load() {
		return errKilled
	}
	if len(recs) == 0 {
		return nil
	}
	what := name(recs[0]) + q.p.slot.stage
	n := q.f.attempt("publish", what)
	wait := q.f.lag(stepLag, what, n)
	if q.f.strike(delay, what, n) {
		wait = q.f.between(time.Second, 15*time.Second, delay, what, n)
	}
	if !rest(ctx, wait) {
		return context.Cause(ctx)
	}
	if q.p.strike(killUnsent, what, n) {
		return errKilled
	}
	failed, err := q.write(ctx, recs)
	q.p.awake()
	if q.p.strike(killUnacked, what, n) {
		return errKilled
	}
	for i, rec := range recs {
		if !slices.Contains(failed, i) {
			q.p.note(published, name(rec), rec.Get(event.HeaderSubject), "")
		}
	}
	if err == nil {
		q.killSoon(what, n) //nolint:contextcheck // the process dies after the call has ended
	}
	return err
}

// write writes the records and tells which of them failed, or seem to have.
func (q *faultyProducer) write(ctx context.Context, recs []event.Record) (failed []int, err error) {
	var send []event.Record
	var index []int // of each record to send, in recs
	fail := make(map[int]error)
	for i, rec := range recs {
		n := q.f.attempt("write", name(rec)+q.p.slot.stage)
		rec = q.spoil(rec, n)
		if q.isHeld(rec) || q.f.strike(refuse, name(rec), n) {
			fail[i] = errInjected
			continue
		}
		if other, ok := q.stray(rec, n); ok {
			send, index = append(send, other), append(index, i)
		}
		if carriesWork(rec.Topic) && q.f.strike(loseRecord, name(rec), n) {
			continue
		}
		send, index = append(send, rec), append(index, i)
		if q.f.strike(duplicate, name(rec), n) {
			send, index = append(send, rec), append(index, i)
		}
		if q.f.strike(loseAck, name(rec), n) {
			fail[i] = errInjected
		}
	}
	if len(send) > 1 && q.f.strike(reorder, name(recs[0]), 0) {
		slices.Reverse(send)
		slices.Reverse(index)
	}
	for _, rec := range recs {
		if rec.Get(event.HeaderType) == event.TypeOutcome {
			q.p.slot.w.answered.Store(rec.Get(event.HeaderSubject), true)
		}
	}
	if len(send) > 0 {
		err = q.Producer.Publish(ctx, send...)
	}
	var partly *kafka.Unacknowledged
	if errors.As(err, &partly) {
		for _, i := range partly.Failed {
			fail[index[i]] = partly.First
		}
	} else if err != nil {
		return nil, err
	}
	return unacknowledged(fail)
}

// carriesWork tells whether a broker may lose a record of the topic that it has acknowledged: its machine loses its power before the record is on a disk and
// before anybody has read it. What is told on the other topics is not made again: events, cancels, dead letters.
func carriesWork(topic string) bool {
	return event.StageOf(topic) != "" || topic == event.TopicAnswers || event.IsRetry(topic)
}

// spoil makes a window's record one that the next stage cannot read.
func (q *faultyProducer) spoil(rec event.Record, n int) event.Record {
	if typ := rec.Get(event.HeaderType); typ != event.TypeWindowReady && typ != event.TypeEmbeddingReady && typ != event.TypePromptReady {
		return rec
	}
	switch {
	case q.f.strike(newerRecord, name(rec), n):
		return rec.With(event.HeaderType, strings.TrimSuffix(rec.Get(event.HeaderType), "1")+"2")
	case q.f.strike(garbled, name(rec), n):
		rec.Value = append(slices.Clone(rec.Value[:len(rec.Value)/2]), 0xff)
	}
	return rec
}

// isHeld tells whether a plan is refused for the time being: the partition of a plan may have no leader while its windows are written and answered. It is
// refused until the first outcome of its job is there, but not for long.
func (q *faultyProducer) isHeld(rec event.Record) bool {
	if rec.Get(event.HeaderType) != event.TypeJobPlan || !q.f.hit(q.f.rates[latePlan], latePlan, name(rec)) {
		return false
	}
	w := q.p.slot.w
	now := time.Since(w.history.start)
	since, known := w.held.LoadOrStore(name(rec), now)
	if !known {
		q.f.note(latePlan)
	}
	_, answered := w.answered.Load(rec.Get(event.HeaderSubject))
	return !answered && now < since.(time.Duration)+longestHold
}

// longestHold is how long a plan is refused at most.
const longestHold = 10 * time.Second

// stray is an outcome like that of the record, but of a window that the plan does not have: as a stage of another version would write that cuts tracks
// into more windows.
func (q *faultyProducer) stray(rec event.Record, n int) (event.Record, bool) {
	if rec.Get(event.HeaderType) != event.TypeOutcome || q.p.slot.stage == event.StageRecorder || !q.f.hit(q.f.rates[stray], stray, name(rec), n) {
		return rec, false
	}
	o, err := event.DecodeAs[*eventpb.Outcome](rec)
	if err != nil || o.GetWindow().GetHash() == "" || o.GetQuestion().GetText() == "" {
		return rec, false // it stands for a whole job
	}
	o.Window.Index += strayBy
	o.OutcomeId = event.OutcomeID(o.GetJobId(), o.GetQuestion().GetIndex(), o.GetWindow().GetIndex())
	other, err := event.Encode(q.p.slot.stage, o)
	if err != nil {
		return rec, false
	}
	q.f.note(stray)
	q.p.slot.w.strays.Store(o.GetOutcomeId(), true)
	return other, true
}

// strayBy is more windows than any track has.
const strayBy = 8

func unacknowledged(fail map[int]error) ([]int, error) {
	if len(fail) == 0 {
		return nil, nil
	}
	e := &kafka.Unacknowledged{}
	for i := range fail {
		e.Failed = append(e.Failed, i)
	}
	slices.Sort(e.Failed)
	e.First = fail[e.Failed[0]]
	return e.Failed, e
}

// killSoon may kill the process after the acknowledgement and before the offset is committed, which happens every half second.
func (q *faultyProducer) killSoon(what string, n int) {
	if q.p.dead.Load() || !q.f.strike(killUnmarked, what, n) {
		return
	}
	q.p.slot.w.wait.Go(func() {
		if rest(context.Background(), q.f.between(time.Millisecond, 400*time.Millisecond, killUnmarked, what, n)) {
			q.p.kill(killUnmarked + " " + what)
		}
	})
}

// object stands before each operation on the object store.
func (p *process) object(ctx context.Context, op blob.Op, key string, do func() error) error {
	f, w := p.slot.w.faults, p.slot.w
	what := string(op) + " " + key + " " + p.slot.stage
	n := f.attempt("object", what)
	wait := f.lag(stepLag/4, what, n)
	if f.strike(slowObject, what, n) {
		wait = f.between(time.Second, 10*time.Second, slowObject, what, n)
	}
	if w.objectsSlow.Load() {
		wait = f.between(3*time.Second, 30*time.Second, objectsSlow, what, n)
	}
	if !rest(ctx, wait) {
		return context.Cause(ctx)
	}
	p.awake()
	switch {
	case p.dead.Load():
		return errKilled
	case w.objectsDown.Load() || f.strike(failObject, what, n):
		return errInjected
	}
	if w.blind && p.slot.stage == event.StageEncoder && strings.HasPrefix(key, blob.PrefixPCM) {
		return blob.ErrNotFound
	}
	if err := do(); err != nil || op != blob.OpPut {
		return err
	}
	if !p.dead.Load() {
		since, _ := ctx.Value(handling{}).(time.Duration)
		w.history.add(entry{who: p.name, what: stored, id: key, since: since})
	}
	switch {
	case p.strike(killPut, what, n):
		return errKilled
	case f.strike(loseObjectAck, what, n):
		return errInjected
	}
	return nil
}

// redisTimeout is how long the client of Redis waits for an answer.
const redisTimeout = time.Second

// redis stands before each operation on the fast tier of the cache.
func (p *process) redis(ctx context.Context, op blob.Op, key string, do func() error) error {
	f := p.slot.w.faults
	what := "redis " + string(op) + " " + key + " " + p.slot.stage
	n := f.attempt(what)
	wait := f.lag(stepLag/10, what, n)
	hung := p.slot.w.redisDown.Load() || f.strike(failRedis, what, n)
	switch {
	case hung:
		wait = redisTimeout
	case f.strike(slowRedis, what, n):
		wait = f.between(redisTimeout/4, redisTimeout, slowRedis, what, n)
	}
	if !rest(ctx, wait) {
		return context.Cause(ctx)
	}
	p.awake()
	switch {
	case p.dead.Load():
		return errKilled
	case hung:
		return errInjected
	}
	return do()
}
