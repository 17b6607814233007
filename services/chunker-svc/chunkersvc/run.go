package chunkersvc

import (
	"cmp"
	"context"
	"runtime"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// trackMemory is what decoding and cutting one track takes at most: a decoder's largest block, the resampler's table,
// one window of PCM twice, one embedding.
const trackMemory = 16 << 20

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
	w, err := worker.Open(ctx, cfg.Common, telemetry.ServiceChunker, model.Read)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	decoder, err := cfg.Audio.decoder()
	if err != nil {
		return err
	}
	if decoder.FFmpeg() == "" {
		w.Log.Warn("ffmpeg is not installed: only wav, flac and mp3 can be read")
	}
	handler, err := handle.New(handle.Deps{
		Cutter: cut.New(decoder, cfg.Audio.Scratch), Blobs: w.Blobs, Cache: w.Cache, Bundle: w.Bundle, Events: w.Producer,
	})
	if err != nil {
		return err
	}
	return w.Serve(ctx, worker.Work{
		Stage: handle.Stage, Topic: event.TopicJobs, Handle: handler.Handle, Model: w.Bundle.DisplayName(),
		Concurrency: cmp.Or(cfg.Concurrency, runtime.NumCPU()), RecordBytes: trackMemory,
	})
}
