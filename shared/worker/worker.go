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
	Producer *kafka.Producer

	name   string
	common service.Common
	tel    *telemetry.Telemetry
	closes []func(context.Context) error
}

// Open opens what a stage service named name needs; load reads its model bundle (model.Read, Load or LoadComplete). The caller must
// Close it, with the error of its own run.
func Open(ctx context.Context, common service.Common, name string, load func(dir string) (*model.Bundle, error)) (_ *Worker, err error) {
	w := &Worker{name: name, common: common}
	defer func() {
		if err != nil {
			err = w.Close(ctx, err)
		}
	}()
	tel, stop, err := telemetry.Start(ctx, common.Telemetry(name))
	if err != nil {
		return nil, err
	}
	w.tel, w.Log, w.closes = tel, tel.Log, append(w.closes, stop)
	if w.Bundle, err = load(common.ModelDir); err != nil {
		return nil, err
	}
	if err = w.Bundle.SetPrecision(common.EncoderPrecision); err != nil {
		return nil, err
	}
	if w.Blobs, err = blob.Open(ctx, common.BlobURL.Reveal()); err != nil {
		return nil, err
	}
	w.OnClose(w.Blobs.Close)
	if w.Cache, err = cache.Open(ctx, common.RedisURL, w.Blobs, cache.Deps{Log: tel.Log, Metrics: telemetry.NewCacheMetrics()}); err != nil {
		return nil, err
	}
	w.OnClose(w.Cache.Close)
	if w.Producer, err = kafka.NewProducer(w.kafka(), kafka.Deps{Log: tel.Log}); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, w.Producer.Close)
	return w, nil
}

// OnClose adds what the service opened itself; it is closed before all that was opened earlier.
func (w *Worker) OnClose(closeIt func() error) {
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
	// Stage names the consumer group and the retry topics.
	Stage  string
	Topic  string
	Handle stage.Handler
	// Concurrency is how many keys are handled at once.
	Concurrency int
	// RecordBytes is the most memory that one record in hand takes. At most InFlight records are in hand; 0 means Concurrency.
	RecordBytes int64
	InFlight    int
	// Model is the display name that failed outcomes carry.
	Model string
	// Parts run beside the stage; they start before it and stop after it.
	Parts []service.Part
	// After, when not nil, is closed when the stage may begin to take records.
	After <-chan struct{}
}

// Serve handles records until ctx ends, then drains.
func (w *Worker) Serve(ctx context.Context, work Work) error {
	control, err := stage.NewControl(w.kafka(), stage.Deps{Log: w.Log})
	if err != nil {
		return err
	}
	runner, err := stage.New(stage.Config{
		Stage: work.Stage, Topics: []string{work.Topic}, Concurrency: work.Concurrency,
		MaxInFlightBytes: int64(max(work.InFlight, work.Concurrency)) * work.RecordBytes, DrainTimeout: w.common.DrainTimeout,
	}, stage.Deps{
		Kafka: w.kafka(), Handle: work.Handle, Producer: w.Producer, Log: w.Log, Control: control, Model: work.Model,
		Cost: func(event.Record) int64 { return work.RecordBytes },
	})
	if err != nil {
		return err
	}
	parts := append([]service.Part{{Name: "control", Run: control.Run, Ready: control.Ready}}, work.Parts...)
	parts = append(parts, service.Part{Name: work.Stage, Run: after(work.After, runner.Run), Ready: runner.Ready})
	return service.Run(ctx, w.common, w.name, service.Version(), w.tel, w.Log, parts...)
}

// after delays run until the channel is closed.
func after(begin <-chan struct{}, run func(context.Context) error) func(context.Context) error {
	if begin == nil {
		return run
	}
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-begin:
			return run(ctx)
		}
	}
}

func (w *Worker) kafka() kafka.Config {
	return kafka.Config{Brokers: w.common.KafkaBrokers, ClientID: w.name}
}
