package handle

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageProjector

// Projector turns frames [n, in] into a soft prompt [n, out].
type Projector interface {
	Project(frames tensor.Matrix) (tensor.Matrix, error)
	Width() int
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	worker.Step
	Projector Projector
	Cache     cache.Cache
}

// Handler handles the messages of lark.embeddings.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Validate() != nil || d.Projector == nil || d.Cache == nil {
		return nil, errors.New("making projector: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handler is the stage's handler.
func (h *Handler) Handler() stage.Handler { return worker.Handle(h.Step, h.Embedding) }

// Embedding makes sure that the window's soft prompt is stored, and returns one PromptReady with all the window's questions. A window whose
// embedding has been evicted goes back to be encoded: eviction costs time, never an answer.
func (h *Handler) Embedding(ctx context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
	task, rows := m.GetTask(), 0
	ms, err := h.Timed(ctx, task, func(*eventpb.Progress) (err error) {
		rows, err = h.ensure(ctx, m)
		return err
	})
	if errors.Is(err, cache.ErrMiss) {
		task.Cache = eventpb.Cache_CACHE_MISS
		return []proto.Message{worker.Outbound{Message: &eventpb.WindowReady{Task: task}, Back: true}}, nil
	}
	if err != nil {
		return nil, err
	}
	worker.Timings(task).ProjectMs += ms
	return []proto.Message{&eventpb.PromptReady{
		Task: task, Key: worker.Scoped(ctx, h.Bundle.PromptKey(task.GetWindow().GetHash())), Frames: uint32(rows), Width: uint32(h.Projector.Width()),
	}}, nil
}

// ensure stores the window's soft prompt unless it is stored already, and returns its number of rows, which equals the embedding's.
func (h *Handler) ensure(ctx context.Context, m *eventpb.EmbeddingReady) (rows int, err error) {
	window := m.GetTask().GetWindow()
	key := worker.Scoped(ctx, h.Bundle.PromptKey(window.GetHash()))
	rows = int(m.GetFrames())
	_, err = h.Cache.Shape(ctx, key, cache.Shape{Rows: rows, Cols: h.Projector.Width()})
	if !errors.Is(err, cache.ErrMiss) {
		if err != nil {
			err = fmt.Errorf("looking for soft prompt: %w", err)
		}
		return rows, err
	}
	embedding, err := h.Cache.Get(ctx, m.GetKey(), cache.Shape{Rows: rows, Cols: h.Bundle.Encoder.Width})
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
