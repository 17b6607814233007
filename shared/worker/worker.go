package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// flushTimeout bounds each last step after the service has stopped.
const flushTimeout = 5 * time.Second

// Worker is an opened stage service. Its fields are for the service's handler.
type Worker struct {
	Log      *slog.Logger
	Bundle   *model.Bundle
	Blobs    *blob.Store
	Cache    cache.Cache
	Producer host.Producer

	name    string
	host    host.Host
	common  service.Common
	parts   []model.Part
	tel     *telemetry.Telemetry
	control *stage.Control
	closes  []func(context.Context) error
}

// Open opens what a stage service named name needs, on the host given. Of the model bundle it reads the manifest only; Serve compares with their digests the
// parts that are named here, which the bundle must have. The caller must Close the worker, with the error of its own run.
func Open(ctx context.Context, on host.Host, common service.Common, name string, parts ...model.Part) (_ *Worker, err error) {
	w := &Worker{host: on, name: name, common: common, parts: parts}
	defer func() {
		if err != nil {
			err = w.Close(ctx, err)
		}
	}()
	tel, stop, err := on.Telemetry(ctx, common.Telemetry(name))
	if err != nil {
		return nil, err
	}
	w.tel, w.Log, w.closes = tel, tel.Log, append(w.closes, stop)
	if w.Bundle, err = model.Read(common.ModelDir); err != nil {
		return nil, err
	}
	if err = w.Bundle.Require(parts...); err != nil {
		return nil, err
	}
	if err = w.Bundle.SetPrecision(common.EncoderPrecision); err != nil {
		return nil, err
	}
	if w.Blobs, err = on.Blobs(ctx, common.BlobURL.Reveal()); err != nil {
		return nil, err
	}
	w.onClose(w.Blobs.Close)
	if w.Cache, err = cache.Open(ctx, common.RedisURL, w.Blobs, cache.Deps{Log: tel.Log, Metrics: telemetry.NewCacheMetrics(), Hot: on.Hot}); err != nil {
		return nil, err
	}
	w.onClose(w.Cache.Close)
	if w.Producer, err = on.Producer(w.kafka(), kafka.Deps{Log: tel.Log}); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, w.Producer.Close)
	if w.control, err = stage.NewControl(w.kafka(), stage.Deps{Log: w.Log}); err != nil {
		return nil, err
	}
	return w, nil
}

// Step is what the records of a stage have in common; key is Step.Key.
func (w *Worker) Step(stageName string, key func(windowHash string) string) Step {
	return Step{Stage: stageName, Bundle: w.Bundle, Model: w.Bundle.DisplayName(), Key: key, Events: w.Producer, Watched: w.control.Watched}
}

func (w *Worker) onClose(closeIt func() error) {
	w.closes = append(w.closes, func(context.Context) error { return closeIt() })
}

// Close closes everything, the last opened first, and joins the faults to err. It also closes after ctx has ended; each step
// has a few seconds.
func (w *Worker) Close(ctx context.Context, err error) error {
	for i := len(w.closes) - 1; i >= 0; i-- {
		if fault := within(ctx, w.closes[i]); fault != nil {
			err = errors.Join(err, fmt.Errorf("stopping %s: %w", w.name, fault))
		}
	}
	w.closes = nil
	return err
}

func within(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return step(ctx)
}

// Work is what the stage does.
type Work struct {
	Step
	// Topic is what the stage reads, in each lane.
	Topic string
	// Open makes the handler, once the parts given to the worker's Open have been compared with their digests. It runs while the service
	// already serves health and readiness, so it may take minutes; tell changes the reason for which the stage is not ready. An error ends the
	// service. Open must end soon after ctx does.
	Open func(ctx context.Context, tell func(reason string)) (Opened, error)
	// Unordered lets records of one key be handled at the same time, see stage.Config.
	Unordered bool
	// Concurrency is how many records are handled at once.
	Concurrency int
	// RecordBytes is the most memory that handling one record takes. At most InFlight records are handled or wait for a handler, and two more
	// are about to be or have been; 0 means Concurrency.
	RecordBytes int64
	InFlight    int
	// Output is the topic of the next stage, in any lane, and OutputBytes what a record there means in the object store. The stage runs
	// ahead of the next one by MaxAheadBytes of the configuration at most. Both are zero for the last stage.
	Output      string
	OutputBytes int64
}

// minAhead is how many records a stage may be ahead, however large they are, so that the next stage never waits for it.
const minAhead = 16

// maxAhead is the bound in records that a bound in bytes means; 0 for a stage without an output.
func (w Work) maxAhead(bytes int64) int64 {
	if w.OutputBytes == 0 {
		return 0
	}
	return max(minAhead, bytes/w.OutputBytes)
}

// inFlight is how many records may be in hand.
func (w Work) inFlight() int64 { return int64(max(w.InFlight, w.Concurrency)) }

// Serve loads the model, then handles records until ctx ends, then drains. Health and readiness are served from the start.
func (w *Worker) Serve(ctx context.Context, work Work) error {
	if err := work.Validate(); err != nil {
		return err
	}
	load := newLoader(w.Bundle, w.parts, work.Open, w.Log)
	runner, err := stage.New(stage.Config{
		Stage: work.Stage, Topics: event.InLanes(work.Topic), Concurrency: work.Concurrency, Unordered: work.Unordered,
		// Two records more than are handled: one whose outputs are being published, and one that the interactive lane can always begin with.
		MaxInFlightBytes: (work.inFlight() + 2) * work.RecordBytes, ReservedBytes: work.RecordBytes, DrainTimeout: w.common.DrainTimeout, HandlerTimeout: w.common.HandlerTimeout,
		Partitions: w.common.KafkaPartitions, KeepFinished: w.common.KafkaKeepFinished,
		Output: work.Output, MaxAhead: work.maxAhead(w.common.MaxAheadBytes),
	}, stage.Deps{
		Kafka: w.kafka(), Handle: w.host.Handle(work.Stage, load.Handle), Random: w.host.Random, Now: w.host.Now, Producer: w.Producer, Log: w.Log, Control: w.control, Model: work.Model, Marks: w.Blobs,
		Cost: func(event.Record) int64 { return work.RecordBytes },
	})
	if err != nil {
		return err
	}
	parts := []service.Part{
		{Name: "control", Run: w.control.Run, Ready: w.control.Ready},
		{Name: enginePart, Run: load.Run, Ready: load.Ready},
		{Name: work.Stage, Run: load.then(runner.Run), Ready: runner.Ready, Degraded: runner.Degraded},
	}
	if watched, ok := w.Cache.(cache.Watched); ok {
		parts = append(parts, service.Part{Name: "redis", Run: watched.Watch, Degraded: watched.Degraded})
	}
	return w.host.Run(ctx, w.common, w.name, w.tel, parts...)
}

func (w *Worker) kafka() kafka.Config {
	return w.host.Kafka(w.common.Kafka(w.name))
}
