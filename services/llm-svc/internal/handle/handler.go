// Package handle is the work of llm-svc on one record: a window's soft prompt and questions become outcomes.
package handle

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/codes"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageLLM

// Emitter sends events, best effort and without blocking.
type Emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// Deps are what a Handler works with; all are needed.
type Deps struct {
	Engine  contract.Engine
	Cache   cache.Cache
	Bundle  *model.Bundle
	Events  Emitter
	Metrics *telemetry.EngineMetrics
	// EngineName stands in metrics; Model in outcomes, as the model that answered.
	EngineName, Model string
}

// Handler handles records of lark.prompts.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Engine == nil || d.Cache == nil || d.Bundle == nil || d.Events == nil || d.Metrics == nil || d.EngineName == "" || d.Model == "" {
		return nil, errors.New("making llm: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handle answers the questions of one window; its outputs are their outcomes, one each. If the soft prompt has been
// evicted, the output is the window itself, to be encoded again.
func (h *Handler) Handle(ctx context.Context, rec event.Record) ([]event.Record, error) {
	msg, err := event.DecodeAs[*eventpb.PromptReady](rec)
	if err != nil {
		return nil, err
	}
	task := msg.GetTask()
	if d := task.GetModelDigest(); (d != "" && d != h.Bundle.Digest) || msg.GetKey() != h.Bundle.PromptKey(task.GetWindow().GetHash()) {
		return nil, stage.OtherModel(rec, h.Model)
	}
	soft, err := h.load(ctx, msg.GetKey())
	if errors.Is(err, cache.ErrMiss) {
		h.progress(ctx, task, event.StatusRetrying, 0)
		return encodeAll(&eventpb.WindowReady{Task: task})
	}
	if err != nil {
		return nil, fmt.Errorf("reading soft prompt %s: %w", msg.GetKey(), err)
	}
	if err := h.checkSoft(soft, msg); err != nil {
		return nil, stage.Permanent(event.CodeEngineError, err)
	}
	return h.answer(ctx, task, soft)
}

// load reads the soft prompt; that it is gone is no fault of the span.
func (h *Handler) load(ctx context.Context, key string) (tensor.Matrix, error) {
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanLoad)
	defer span.End()
	soft, err := h.Cache.Get(ctx, key)
	switch {
	case errors.Is(err, cache.ErrMiss):
		span.SetAttributes(telemetry.AttrResult.String(telemetry.ResultMiss))
	case err != nil:
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	default:
		span.SetAttributes(telemetry.AttrFrames.Int(soft.Rows), telemetry.AttrWidth.Int(soft.Cols))
	}
	return soft, err
}

func (h *Handler) checkSoft(soft tensor.Matrix, msg *eventpb.PromptReady) error {
	if soft.Rows != int(msg.GetFrames()) {
		return fmt.Errorf("checking the soft prompt: it has %d frames where the record says %d", soft.Rows, msg.GetFrames())
	}
	return contract.CheckSoft(soft, h.Bundle.LLM.Hidden)
}

func encodeAll(msg *eventpb.WindowReady) ([]event.Record, error) {
	rec, err := event.Encode(Stage, msg)
	if err != nil {
		return nil, err
	}
	return []event.Record{rec}, nil
}
