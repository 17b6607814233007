package stage

import (
	"fmt"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	// elsewhereWait is how long a record may wait for an instance that can handle it: the time of a roll-out.
	elsewhereWait = 10 * time.Minute
	// elsewhereLater is how long it is put back for at a time.
	elsewhereLater = 5 * time.Second
	// elsewhereTimes is how often a record can be put back in that time. It must have been put back as often, too: one that was put back first by a machine whose clock is late seems to
	// have waited for long.
	elsewhereTimes = int(elsewhereWait / elsewhereLater)
)

// OtherModel is what a handler returns for a record whose model this instance does not serve. The record is put back, so that
// models are never mixed, until an instance of its model takes it. Some ten minutes after it was first put back it fails with
// model_mismatch: no such instance runs. served names the model of this instance.
func OtherModel(rec event.Record, served string) error {
	return elsewhere(rec, event.CodeModelMismatch, fmt.Errorf("no instance serves the model that was asked for; this one serves %s", served))
}

// elsewhere puts a record back for another instance, and gives it up with code and err when none has taken it in time. Only
// the time since it was first put back counts: how long it waited in a backlog before says nothing about instances.
func elsewhere(rec event.Record, code string, err error) error {
	if since, ok := putBackSince(rec); ok && time.Since(since) > elsewhereWait && putBacks(rec) >= elsewhereTimes {
		return Permanent(code, err)
	}
	return &laterError{after: elsewhereLater, elsewhere: true}
}

// putBacks is how often the record was put back for another instance; nonsense counts as never.
func putBacks(rec event.Record) int {
	n, err := strconv.Atoi(rec.Get(event.HeaderPutBacks))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// putBackSince is when the record was first put back for another instance; false if it was not, or its header is nonsense.
func putBackSince(rec event.Record) (time.Time, bool) {
	since, err := time.Parse(time.RFC3339Nano, rec.Get(event.HeaderPutBackSince))
	return since, err == nil && !since.After(time.Now())
}
