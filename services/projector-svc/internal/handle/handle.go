// Package handle turns an embedding into a soft prompt: the work of projector-svc on one record.
package handle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageProjector

// Emitter sends progress events, best effort.
type Emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// Projector turns frames [n, in] into a soft prompt [n, out].
type Projector interface {
	Project(frames tensor.Matrix) (tensor.Matrix, error)
	Width() int
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	Projector Projector
	Cache     cache.Cache
	Bundle    *model.Bundle
	Events    Emitter
}

// Handler handles records of lark.embeddings.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Projector == nil || d.Cache == nil || d.Bundle == nil || d.Events == nil {
		return nil, errors.New("making projector: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handle makes sure that the window's soft prompt is stored, and sends one PromptReady with all the window's questions. A window whose
// embedding has been evicted goes back to be encoded: eviction costs time, never an answer.
func (h *Handler) Handle(ctx context.Context, rec event.Record) ([]event.Record, error) {
	m, err := event.DecodeAs[*eventpb.EmbeddingReady](rec)
	if err != nil {
		return nil, err
	}
	task := m.GetTask()
	if d := task.GetModelDigest(); d != "" && d != h.Bundle.Digest {
		return nil, stage.OtherModel(rec, h.Bundle.DisplayName())
	}
	if want := h.Bundle.EmbeddingKey(task.GetWindow().GetHash()); m.GetKey() != want {
		return nil, stage.Permanent(event.CodeModelMismatch, fmt.Errorf("the embedding at %s is not of this model, whose key is %s", m.GetKey(), want))
	}
	begun := time.Now()
	rows, err := h.ensure(ctx, m)
	if errors.Is(err, cache.ErrMiss) {
		return h.sendBack(task)
	}
	if err != nil {
		return nil, err
	}
	ms := float64(time.Since(begun)) / float64(time.Millisecond)
	if task.Timings == nil {
		task.Timings = &eventpb.Timings{}
	}
	task.Timings.ProjectMs += ms
	h.progress(ctx, task, ms)
	return encode(&eventpb.PromptReady{
		Task: task, Key: h.Bundle.PromptKey(task.GetWindow().GetHash()), Frames: uint32(rows), Width: uint32(h.Projector.Width()),
	})
}

// ensure returns the number of rows of the window's soft prompt once it is stored. It is the same as the embedding's.
func (h *Handler) ensure(ctx context.Context, m *eventpb.EmbeddingReady) (rows int, err error) {
	window := m.GetTask().GetWindow()
	key := h.Bundle.PromptKey(window.GetHash())
	there, err := h.Cache.Has(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("looking for soft prompt: %w", err)
	}
	if there {
		return int(m.GetFrames()), nil
	}
	embedding, err := h.Cache.Get(ctx, m.GetKey())
	if err != nil {
		return 0, fmt.Errorf("loading embedding: %w", err)
	}
	prompt, err := h.project(ctx, window, embedding)
	if err != nil {
		return 0, stage.Permanent(event.CodeModelMismatch, err)
	}
	if err := h.Cache.Put(ctx, key, prompt); err != nil {
		return 0, fmt.Errorf("storing soft prompt: %w", err)
	}
	return prompt.Rows, nil
}

// project is the projection under its span.
func (h *Handler) project(ctx context.Context, w *eventpb.Window, embedding tensor.Matrix) (tensor.Matrix, error) {
	_, span := telemetry.Tracer().Start(ctx, telemetry.SpanProject, trace.WithAttributes(
		telemetry.AttrWindowHash.String(w.GetHash()), telemetry.AttrWindowIndex.Int(int(w.GetIndex()))))
	defer span.End()
	prompt, err := h.Projector.Project(embedding)
	telemetry.Mark(span, err)
	span.SetAttributes(telemetry.AttrFrames.Int(prompt.Rows), telemetry.AttrWidth.Int(prompt.Cols))
	return prompt, err
}

// sendBack asks for the window to be encoded again.
func (h *Handler) sendBack(task *eventpb.Task) ([]event.Record, error) {
	task.Cache = eventpb.Cache_CACHE_MISS
	return encode(&eventpb.WindowReady{Task: task})
}

func (h *Handler) progress(ctx context.Context, task *eventpb.Task, ms float64) {
	if rec, err := event.Progress(Stage, task, event.StatusDone, ms); err == nil {
		h.Events.Emit(ctx, rec)
	}
}

func encode(msg proto.Message) ([]event.Record, error) {
	rec, err := event.Encode(Stage, msg)
	if err != nil {
		return nil, err
	}
	return []event.Record{rec}, nil
}
