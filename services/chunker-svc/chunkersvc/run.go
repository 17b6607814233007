package chunkersvc

import (
	"context"
	"runtime"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/mir/check"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/memlimit"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Memory in bytes.
const (
	// trackMemory is what decoding and cutting one track takes in this process at most: a decoder's largest block, the resampler's table,
	// one window of PCM three times, what measuring it takes (20 MB), one embedding, and as much again that waits to be collected.
	trackMemory = 64 << 20
	// otherMemory is what the rest of the process takes.
	otherMemory = 192 << 20
)

// Command parses args and the environment and runs the service until ctx ends.
func Command(ctx context.Context, args []string) error {
	cfg := newConfig()
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
func Run(ctx context.Context, cfg Config) error { return RunOn(ctx, host.Host{}, cfg) }

// RunOn is Run on another host than this machine.
func RunOn(ctx context.Context, on host.Host, cfg Config) (err error) {
	w, err := worker.Open(ctx, on, cfg.Common, telemetry.ServiceChunker)
	if err != nil {
		return err
	}
	defer func() { err = w.Close(ctx, err) }()
	decoder, err := cfg.Audio.decoder(ctx)
	if err != nil {
		return err
	}
	perTrack := memoryOf(decoder)
	concurrency := cfg.tracks(perTrack, memlimit.Bytes(), runtime.GOMAXPROCS(0))
	w.Log.Info("decoding", "tracks_at_once", concurrency, "memory_of_a_track", perTrack, "ffmpeg", decoder.Confinement())
	step := w.Step(handle.Stage, nil)
	return w.Serve(ctx, worker.Work{
		Step: step, Topic: event.TopicJobs, Concurrency: concurrency, RecordBytes: perTrack,
		Output: event.TopicWindows, OutputBytes: pcmBytes(w.Bundle),
		Open: func(context.Context, func(string)) (worker.Opened, error) { return open(&cfg, decoder, w, step) },
	})
}

func open(cfg *Config, decoder *audio.Decoder, w *worker.Worker, step worker.Step) (worker.Opened, error) {
	if decoder.FFmpeg() == "" {
		w.Log.Warn("ffmpeg is not installed: only wav, flac and mp3 can be read, and some stereo of mp3 is a little wrong")
	}
	places, err := source.New(cfg.Sources)
	if err != nil {
		return worker.Opened{}, err
	}
	deps := handle.Deps{Step: step, Sources: places, Cutter: cut.New(decoder, cfg.Audio.Scratch), Blobs: w.Blobs, Cache: w.Cache, Limits: cfg.Job.limits()}
	if cfg.Measure {
		deps.Measure = check.Window
	}
	h, err := handle.New(deps)
	if err != nil {
		return worker.Opened{}, err
	}
	return worker.Opened{Handle: h.Handler()}, nil
}

// pcmBytes is what the longest window of a model takes as 16-bit samples.
func pcmBytes(b *model.Bundle) int64 { return 2 * plan.LongestWindow(plan.HearingOf(b.Encoder)) }

// memoryOf is what one track may take: here, and in ffmpeg if that is there to be used.
func memoryOf(d *audio.Decoder) int64 {
	if d.FFmpeg() == "" {
		return trackMemory
	}
	return trackMemory + audio.FFmpegMemory
}

// tracks is how many tracks are decoded at once: as many as the user says; else as many as there are processors, but no more than fit into
// the memory that the container allows, 0 if that has no limit.
func (c *Config) tracks(perTrack, limit int64, processors int) int {
	if c.Concurrency > 0 {
		return c.Concurrency
	}
	if limit == 0 {
		return processors
	}
	return max(1, min(processors, int((limit-otherMemory)/perTrack)))
}
