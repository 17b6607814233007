package handle

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// answer asks the engine and makes an outcome of each result.
func (h *Handler) answer(ctx context.Context, task *eventpb.Task, soft tensor.Matrix) ([]event.Record, error) {
	began := time.Now()
	h.progress(ctx, task, event.StatusStarted, 0)
	n := len(task.GetQuestions())
	h.Metrics.Active(ctx, Stage, h.EngineName, n)
	req := h.request(ctx, task, soft)
	results, err := h.Engine.Answer(ctx, req)
	var spent []contract.Result
	if err == nil {
		spent, err = h.formed(ctx, task, req, results)
	}
	h.Metrics.Active(ctx, Stage, h.EngineName, -n)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, stage.Coded(event.CodeEngineError, err)
	}
	took := time.Since(began)
	h.Metrics.Work(ctx, Stage, h.EngineName, took, task.GetWindow().GetHeardS())
	records := make([]event.Record, 0, n)
	for i, q := range task.GetQuestions() {
		rec, err := event.Encode(Stage, h.outcome(ctx, task, q, results[i], spent[i]))
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	h.progress(ctx, task, event.StatusDone, milliseconds(took))
	return records, nil
}

func (h *Handler) request(ctx context.Context, task *eventpb.Task, soft tensor.Matrix) contract.Request {
	d := task.GetDecode()
	req := contract.Request{
		Soft: soft, OnToken: h.tokens(ctx, task), Job: task.GetJobId(), Schema: task.GetResponseSchema(),
		Decode: contract.Decode{MaxTokens: int(d.GetMaxTokens()), Temperature: d.GetTemperature(), TopP: d.GetTopP(), Seed: d.GetSeed()},
	}
	for _, q := range task.GetQuestions() {
		req.Questions = append(req.Questions, contract.Question{Index: int(q.GetIndex()), Text: q.GetText()})
	}
	return req
}

// outcome is the terminal result of one question; spent is the work of an earlier try.
func (h *Handler) outcome(ctx context.Context, task *eventpb.Task, q *eventpb.Question, r, spent contract.Result) *eventpb.Outcome {
	h.observe(ctx, task, q, r)
	var o *eventpb.Outcome
	if r.Err == nil {
		o = event.NewOutcome(task, q)
		o.State, o.Answer = eventpb.State_STATE_ANSWERED, bound(r.Text, event.MaxAnswerBytes)
	} else {
		o = event.FailedOutcome(task, q, event.Failure{Code: codeOf(r.Err), Message: r.Err.Error()})
	}
	o.Model, o.ModelDigest, o.TraceId = h.Model, h.Bundle.Digest, telemetry.TraceID(ctx)
	o.Tokens = &eventpb.Tokens{Prompt: uint32(r.PromptTokens + spent.PromptTokens), Output: uint32(r.OutputTokens + spent.OutputTokens)}
	o.Timings.PrefillMs, o.Timings.DecodeMs = milliseconds(r.Prefill+spent.Prefill), milliseconds(r.Decode+spent.Decode)
	event.SetTotal(o.GetTimings(), task.GetCreatedUnixMs(), time.UnixMilli(o.GetEndedUnixMs()))
	return o
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, contract.ErrPromptTooLong):
		return event.CodePromptTooLong
	case errors.Is(err, errForm):
		return event.CodeSchema
	}
	return event.CodeEngineError
}

// bound cuts text to at most limit bytes at the border of a character.
func bound(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
