package handle

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/codes"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/llm-svc/internal/answers"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// Stage is the name of this stage in records, topics and metrics.
const Stage = event.StageLLM

// Deps are what a Handler works with; all but Answers are needed.
type Deps struct {
	worker.Step
	Engine  contract.Engine
	Cache   cache.Cache
	Metrics *telemetry.EngineMetrics
	// Answers keeps answers; nil switches that off.
	Answers *answers.Cache
	// EngineName stands in metrics.
	EngineName string
}

// Handler handles the messages of lark.prompts.v1. It is safe for concurrent use.
type Handler struct{ Deps }

// New refuses missing dependencies.
func New(d Deps) (*Handler, error) {
	if d.Validate() != nil || d.Engine == nil || d.Cache == nil || d.Metrics == nil || d.EngineName == "" {
		return nil, errors.New("making llm: a dependency is missing")
	}
	return &Handler{Deps: d}, nil
}

// Handler is the stage's handler.
func (h *Handler) Handler() stage.Handler { return worker.Handle(h.Step, h.Prompt) }

// Prompt answers the questions of one window and returns their outcomes, one each. If the soft prompt is needed and has been evicted, it returns
// the window itself, to be encoded again.
func (h *Handler) Prompt(ctx context.Context, msg *eventpb.PromptReady) ([]proto.Message, error) {
	task := msg.GetTask()
	found := h.lookUp(ctx, task)
	if len(found) == len(task.GetQuestions()) {
		return h.answer(ctx, task, tensor.Matrix{}, found)
	}
	soft, err := h.load(ctx, msg)
	if errors.Is(err, cache.ErrMiss) {
		h.Report(ctx, task, &eventpb.Progress{Status: event.StatusRetrying})
		return []proto.Message{worker.Outbound{Message: &eventpb.WindowReady{Task: task}, Back: true}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading soft prompt %s: %w", msg.GetKey(), err)
	}
	return h.answer(ctx, task, soft, found)
}

// load reads the soft prompt. A soft prompt that has been evicted does not mark the span as failed.
func (h *Handler) load(ctx context.Context, msg *eventpb.PromptReady) (tensor.Matrix, error) {
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanLoad)
	defer span.End()
	soft, err := h.Cache.Get(ctx, msg.GetKey(), cache.Shape{Rows: int(msg.GetFrames()), Cols: h.Bundle.LLM.Hidden})
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
