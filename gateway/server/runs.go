package server

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/runs"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
)

// runs makes the controller of runs; wake is called when jobs wait.
func (g *gateway) runs(wake func()) (*runs.Controller, error) {
	places, err := source.New(g.cfg.Sources)
	if err != nil {
		return nil, err
	}
	return runs.New(runs.Config{InFlight: g.cfg.Runs.InFlight, Readers: g.cfg.Runs.Readers, MaxBytes: g.cfg.Limits.MaxAudioBytes}, runs.Deps{
		Store: g.jobs, Sources: places, Wake: wake, NewID: g.host.NewID, Log: g.tel.Log,
		Cancel: func(ctx context.Context, job store.Job) error {
			err := g.cancelJob(ctx, job)
			wake()
			return err
		},
	})
}

// cancelJob cancels a job as its owner does.
func (g *gateway) cancelJob(ctx context.Context, job store.Job) error {
	stop, err := event.Encode(outbox.Source, &eventpb.Control{JobId: job.ID, Kind: event.ControlCancel, AtUnixMs: time.Now().UnixMilli()})
	if err != nil {
		return err
	}
	var ends []event.Record
	if job.Waiting {
		whole, err := g.jobs.Get(ctx, job.ID) // with its questions
		if err != nil {
			return err
		}
		if ends, err = outbox.FailedOutcomes(ctx, whole, event.Failure{Code: event.CodeCancelled, Message: "job cancelled"}); err != nil {
			return err
		}
	}
	_, err = g.jobs.Cancel(ctx, job.ID, []event.Record{stop}, ends)
	return err
}
