package handle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageEncoder

const sampleBytes = 2

// MaxPCM is the size of the longest window of a model, in bytes.
func MaxPCM(b *model.Bundle) int64 {
	return plan.LongestWindow(plan.HearingOf(b.Encoder)) * sampleBytes
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	worker.Step
	Engine encoder.Engine
	// EngineName stands in metrics.
	EngineName string
	Blobs      *blob.Store
	Cache      cache.Cache
	Metrics    *telemetry.EngineMetrics
}

// Handler handles the messages of lark.windows.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Validate() != nil || d.Engine == nil || d.EngineName == "" || d.Blobs == nil || d.Cache == nil || d.Metrics == nil {
		return nil, errors.New("making encoder: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handler is the stage's handler.
func (h *Handler) Handler() stage.Handler { return worker.Handle(h.Step, h.Window) }

// Window makes sure that the window's embedding is stored and returns an EmbeddingReady. Messages about one window come one after another, so
// a second job on the same track finds the first job's embedding here, without a lock, and counts as a hit. A window whose PCM has been
// evicted goes back to the chunker, which cuts it again.
func (h *Handler) Window(ctx context.Context, m *eventpb.WindowReady) ([]proto.Message, error) {
	task := m.GetTask()
	key := worker.Scoped(ctx, h.Bundle.EmbeddingKey(task.GetWindow().GetHash()))
	known, err := h.Cache.Shape(ctx, key, cache.Shape{Cols: h.Bundle.Encoder.Width})
	if err == nil {
		task.Cache = eventpb.Cache_CACHE_HIT
		h.Report(ctx, task, &eventpb.Progress{Status: event.StatusSkipped})
		return ready(task, key, known), nil
	}
	if !errors.Is(err, cache.ErrMiss) {
		return nil, fmt.Errorf("looking for embedding: %w", err)
	}
	pcm, err := h.pcm(ctx, task.GetWindow())
	if errors.Is(err, blob.ErrNotFound) {
		return []proto.Message{worker.Outbound{Message: m, Topic: event.TopicJobs, Back: true}}, nil
	}
	if err != nil {
		return nil, err
	}
	return h.encode(ctx, task, key, pcm)
}

// encode runs the engine and stores the embedding.
func (h *Handler) encode(ctx context.Context, task *eventpb.Task, key string, pcm []int16) ([]proto.Message, error) {
	task.Cache = eventpb.Cache_CACHE_MISS
	var frames tensor.Matrix
	ms, err := h.Timed(ctx, task, func(*eventpb.Progress) (err error) {
		if frames, err = h.run(ctx, task, pcm); err != nil {
			return classify(ctx, err)
		}
		if frames.Cols != h.Bundle.Encoder.Width {
			return stage.Permanent(event.CodeEngineError, fmt.Errorf("the engine gave frames of width %d, the model's are %d", frames.Cols, h.Bundle.Encoder.Width))
		}
		if err := h.Cache.Put(ctx, key, frames); err != nil {
			return fmt.Errorf("storing embedding: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	worker.Timings(task).EncodeMs += ms
	return ready(task, key, cache.Shape{Rows: frames.Rows, Cols: frames.Cols}), nil
}

// run is one run of the engine with its span and metrics.
func (h *Handler) run(ctx context.Context, task *eventpb.Task, pcm []int16) (tensor.Matrix, error) {
	seconds := float64(len(pcm)) / float64(h.Bundle.Encoder.Rate())
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanEncode, trace.WithAttributes(
		telemetry.AttrWindowHash.String(task.GetWindow().GetHash()), telemetry.AttrWindowIndex.Int(int(task.GetWindow().GetIndex())),
		telemetry.AttrEngine.String(h.EngineName), telemetry.AttrAudioSeconds.Float64(seconds)))
	defer span.End()
	h.Metrics.Active(ctx, Stage, h.EngineName, 1)
	defer h.Metrics.Active(ctx, Stage, h.EngineName, -1)
	begun := time.Now()
	frames, err := h.Engine.Encode(ctx, pcm)
	h.Metrics.Work(ctx, Stage, h.EngineName, time.Since(begun), seconds)
	telemetry.Mark(span, err)
	if err != nil {
		return tensor.Matrix{}, err
	}
	h.Metrics.EncoderRun(ctx, h.EngineName)
	span.SetAttributes(telemetry.AttrFrames.Int(frames.Rows), telemetry.AttrWidth.Int(frames.Cols))
	return frames, nil
}

// pcm loads a window and compares it with its hash, so that no embedding is stored under a wrong key. A damaged object is deleted and counts
// as evicted.
func (h *Handler) pcm(ctx context.Context, w *eventpb.Window) ([]int16, error) {
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanLoad, trace.WithAttributes(telemetry.AttrWindowHash.String(w.GetHash())))
	defer span.End()
	raw, err := h.Blobs.GetBytes(ctx, w.GetBlobKey(), MaxPCM(h.Bundle))
	if errors.Is(err, blob.ErrTooLarge) {
		return nil, h.discard(ctx, w)
	}
	if err != nil {
		return nil, fmt.Errorf("loading window: %w", err)
	}
	hash := audio.WindowHash()
	hash.Write(raw)
	if event.HexSum(hash) != w.GetHash() {
		return nil, h.discard(ctx, w)
	}
	pcm := make([]int16, len(raw)/sampleBytes)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[sampleBytes*i:]))
	}
	return pcm, nil
}

func (h *Handler) discard(ctx context.Context, w *eventpb.Window) error {
	if err := h.Blobs.Delete(ctx, w.GetBlobKey()); err != nil {
		return fmt.Errorf("deleting damaged window: %w", err)
	}
	return fmt.Errorf("loading window %s: it was damaged: %w", w.GetHash(), blob.ErrNotFound)
}

// classify makes the error of a window that the model cannot take permanent. A fault of the engine may pass (memory): the window is tried
// again, and its questions end as engine_error if the fault stays.
func classify(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, encoder.ErrTooShort):
		return stage.Permanent(event.CodeAudioTooShort, err)
	case errors.Is(err, encoder.ErrTooLong):
		return stage.Permanent(event.CodePlanOutOfRange, err)
	case ctx.Err() != nil:
		return fmt.Errorf("encoding window: %w", context.Cause(ctx))
	}
	return stage.Coded(event.CodeEngineError, fmt.Errorf("encoding window: %w", err))
}

func ready(task *eventpb.Task, key string, s cache.Shape) []proto.Message {
	return []proto.Message{&eventpb.EmbeddingReady{Task: task, Key: key, Frames: uint32(s.Rows), Width: uint32(s.Cols)}}
}
