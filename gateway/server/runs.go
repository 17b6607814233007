package server

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/batches"
	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/runs"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/survey"
	"github.com/larkstream/larkstream/gateway/internal/vectors"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/source"
)

// survey looks at items before a run is made of them; bundle may be nil.
func (g *gateway) survey(bundle *model.Bundle) (*survey.Surveyor, error) {
	places, err := source.New(g.cfg.Sources)
	if err != nil {
		return nil, err
	}
	return survey.New(survey.Deps{Store: g.jobs, Sources: places, Stored: g.blobs.Exists, Bundle: bundle, Readers: g.cfg.Runs.Readers, MaxBytes: g.cfg.Limits.MaxAudioBytes})
}

// amount is what a cost is worth, nil without prices.
func (g *gateway) amount() func(store.Cost) float64 {
	if g.cfg.Prices.Currency == "" {
		return nil
	}
	return api.Prices(g.cfg.Prices).Amount
}

// pool makes vectors of what the encoder has stored; nil without the bundle. It asks the object store alone: an embedding is needed once, and Redis is a hint.
func (g *gateway) pool(bundle *model.Bundle) (func(context.Context, string, store.EndedItem) (*store.Vector, error), error) {
	if bundle == nil {
		return nil, nil
	}
	p, err := vectors.NewPooler(bundle, cache.NewBlob(g.blobs, cache.F16))
	if err != nil {
		return nil, err
	}
	return p.Pool, nil
}

// runs makes the controller of runs; wake is called when jobs wait.
func (g *gateway) runs(bundle *model.Bundle, wake func()) (*runs.Controller, error) {
	places, err := source.New(g.cfg.Sources)
	if err != nil {
		return nil, err
	}
	pool, err := g.pool(bundle)
	if err != nil {
		return nil, err
	}
	return runs.New(runs.Config{InFlight: g.cfg.Runs.InFlight, Readers: g.cfg.Runs.Readers, StalledAfter: g.cfg.Runs.StalledAfter, MaxBytes: g.cfg.Limits.MaxAudioBytes}, runs.Deps{
		Store: g.jobs, Sources: places, Wake: wake, NewID: g.host.NewID, Log: g.tel.Log, Amount: g.amount(), Pool: pool,
		Cancel: g.cancel(wake),
	})
}

// cancel cancels jobs as their owners do.
func (g *gateway) cancel(wake func()) func(context.Context, store.Job) error {
	return func(ctx context.Context, job store.Job) error {
		_, err := outbox.Cancel(ctx, g.jobs, job, time.Now())
		wake()
		return err
	}
}

// batches makes the controller of batches, whose jobs are made as the API makes them; wake is called when jobs wait.
func (g *gateway) batches(server *api.API, wake func()) (*batches.Controller, error) {
	return batches.New(batches.Config{InFlight: g.cfg.Runs.InFlight, Readers: g.cfg.Runs.Readers}, batches.Deps{
		Store: g.jobs, Blobs: g.blobs, Jobs: server, Cancel: g.cancel(wake), Wake: wake, NewID: g.host.NewID, SpoolDir: g.cfg.SpoolDir, Log: g.tel.Log,
	})
}
