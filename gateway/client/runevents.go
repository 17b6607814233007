package client

import (
	"context"
	"encoding/json"
	"fmt"
)

// Kinds of events of a run, beside EventProgress, EventEnd and EventDropped.
const (
	// EventState is a change of the run's state or of its reason.
	EventState = "state"
	// EventItem is an item that has failed, in whole or in part.
	EventItem = "item"
)

// RunEvent is an event of a run: Item of EventItem, Run of the others.
type RunEvent struct {
	// ID to go on after, of EventItem only.
	ID   string
	Kind string
	Run  *Run
	Item *RunItem
}

// WatchRun calls fn for each event of a run until the run's end (nil), an error of fn, or the end of ctx. It connects again after a broken connection, to any
// gateway, and goes on after the last failure that was told. opts.After is the ID of the last event seen before: "" = only what fails from now on, "0" = every
// failure.
func (c *Client) WatchRun(ctx context.Context, run string, opts WatchOptions, fn func(RunEvent) error) error {
	w := &watch{WatchOptions: opts, client: c, url: c.base.JoinPath("/v1/runs", run, "events"), what: "run " + run, last: opts.After}
	w.take = func(id, kind string, data []byte) error {
		if id != "" {
			w.last = id
		}
		if data == nil {
			return nil
		}
		ev := RunEvent{ID: id, Kind: kind}
		var err error
		switch kind {
		case EventItem:
			ev.Item = &RunItem{}
			err = json.Unmarshal(data, ev.Item)
		case EventProgress, EventState, EventEnd:
			ev.Run = &Run{}
			err = json.Unmarshal(data, ev.Run)
		default: // of a newer gateway, or dropped: the next connection goes on
			return nil
		}
		if err != nil {
			return fmt.Errorf("decoding %s event %s: %w: %w", kind, id, ErrMalformed, err)
		}
		w.told++
		if err := fn(ev); err != nil {
			return &callbackError{err}
		}
		if kind == EventEnd {
			return errEnd
		}
		return nil
	}
	return w.run(ctx)
}
