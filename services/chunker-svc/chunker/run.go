package chunker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/larkstream/larkstream/services/chunker-svc/internal/cut"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
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
	// trackMemory is what decoding and cutting one track takes at most: a decoder's largest block, the resampler's table,
	// one window of PCM twice, one embedding.
	trackMemory  = 16 << 20
	flushTimeout = 5 * time.Second
)

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	var cfg Config
	err := config.Load(&cfg, config.Options{
		Name: telemetry.ServiceChunker, Summary: "decodes audio files and cuts them into windows", EnvPrefix: "LARK_CHUNKER_", Args: args,
		Examples: []string{
			"KAFKA_BROKERS=kafka:9092 BLOB_URL=s3://lark chunker-svc",
			"chunker-svc --max-duration 30m --concurrency 4",
		},
	})
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}

// Run serves until ctx ends, then drains.
func Run(ctx context.Context, cfg Config) (err error) {
	tel, stop, err := telemetry.Start(ctx, cfg.Telemetry(telemetry.ServiceChunker))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flush(ctx, stop)) }()
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return err
	}
	decoder, err := cfg.Audio.decoder()
	if err != nil {
		return err
	}
	if decoder.FFmpeg() == "" {
		tel.Log.Warn("ffmpeg is not installed: only wav, flac and mp3 can be read")
	}
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
		Cutter: cut.New(decoder, cfg.Audio.Scratch), Blobs: blobs, Cache: embeddings, Bundle: bundle, Events: producer,
	})
	if err != nil {
		return err
	}
	return cfg.serve(ctx, tel, producer, handler, bundle.DisplayName())
}

func (c *Config) serve(ctx context.Context, tel *telemetry.Telemetry, producer *kafka.Producer, handler *handle.Handler, modelName string) error {
	control, err := stage.NewControl(c.kafka(), stage.Deps{Log: tel.Log})
	if err != nil {
		return err
	}
	concurrency := c.Concurrency
	if concurrency == 0 {
		concurrency = runtime.NumCPU()
	}
	runner, err := stage.New(stage.Config{
		Stage: handle.Stage, Topics: []string{event.TopicJobs}, Concurrency: concurrency,
		MaxInFlightBytes: int64(concurrency) * trackMemory, DrainTimeout: c.DrainTimeout,
	}, stage.Deps{
		Kafka: c.kafka(), Handle: handler.Handle, Producer: producer, Log: tel.Log, Control: control, Model: modelName,
		Cost: func(event.Record) int64 { return trackMemory },
	})
	if err != nil {
		return err
	}
	return service.Run(ctx, c.Common, telemetry.ServiceChunker, service.Version(), tel, tel.Log,
		service.Part{Name: "control", Run: control.Run, Ready: control.Ready},
		service.Part{Name: handle.Stage, Run: runner.Run, Ready: runner.Ready},
	)
}

func (c *Config) kafka() kafka.Config {
	return kafka.Config{Brokers: c.KafkaBrokers, ClientID: telemetry.ServiceChunker}
}

// flush runs a last step that must outlive ctx, within a bound.
func flush(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := step(ctx); err != nil {
		return fmt.Errorf("stopping chunker: %w", err)
	}
	return nil
}
