// Package handle turns a window into an embedding: the work of encoder-svc on one record.
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
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageEncoder

const (
	sampleRate  = 44100
	sampleBytes = 2
	// MaxPCM is the size of the longest window, 25 s.
	MaxPCM = 25 * sampleRate * sampleBytes
)

// Emitter sends progress events, best effort.
type Emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	Engine encoder.Engine
	// EngineName stands in metrics.
	EngineName string
	Blobs      *blob.Store
	Cache      cache.Cache
	Bundle     *model.Bundle
	Events     Emitter
	Metrics    *telemetry.EngineMetrics
}

// Handler handles records of lark.windows.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Engine == nil || d.EngineName == "" || d.Blobs == nil || d.Cache == nil || d.Bundle == nil || d.Events == nil || d.Metrics == nil {
		return nil, errors.New("making encoder: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handle makes sure that the window's embedding is stored and sends an EmbeddingReady. Records of one window come one after
// another, so a second job on the same track finds the first one's embedding here, without a lock, and counts as a hit. A window
// whose PCM has been evicted goes back to the chunker, which cuts it again.
func (h *Handler) Handle(ctx context.Context, rec event.Record) ([]event.Record, error) {
	m, err := event.DecodeAs[*eventpb.WindowReady](rec)
	if err != nil {
		return nil, err
	}
	task := m.GetTask()
	if d := task.GetModelDigest(); d != "" && d != h.Bundle.Digest {
		return nil, stage.OtherModel(rec, h.Bundle.DisplayName())
	}
	key := h.Bundle.EmbeddingKey(task.GetWindow().GetHash())
	known, err := h.Cache.Get(ctx, key)
	if err == nil {
		task.Cache = eventpb.Cache_CACHE_HIT
		h.progress(ctx, task, event.StatusSkipped, 0)
		return h.ready(task, key, known)
	}
	if !errors.Is(err, cache.ErrMiss) {
		return nil, fmt.Errorf("looking for embedding: %w", err)
	}
	pcm, err := h.pcm(ctx, task.GetWindow())
	if errors.Is(err, blob.ErrNotFound) {
		return sendBack(m)
	}
	if err != nil {
		return nil, err
	}
	return h.encode(ctx, task, key, pcm)
}

// encode runs the engine and stores the embedding.
func (h *Handler) encode(ctx context.Context, task *eventpb.Task, key string, pcm []int16) ([]event.Record, error) {
	task.Cache = eventpb.Cache_CACHE_MISS
	h.progress(ctx, task, event.StatusStarted, 0)
	begun := time.Now()
	frames, err := h.run(ctx, task, pcm)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if frames.Cols != h.Bundle.Encoder.Width {
		return nil, stage.Permanent(event.CodeEngineError, fmt.Errorf("the engine gave frames of width %d, the model's are %d", frames.Cols, h.Bundle.Encoder.Width))
	}
	if err := h.Cache.Put(ctx, key, frames); err != nil {
		return nil, fmt.Errorf("storing embedding: %w", err)
	}
	ms := float64(time.Since(begun)) / float64(time.Millisecond)
	if task.Timings == nil {
		task.Timings = &eventpb.Timings{}
	}
	task.Timings.EncodeMs += ms
	h.progress(ctx, task, event.StatusDone, ms)
	return h.ready(task, key, frames)
}

// run is one run of the engine with its span and metrics.
func (h *Handler) run(ctx context.Context, task *eventpb.Task, pcm []int16) (tensor.Matrix, error) {
	seconds := float64(len(pcm)) / sampleRate
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

// pcm loads a window and checks that it is the one that its hash names, so that no embedding is stored under a wrong key. A damaged object is
// deleted and counts as evicted.
func (h *Handler) pcm(ctx context.Context, w *eventpb.Window) ([]int16, error) {
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanLoad, trace.WithAttributes(telemetry.AttrWindowHash.String(w.GetHash())))
	defer span.End()
	raw, err := h.Blobs.GetBytes(ctx, w.GetBlobKey(), MaxPCM)
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

// classify makes windows that the model cannot take permanent. A fault of the engine may be one of the moment (memory): it is tried
// again and ends as engine_error.
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

func (h *Handler) ready(task *eventpb.Task, key string, t tensor.Matrix) ([]event.Record, error) {
	return encode(&eventpb.EmbeddingReady{Task: task, Key: key, Frames: uint32(t.Rows), Width: uint32(t.Cols)})
}

// sendBack hands the window to the chunker, on the topic that it reads.
func sendBack(m *eventpb.WindowReady) ([]event.Record, error) {
	out, err := encode(m)
	if err != nil {
		return nil, err
	}
	out[0].Topic = event.TopicJobs
	return out, nil
}

func encode(msg proto.Message) ([]event.Record, error) {
	rec, err := event.Encode(Stage, msg)
	if err != nil {
		return nil, err
	}
	return []event.Record{rec}, nil
}

func (h *Handler) progress(ctx context.Context, task *eventpb.Task, status string, ms float64) {
	if rec, err := event.Progress(Stage, task, status, ms); err == nil {
		h.Events.Emit(ctx, rec)
	}
}
