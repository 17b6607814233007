package stage

import (
	"fmt"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	// modelWait is how long a record may wait for an instance that serves its model: the time of a roll-out.
	modelWait = 10 * time.Minute
	// modelLater is how long it is put back for at a time.
	modelLater = 5 * time.Second
)

// OtherModel is what a handler returns for a record whose model this instance does not serve. The record is put back, so that
// models are never mixed. A record that was put back before and is older than ten minutes fails with model_mismatch.
// served names the model of this instance.
func OtherModel(rec event.Record, served string) error {
	written, err := time.Parse(time.RFC3339Nano, rec.Get(event.HeaderTime))
	putBackBefore := rec.Get(event.HeaderStage) != ""
	if putBackBefore && (err != nil || time.Since(written) > modelWait) {
		return Permanent(event.CodeModelMismatch, fmt.Errorf("no instance serves the model that was asked for; this one serves %s", served))
	}
	return Later(modelLater)
}
