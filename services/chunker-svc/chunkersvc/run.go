package chunkersvc

import (
	"cmp"
	"context"
	"runtime"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// trackMemory is the most bytes that decoding and cutting one track takes: a decoder's largest block, the resampler's table, one window of
// PCM twice, and one embedding.
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
	w, err := worker.Open(ctx, cfg.Common, telemetry.ServiceChunker)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	step := w.Step(handle.Stage, nil)
	return w.Serve(ctx, worker.Work{
		Step: step, Topic: event.TopicJobs, Concurrency: cmp.Or(cfg.Concurrency, runtime.NumCPU()), RecordBytes: trackMemory,
		Open: func(context.Context, func(string)) (worker.Opened, error) { return open(&cfg, w, step) },
	})
}

func open(cfg *Config, w *worker.Worker, step worker.Step) (worker.Opened, error) {
	decoder, err := cfg.Audio.decoder()
	if err != nil {
		return worker.Opened{}, err
	}
	if decoder.FFmpeg() == "" {
		w.Log.Warn("ffmpeg is not installed: only wav, flac and mp3 can be read")
	}
	h, err := handle.New(handle.Deps{Step: step, Cutter: cut.New(decoder, cfg.Audio.Scratch), Blobs: w.Blobs, Cache: w.Cache})
	if err != nil {
		return worker.Opened{}, err
	}
	return worker.Opened{Handle: h.Handler()}, nil
}
