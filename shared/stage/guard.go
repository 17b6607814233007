package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
)

const (
	// maxGivenUp bounds mark.GivenUp and mark.Deadly. The offsets of earlier ones are committed, unless so many records kill one process.
	maxGivenUp = 100
	// A mark names a few offsets; what is larger is no mark.
	maxMarkBytes = 1 << 20
	markBackoff  = time.Second
	markTimeout  = 5 * time.Second
)

// errCrashed is why a record that has killed its stage again and again is given up. Its text is shown to the user.
var errCrashed = errors.New("the stage died three times while it worked on this record, the last time on this record alone")

// mark is what the object store knows of a partition while an instance has it.
type mark struct {
	// Open is set while an instance works on the partition. The next owner finds it set if that instance has died.
	Open bool `json:"open"`
	// InHand are the offsets that were worked on, noted only after a death.
	InHand []int64 `json:"in_hand,omitempty"`
	// Suspects were in hand when an instance died. Each is tried alone.
	Suspects []int64 `json:"suspects,omitempty"`
	// Alone is the suspect that is being tried, AloneID its copyID.
	Alone   *int64 `json:"alone,omitempty"`
	AloneID string `json:"alone_id,omitempty"`
	// GivenUp are the records that killed an instance while they were tried alone. They stay here until the partition is given back in good order:
	// another record may kill the process before the offset of one that was given up is committed.
	GivenUp []int64 `json:"given_up,omitempty"`
	// Deadly are the copyIDs of these records: a record that is written more than once, as happens around a death, kills with each copy.
	Deadly []string `json:"deadly,omitempty"`
}

// copyID is the same for all copies of a record on its topic, and another one once somebody has had the record sent back. It is empty for a record without an id.
func copyID(rec event.Record) string {
	id := rec.Get(event.HeaderID)
	if n := rec.Get(event.HeaderRedriven); id != "" && n != "" {
		id += "/" + n
	}
	return id
}

// guard finds the record of one partition that takes its process down. See docs/adr/0042.
//
// The first death is known from the open mark alone. After that the guard is careful: it stores what is in hand before it is
// handled. What was in hand at the second death is tried alone, and what was alone at the third death is given up. A nil store
// makes a guard that does nothing.
type guard struct {
	store *blob.Store
	key   string
	log   *slog.Logger

	end     atomic.Int64  // of the partition when it was assigned: no earlier owner has had what lies behind
	lost    atomic.Bool   // another instance may own the partition: nothing is stored any more
	turn    chan struct{} // guards what follows; it may be held for as long as the store does not answer
	mark    mark
	stored  string // the mark as it is in the store
	opened  bool
	careful bool // the owner before died
}

func newGuard(store *blob.Store, group string, tp topicPartition, log *slog.Logger) *guard {
	key := strings.ToLower(fmt.Sprintf("stage/v1/%s/%s/%d", group, tp.topic, tp.id))
	if store != nil && blob.CheckKey(key) != nil {
		log.Warn("the names of group and topic make no object key: a record that kills this stage will not be given up", "key", key)
		store = nil
	}
	return &guard{store: store, key: key, log: log, turn: make(chan struct{}, 1)}
}

func (g *guard) lock() (unlock func()) {
	g.turn <- struct{}{}
	return func() { <-g.turn }
}

// seen notes the end of the partition, as the first fetch tells it. It never waits: the poll of all partitions calls it.
func (g *guard) seen(end int64) {
	g.end.CompareAndSwap(0, end)
}

// open takes the partition over before its first record is handled, trying for as long as ctx lives; false when it ends first.
func (g *guard) open(ctx context.Context) bool {
	defer g.lock()()
	if g.store == nil || g.opened {
		return true
	}
	for {
		before, err := g.load(ctx)
		if err == nil {
			g.takeOver(before)
			err = g.save(ctx)
		}
		if err == nil {
			g.opened = true
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		g.log.WarnContext(ctx, "reading the mark of a partition, trying again", "mark", g.key, "error", err)
		if !waitFor(ctx, markBackoff) {
			return false
		}
	}
}

func (g *guard) load(ctx context.Context) (mark, error) {
	var m mark
	raw, err := g.store.GetBytes(ctx, g.key, maxMarkBytes)
	if errors.Is(err, blob.ErrNotFound) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		g.log.WarnContext(ctx, "the mark of a partition cannot be read and is written anew", "mark", g.key, "error", err)
		return mark{Open: true}, nil
	}
	return m, nil
}

// takeOver draws the conclusions from the mark that the owner before has left.
func (g *guard) takeOver(before mark) {
	g.mark = mark{Open: true, Suspects: before.Suspects, GivenUp: before.GivenUp, Deadly: before.Deadly}
	g.careful = before.Open
	if !before.Open {
		return
	}
	if before.Alone != nil {
		g.mark.GivenUp = newest(append(g.mark.GivenUp, *before.Alone))
		if before.AloneID != "" {
			g.mark.Deadly = newest(append(g.mark.Deadly, before.AloneID))
		}
		g.mark.Suspects = slices.DeleteFunc(g.mark.Suspects, func(o int64) bool { return o == *before.Alone })
	}
	for _, offset := range before.InHand {
		if !slices.Contains(g.mark.Suspects, offset) {
			g.mark.Suspects = append(g.mark.Suspects, offset)
		}
	}
	g.log.Warn("the owner of a partition died: its records are handled with care", "mark", g.key,
		"tried_alone", g.mark.Suspects, "given_up", g.mark.GivenUp)
}

// newest are the last maxGivenUp of all.
func newest[T any](all []T) []T { return all[max(0, len(all)-maxGivenUp):] }

// crashed tells whether the record at an offset, with a copyID, must be given up, as often as it comes, in any copy; alone, whether nothing else may run beside it.
func (g *guard) crashed(offset int64, id string) bool {
	defer g.lock()()
	return slices.Contains(g.mark.GivenUp, offset) || slices.Contains(g.mark.Deadly, id) // which never has an empty one
}

func (g *guard) alone(offset int64) bool {
	defer g.lock()()
	return slices.Contains(g.mark.Suspects, offset)
}

// begin stores that the record is in hand where that matters; false when ctx ends first.
func (g *guard) begin(ctx context.Context, offset int64, id string) bool {
	defer g.lock()()
	if g.store == nil || !g.careful || offset >= g.end.Load() {
		return true
	}
	if slices.Contains(g.mark.Suspects, offset) {
		g.mark.Alone, g.mark.AloneID = &offset, id
	} else if !slices.Contains(g.mark.InHand, offset) {
		g.mark.InHand = append(g.mark.InHand, offset)
	}
	for {
		err := g.save(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		g.log.WarnContext(ctx, "storing the mark of a partition, trying again", "mark", g.key, "error", err)
		if !waitFor(ctx, markBackoff) {
			return false
		}
	}
}

// finish notes that the process has survived the record. A suspect is cleared in the store at once, so that a later death
// is not laid to it; the rest is cleared with the next mark.
func (g *guard) finish(ctx context.Context, offset int64) {
	defer g.lock()()
	is := func(o int64) bool { return o == offset }
	g.mark.InHand = slices.DeleteFunc(g.mark.InHand, is)
	if !slices.Contains(g.mark.Suspects, offset) {
		return
	}
	g.mark.Suspects = slices.DeleteFunc(g.mark.Suspects, is)
	if g.mark.Alone != nil && *g.mark.Alone == offset {
		g.mark.Alone, g.mark.AloneID = nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	if err := g.save(ctx); err != nil {
		g.log.WarnContext(ctx, "storing the mark of a partition", "mark", g.key, "error", err)
	}
}

// save stores the mark if it has changed.
func (g *guard) save(ctx context.Context) error {
	if g.lost.Load() {
		return nil
	}
	raw, err := json.Marshal(g.mark)
	if err != nil {
		return err
	}
	if string(raw) == g.stored {
		return nil
	}
	if err := g.store.PutBytes(ctx, g.key, raw); err != nil {
		return err
	}
	g.stored = string(raw)
	return nil
}

// close gives the partition back in good order. It waits for the store no longer than markTimeout, because a rebalance waits for it.
func (g *guard) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	var err error
	select {
	case g.turn <- struct{}{}:
		err = g.clear(ctx)
		<-g.turn
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.lose()
	if err != nil { // the next owner takes it for a death and is careful, no more
		g.log.WarnContext(ctx, "clearing the mark of a partition", "mark", g.key, "error", err)
	}
}

// clear removes the mark, but for suspects that were not tried.
func (g *guard) clear(ctx context.Context) error {
	if g.store == nil || !g.opened || g.lost.Load() {
		return nil
	}
	if g.mark = (mark{Suspects: g.mark.Suspects}); len(g.mark.Suspects) > 0 {
		return g.save(ctx)
	}
	return g.store.Delete(ctx, g.key)
}

// lose forbids to store anything: another instance may own the partition. It never waits: a rebalance calls it.
func (g *guard) lose() { g.lost.Store(true) }
