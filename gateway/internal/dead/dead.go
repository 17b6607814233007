package dead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	// maxScanned letters are looked at for one page, so that a filter that nothing fits costs a bounded time.
	maxScanned = 20_000
	// maxPassTime ends a request in good order before its own deadline does.
	maxPassTime = 20 * time.Second
	defaultRate = 50
	// MaxRedrives is how often one record may be sent back. What fails again each time needs another cure.
	MaxRedrives = 3
)

// ErrNotFound says that there is no such letter.
var ErrNotFound = errors.New("dead letter not found")

// Log is the topic of dead letters.
type Log interface {
	// Scan hands fn the letters from a place on that are not older than since, until fn returns false.
	Scan(ctx context.Context, from kafka.Place, since time.Time, fn func(rec event.Record, at kafka.Place) bool) error
	// DeleteBefore deletes the letters of a partition before the place.
	DeleteBefore(ctx context.Context, at kafka.Place) error
}

// Publisher publishes records and waits for their acknowledgement.
type Publisher interface {
	Publish(ctx context.Context, recs ...event.Record) error
}

// Store keeps what was done with letters, and what jobs allow.
type Store interface {
	NoteDead(ctx context.Context, a store.DeadAction) error
	DeadAction(ctx context.Context, letter string) (store.DeadAction, error)
	MaySupersede(ctx context.Context, jobID string) (known, allowed bool, err error)
	Lease(ctx context.Context, name, owner string, lapse time.Time) (bool, error)
	Unlease(ctx context.Context, name, owner string) error
}

// Deps of Letters; all are needed.
type Deps struct {
	Log       Log
	Publisher Publisher
	Store     Store
	Audit     *slog.Logger
}

// Letters are the dead letters. It is safe for concurrent use.
type Letters struct{ deps Deps }

// New refuses missing dependencies.
func New(d Deps) (*Letters, error) {
	if d.Log == nil || d.Publisher == nil || d.Store == nil || d.Audit == nil {
		return nil, errors.New("making dead letters: a dependency is missing")
	}
	return &Letters{deps: d}, nil
}

// letter is a dead letter as it lies on the topic.
type letter struct {
	rec event.Record
	at  kafka.Place
	client.DeadLetter
}

// ID is the letter's name: its place.
func ID(at kafka.Place) string {
	return strconv.Itoa(int(at.Partition)) + "-" + strconv.FormatInt(at.Offset, 10)
}

// ParseID reads a letter's name.
func ParseID(id string) (kafka.Place, error) {
	p, o, _ := strings.Cut(id, "-")
	partition, err := strconv.ParseInt(p, 10, 32)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	if err != nil || err2 != nil || partition < 0 || offset < 0 {
		return kafka.Place{}, fmt.Errorf("%w: %.40q is no id of a dead letter, which is partition-offset such as 0-17", ErrNotFound, id)
	}
	return kafka.Place{Partition: int32(partition), Offset: offset}, nil
}

func read(rec event.Record, at kafka.Place) letter {
	redriven, _ := strconv.Atoi(rec.Get(event.HeaderRedriven)) // nonsense counts as never
	return letter{rec: rec, at: at, DeadLetter: client.DeadLetter{
		ID: ID(at), State: client.DeadBuried, At: rec.Time.UTC(), Stage: rec.Get(event.HeaderStage), Reason: rec.Get(event.HeaderReason),
		Error: rec.Get(event.HeaderErrorText), FirstError: rec.Get(event.HeaderFirstError), JobID: rec.Get(event.HeaderSubject),
		Type: rec.Get(event.HeaderType), OriginTopic: rec.Get(event.HeaderOriginTopic), OriginPartition: rec.Get(event.HeaderOriginPartition),
		OriginOffset: rec.Get(event.HeaderOriginOffset), Attempts: rec.Get(event.HeaderAttempt), Redriven: max(0, redriven),
		Truncated: rec.Get(event.HeaderTruncated) != "", Bytes: len(rec.Value),
	}}
}

// fits tells whether a letter is selected.
func fits(f client.DeadFilter, l *letter) bool {
	return (f.Reason == "" || f.Reason == l.Reason) && (f.Stage == "" || f.Stage == l.Stage) && (f.Job == "" || f.Job == l.JobID) &&
		(f.Since.IsZero() || !l.At.Before(f.Since)) && (f.Until.IsZero() || l.At.Before(f.Until))
}

// walk hands each the selected letters from a place on, with their state, and returns the place to go on from; nil at the end. each says
// whether it wants more.
func (l *Letters) walk(ctx context.Context, f client.DeadFilter, from kafka.Place, each func(*letter) (more bool, err error)) (next *kafka.Place, err error) {
	scanned := 0
	var fault error
	err = l.deps.Log.Scan(ctx, from, f.Since, func(rec event.Record, at kafka.Place) bool {
		if scanned++; scanned > maxScanned {
			next = &at
			return false
		}
		d := read(rec, at)
		if !fits(f, &d) {
			return true
		}
		if fault = l.mark(ctx, &d); fault != nil {
			return false
		}
		more, err := each(&d)
		if fault = err; err != nil {
			return false
		}
		if !more {
			next = &at
		}
		return more
	})
	return next, errors.Join(err, fault)
}

// mark adds what was done with the letter.
func (l *Letters) mark(ctx context.Context, d *letter) error {
	a, err := l.deps.Store.DeadAction(ctx, d.ID)
	if err != nil || a.Action == "" {
		return err
	}
	d.State, d.ActedBy, d.ActedAt = a.Action, a.Who, a.At
	return nil
}

// List returns up to limit selected letters, the oldest first, from a place on, and the place to go on from; nil at the end. all includes what
// was sent back or purged.
func (l *Letters) List(ctx context.Context, f client.DeadFilter, all bool, from kafka.Place, limit int) (letters []client.DeadLetter, next *kafka.Place, err error) {
	letters = []client.DeadLetter{}
	next, err = l.walk(ctx, f, from, func(d *letter) (bool, error) {
		if !all && d.State != client.DeadBuried {
			return true, nil
		}
		if len(letters) == limit {
			return false, nil
		}
		letters = append(letters, d.DeadLetter)
		return true, nil
	})
	return letters, next, err
}

// find returns one letter, or ErrNotFound.
func (l *Letters) find(ctx context.Context, id string) (*letter, error) {
	at, err := ParseID(id)
	if err != nil {
		return nil, err
	}
	var found *letter
	_, err = l.walk(ctx, client.DeadFilter{}, at, func(d *letter) (bool, error) {
		if d.at == at {
			found = d
		}
		return false, nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return found, err
}
