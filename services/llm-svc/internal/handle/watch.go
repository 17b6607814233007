package handle

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// tokens returns the function that sends each new piece of text to the watchers. One goroutine at a time may call it. While nobody watches, the
// text is held back, and whoever comes in the middle of an answer is sent all of it so far.
func (h *Handler) tokens(ctx context.Context, task *eventpb.Task) func(index int, text string) {
	sent, held := map[int]uint32{}, map[int]string{}
	return func(index int, text string) {
		text = held[index] + text
		watched := h.Watched == nil || h.Watched(task.GetJobId())
		if watched && h.Tell(ctx, &eventpb.Event{JobId: task.GetJobId(), Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{
			QuestionIndex: uint32(index), WindowIndex: task.GetWindow().GetIndex(), Seq: sent[index], Text: text,
		}}}) {
			sent[index]++
			text = ""
		}
		held[index] = bound(text, event.MaxAnswerBytes)
	}
}

// observe records the spans and metrics of one question after the answer is there: the engine works on many questions at once, and its result
// tells when each part of the work began and ended.
func (h *Handler) observe(ctx context.Context, task *eventpb.Task, q *eventpb.Question, r contract.Result) {
	if r.Began.IsZero() { // never begun: its prompt was too long
		r.Began = time.Now()
		r.Ended = r.Began
	}
	prefilled := r.Ended.Add(-r.Decode)
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanAnswer+h.Bundle.Name, trace.WithTimestamp(r.Began), trace.WithAttributes(h.attributes(task, q, r)...))
	errorType := ""
	if r.Err != nil {
		errorType = codeOf(r.Err)
		span.SetAttributes(telemetry.AttrErrorType.String(errorType))
		telemetry.Mark(span, r.Err)
	} else {
		between(ctx, telemetry.SpanPrefill, r.Began, prefilled, telemetry.AttrGenAIInputTokens.Int(r.PromptTokens))
		between(ctx, telemetry.SpanGenerate, prefilled, r.Ended, telemetry.AttrGenAIOutputTokens.Int(r.OutputTokens))
		h.Metrics.FirstToken(ctx, h.Model, r.FirstToken)
		h.Metrics.Tokens(ctx, h.Model, r.PromptTokens, r.OutputTokens, r.Decode)
	}
	h.Metrics.Answered(ctx, h.Model, r.Ended.Sub(r.Began), errorType)
	span.End(trace.WithTimestamp(r.Ended))
}

func between(ctx context.Context, name string, began, ended time.Time, attributes ...attribute.KeyValue) {
	_, span := telemetry.Tracer().Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(ended))
}

func (h *Handler) attributes(task *eventpb.Task, q *eventpb.Question, r contract.Result) []attribute.KeyValue {
	d := h.decodeOf(task)
	list := []attribute.KeyValue{
		telemetry.AttrGenAIOperation.String(telemetry.GenAIOperation), telemetry.AttrGenAIProvider.String(telemetry.GenAIProvider),
		telemetry.AttrGenAIRequestModel.String(h.Bundle.Name), telemetry.AttrGenAIResponseModel.String(h.Model),
		telemetry.AttrGenAIInputTokens.Int(r.PromptTokens), telemetry.AttrGenAIOutputTokens.Int(r.OutputTokens),
		telemetry.AttrTimeToFirstToken.Float64(r.FirstToken.Seconds()),
		telemetry.AttrJobID.String(task.GetJobId()), telemetry.AttrWindowIndex.Int(int(task.GetWindow().GetIndex())),
		telemetry.AttrQuestion.Int(int(q.GetIndex())), telemetry.AttrEngine.String(h.EngineName),
	}
	if r.Finish != "" {
		list = append(list, telemetry.AttrGenAIFinishReasons.StringSlice([]string{r.Finish}))
	}
	if d.MaxTokens > 0 {
		list = append(list, telemetry.AttrGenAIMaxTokens.Int(d.MaxTokens))
	}
	if d.Temperature > 0 {
		list = append(list, telemetry.AttrGenAITemperature.Float64(float64(d.Temperature)),
			telemetry.AttrGenAITopP.Float64(float64(d.TopP)), telemetry.AttrGenAISeed.Int64(int64(d.Seed)))
	}
	return list
}
