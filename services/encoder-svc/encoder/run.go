package encoder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/larkstream/larkstream/services/encoder-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// flushTimeout bounds each last step after the service has stopped.
	flushTimeout = 5 * time.Second
	// engineMemory is what lark-nano's encoder works with for 25 s. Jukebox's holds its own memory, for as many windows as it runs.
	engineMemory = 24 << 20
)

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceEncoder, Summary: "turns windows of audio into embeddings", EnvPrefix: "LARK_ENCODER_", Args: args,
		Examples: []string{"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark LARK_MODEL_DIR=models/lark-nano encoder-svc"},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, cfg Config) (err error) {
	tel, stop, err := telemetry.Start(ctx, cfg.Telemetry(telemetry.ServiceEncoder))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, stop)) }()
	bundle, err := model.Read(cfg.ModelDir)
	if err != nil {
		return err
	}
	engine := newLoading(&cfg, bundle, tel.Log)
	defer func() { err = errors.Join(err, engine.Close()) }()
	blobs, err := blob.Open(ctx, cfg.BlobURL.Reveal())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	embeddings, err := cache.Open(ctx, cfg.RedisURL, blobs, cache.Deps{Log: tel.Log, Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, embeddings.Close()) }()
	producer, err := kafka.NewProducer(cfg.kafka(), kafka.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, producer.Close)) }()
	handler, err := handle.New(handle.Deps{
		Engine: engine, EngineName: cfg.engineName(bundle), Blobs: blobs, Cache: embeddings, Bundle: bundle, Events: producer,
		Metrics: telemetry.NewEngineMetrics(),
	})
	if err != nil {
		return err
	}
	return cfg.serve(ctx, tel, producer, handler, engine)
}

func (c *Config) serve(ctx context.Context, tel *telemetry.Telemetry, producer *kafka.Producer, handler *handle.Handler, engine *loading) error {
	control, err := stage.NewControl(c.kafka(), stage.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	concurrency, cost := c.windows(engine.bundle), windowMemory(engine.bundle)
	runner, err := stage.New(stage.Config{
		Stage: handle.Stage, Topics: []string{event.TopicWindows}, Concurrency: concurrency,
		MaxInFlightBytes: int64(concurrency) * cost, DrainTimeout: c.DrainTimeout,
	}, stage.Deps{
		Kafka: c.kafka(), Handle: handler.Handle, Producer: producer, Log: tel.Log, Control: control, Model: engine.bundle.DisplayName(),
		Cost: func(event.Record) int64 { return cost },
	})
	if err != nil {
		return err
	}
	return service.Run(ctx, c.Common, telemetry.ServiceEncoder, service.Version(), tel, tel.Log,
		service.Part{Name: "control", Run: control.Run, Ready: control.Ready},
		service.Part{Name: "engine", Run: engine.Run, Ready: engine.Ready},
		service.Part{Name: handle.Stage, Run: engine.before(runner.Run), Ready: runner.Ready},
	)
}

// windowMemory is what one window takes: its PCM as bytes and as samples, its frames in float32 and stored, and the engine's own
// intermediate values.
func windowMemory(b *model.Bundle) int64 {
	frames := int64(math.Ceil(b.Encoder.SpanS * b.Encoder.FrameRateHz))
	return 2*handle.MaxPCM + 2*4*frames*int64(b.Encoder.Width) + engineMemory
}

func (c *Config) kafka() kafka.Config {
	return kafka.Config{Brokers: c.KafkaBrokers, ClientID: telemetry.ServiceEncoder}
}

// flush runs a last step that must outlive ctx, within a bound.
func flush(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("stopping encoder: %w", err)
	}
	return nil
}
