package dead

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// Codes of letters that are left as they are.
const (
	refusedTruncated  = "truncated"
	refusedOrigin     = "not_redrivable"
	refusedTooOften   = "redriven_too_often"
	refusedUnknownJob = "unknown_job"
	refusedNotAllowed = "not_allowed"
	refusedInHand     = "in_progress"
)

// redriveLease is how long a gateway that sends a letter back has it to itself.
const redriveLease = time.Minute

// Show returns one letter with its payload as JSON, or ErrNotFound.
func (l *Letters) Show(ctx context.Context, id string) (client.DeadLetter, error) {
	d, err := l.find(ctx, id)
	if err != nil {
		return client.DeadLetter{}, err
	}
	msg, err := event.Decode(d.rec)
	if err == nil {
		var raw []byte
		if raw, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(msg); err == nil {
			d.Payload = json.RawMessage(raw)
		}
	}
	if err != nil {
		d.PayloadError = err.Error()
	}
	return d.DeadLetter, nil
}

// Redrive sends the selected letters back to the topics that they came from, and Purge hides them for good. who is the client that asks.
func (l *Letters) Redrive(ctx context.Context, o client.DeadOrder, from kafka.Place, who string) (client.DeadResult, *kafka.Place, error) {
	return l.run(ctx, o, from, who, l.redrive)
}

// Purge hides the selected letters, and deletes them from the topic as far as no letter before them is still buried.
func (l *Letters) Purge(ctx context.Context, o client.DeadOrder, from kafka.Place, who string) (client.DeadResult, *kafka.Place, error) {
	result, next, err := l.run(ctx, o, from, who, l.purge)
	if err == nil && !o.DryRun && result.Done > 0 {
		err = l.trim(ctx)
	}
	return result, next, err
}

// act does one thing with a letter, or refuses it.
type act func(ctx context.Context, d *letter, dryRun bool, who string) (*client.DeadRefusal, error)

// pass is one order at work.
type pass struct {
	order  client.DeadOrder
	who    string
	do     act
	result client.DeadResult
	begun  time.Time
}

func (l *Letters) run(ctx context.Context, o client.DeadOrder, from kafka.Place, who string, do act) (client.DeadResult, *kafka.Place, error) {
	if o.Rate == 0 {
		o.Rate = defaultRate
	}
	p := &pass{order: o, who: who, do: do, begun: time.Now(), result: client.DeadResult{IDs: []string{}, Refused: []client.DeadRefusal{}, DryRun: o.DryRun}}
	if len(o.IDs) == 0 {
		next, err := l.walk(ctx, o.DeadFilter, from, func(d *letter) (bool, error) { return p.letter(ctx, d) })
		return p.result, next, err
	}
	for _, id := range o.IDs {
		d, err := l.find(ctx, id)
		if err != nil {
			return p.result, nil, err
		}
		if !fits(o.DeadFilter, d) {
			continue
		}
		if more, err := p.letter(ctx, d); err != nil || !more {
			return p.result, nil, err
		}
	}
	return p.result, nil, nil
}

// letter does one letter; more is false if the order has had its share before.
func (p *pass) letter(ctx context.Context, d *letter) (more bool, err error) {
	if d.State == client.DeadPurged || (d.State == client.DeadRedriven && len(p.order.IDs) == 0) {
		return true, nil
	}
	if p.result.Done+len(p.result.Refused) >= p.order.Limit || time.Since(p.begun) > maxPassTime {
		return false, nil
	}
	if !p.order.DryRun {
		if err := p.pace(ctx); err != nil {
			return false, err
		}
	}
	refusal, err := p.do(ctx, d, p.order.DryRun, p.who)
	switch {
	case err != nil:
		return false, err
	case refusal != nil:
		p.result.Refused = append(p.result.Refused, *refusal)
	default:
		p.result.Done++
		p.result.IDs = append(p.result.IDs, d.ID)
	}
	return true, nil
}

// pace waits until the next letter is due.
func (p *pass) pace(ctx context.Context) error {
	due := p.begun.Add(time.Duration(float64(p.result.Done) / p.order.Rate * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (l *Letters) redrive(ctx context.Context, d *letter, dryRun bool, who string) (*client.DeadRefusal, error) {
	if refusal, err := l.refuse(ctx, d); err != nil || refusal != nil || dryRun {
		return refusal, err
	}
	lease, owner := "dead/"+d.ID, uuid.NewString()
	mine, err := l.deps.Store.Lease(ctx, lease, owner, time.Now().Add(redriveLease))
	if err != nil {
		return nil, err
	}
	before := d.State
	if mine {
		defer func() { _ = l.deps.Store.Unlease(context.WithoutCancel(ctx), lease, owner) }() // it lapses otherwise
		if err := l.mark(ctx, d); err != nil {
			return nil, err
		}
	}
	if !mine || d.State != before {
		return &client.DeadRefusal{ID: d.ID, JobID: d.JobID, Code: refusedInHand, Detail: "it is being sent back through another request at this moment"}, nil
	}
	// Published first, noted then: a crash between may send it twice, which changes nothing, and never loses it.
	if err := l.deps.Publisher.Publish(ctx, back(d)); err != nil {
		return nil, fmt.Errorf("sending dead letter %s back to %s: %w", d.ID, d.OriginTopic, err)
	}
	return nil, l.note(ctx, d, store.DeadRedriven, who)
}

func (l *Letters) purge(ctx context.Context, d *letter, dryRun bool, who string) (*client.DeadRefusal, error) {
	if dryRun {
		return nil, nil
	}
	return nil, l.note(ctx, d, store.DeadPurged, who)
}

// note writes the audit line, in the job store and in the log.
func (l *Letters) note(ctx context.Context, d *letter, action, who string) error {
	err := l.deps.Store.NoteDead(ctx, store.DeadAction{Letter: d.ID, Action: action, JobID: d.JobID, Reason: d.Reason, Who: who})
	if err != nil {
		return err
	}
	l.deps.Audit.InfoContext(ctx, "dead letter dealt with", slog.String("action", action), slog.String("letter", d.ID), slog.String("job_id", d.JobID), slog.String("reason", d.Reason),
		slog.String("stage", d.Stage), slog.String("origin_topic", d.OriginTopic), slog.Int("redriven_before", d.Redriven), slog.String("who", who))
	return nil
}

// refuse says why a letter cannot be sent back; nil if it can.
func (l *Letters) refuse(ctx context.Context, d *letter) (*client.DeadRefusal, error) {
	no := func(code, format string, args ...any) (*client.DeadRefusal, error) {
		return &client.DeadRefusal{ID: d.ID, JobID: d.JobID, Code: code, Detail: fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case d.Truncated:
		return no(refusedTruncated, "the record was cut when it was given up: submit its job again")
	case d.OriginTopic != event.TopicAnswers && event.StageOf(d.OriginTopic) == "":
		return no(refusedOrigin, "it came from %.100q, which no stage reads", d.OriginTopic)
	case d.Redriven >= MaxRedrives:
		return no(refusedTooOften, "it was sent back %d times already and failed each time: mend the cause and submit its job again", d.Redriven)
	}
	known, allowed, err := l.deps.Store.MaySupersede(ctx, d.JobID)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return no(refusedUnknownJob, "this gateway knows no job %.64q", d.JobID)
	case !allowed:
		return no(refusedNotAllowed, "the job's outcomes may not be replaced: its owner allows it by lark jobs supersede %s", d.JobID)
	}
	return nil, nil
}

// back is the record as it goes to its topic again. It keeps its origin and its first error and counts how often it was sent back; what the
// stage noted of its attempts is gone, so that it has all of them again.
func back(d *letter) event.Record {
	drop := []string{
		event.HeaderStage, event.HeaderAttempt, event.HeaderNotBefore, event.HeaderReason, event.HeaderErrorText, event.HeaderPutBackSince, event.HeaderPutBacks,
		event.HeaderHops, event.HeaderKey,
	}
	rec := event.Record{Topic: d.OriginTopic, Key: d.rec.Key, Value: d.rec.Value}
	for _, h := range d.rec.Headers {
		if !slices.Contains(drop, h.Key) {
			rec.Headers = append(rec.Headers, h)
		}
	}
	return rec.With(event.HeaderRedriven, strconv.Itoa(d.Redriven+1))
}

// trim deletes the letters at the beginning of each partition of which none is buried any more.
func (l *Letters) trim(ctx context.Context) error {
	ends := map[int32]kafka.Place{}
	stopped := map[int32]bool{}
	_, err := l.walk(ctx, client.DeadFilter{}, kafka.Place{}, func(d *letter) (bool, error) {
		p := d.at.Partition
		if stopped[p] = stopped[p] || d.State == client.DeadBuried; !stopped[p] {
			ends[p] = kafka.Place{Partition: p, Offset: d.at.Offset + 1}
		}
		return true, nil
	})
	for _, at := range ends {
		if err == nil {
			err = l.deps.Log.DeleteBefore(ctx, at)
		}
	}
	return err
}
