package handle

import (
	"cmp"
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/llm-svc/internal/answers"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
	"github.com/larkstream/larkstream/shared/worker"
)

// answer makes an outcome of each answer found in the cache, and asks the engine the other questions.
func (h *Handler) answer(ctx context.Context, task *eventpb.Task, soft tensor.Matrix, found map[uint32]answers.Answer) (outcomes []proto.Message, err error) {
	_, err = h.Timed(ctx, task, func(*eventpb.Progress) error {
		for _, o := range h.repeat(ctx, task, found) {
			outcomes = append(outcomes, o)
		}
		rest := without(task, found)
		if len(rest.GetQuestions()) == 0 {
			return nil
		}
		results, spent, err := h.ask(ctx, rest, soft)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return stage.Coded(event.CodeEngineError, err)
		}
		h.keep(ctx, rest, results, spent)
		for i, q := range rest.GetQuestions() {
			h.observe(ctx, rest, q, results[i])
			o := h.outcome(ctx, rest, q, results[i], spent[i])
			if h.looksUp(ctx, rest, q) {
				o.AnswerCache = eventpb.Cache_CACHE_MISS
			}
			outcomes = append(outcomes, o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

// ask has the engine answer the task's questions; spent holds the work of earlier tries.
func (h *Handler) ask(ctx context.Context, task *eventpb.Task, soft tensor.Matrix) (results, spent []contract.Result, err error) {
	began, n := time.Now(), len(task.GetQuestions())
	h.Metrics.Active(ctx, Stage, h.EngineName, n)
	defer h.Metrics.Active(ctx, Stage, h.EngineName, -n)
	req := h.request(ctx, task, soft)
	if results, err = h.Engine.Answer(ctx, req); err != nil {
		return nil, nil, err
	}
	if spent, err = h.formed(ctx, task, req, results); err != nil {
		return nil, nil, err
	}
	h.Metrics.Work(ctx, Stage, h.EngineName, time.Since(began), task.GetWindow().GetHeardS())
	return results, spent, nil
}

// decodeOf is how the task's answers are decoded: what the job leaves open is as the model's makers decode. Tags are greedy unless the job says otherwise:
// they are facts in a fixed form, whose repeated words a penalty would push aside.
func (h *Handler) decodeOf(task *eventpb.Task) contract.Decode {
	own, d := h.Bundle.LLM.Sampling, task.GetDecode()
	if task.GetResponseSchema() != "" {
		own = model.Sampling{}
	}
	out := contract.Decode{
		MaxTokens: int(d.GetMaxTokens()), Temperature: own.Temperature, TopP: cmp.Or(d.GetTopP(), own.TopP), TopK: cmp.Or(int(d.GetTopK()), own.TopK),
		RepetitionPenalty: cmp.Or(d.GetRepetitionPenalty(), own.RepetitionPenalty), Seed: d.GetSeed(),
	}
	if d != nil && d.Temperature != nil {
		out.Temperature = d.GetTemperature()
	}
	return out
}

func (h *Handler) request(ctx context.Context, task *eventpb.Task, soft tensor.Matrix) contract.Request {
	req := contract.Request{
		Soft: soft, OnToken: h.tokens(ctx, task), Job: task.GetJobId(), Schema: task.GetResponseSchema(),
		Decode: h.decodeOf(task),
	}
	system, history := conversation(task)
	req.System = system
	for _, q := range task.GetQuestions() {
		req.Questions = append(req.Questions, contract.Question{Index: int(q.GetIndex()), Text: q.GetText(), History: history})
	}
	return req
}

// conversation is the system text and the turns before the task's questions.
func conversation(task *eventpb.Task) (system string, history []contract.Turn) {
	for _, t := range task.GetHistory() {
		if t.GetRole() == event.RoleSystem {
			system = t.GetText()
			continue
		}
		history = append(history, contract.Turn{Role: t.GetRole(), Text: t.GetText()})
	}
	return system, history
}

// outcome is the terminal result of one question. spent is the work of an earlier try, which the outcome counts too.
func (h *Handler) outcome(ctx context.Context, task *eventpb.Task, q *eventpb.Question, r, spent contract.Result) *eventpb.Outcome {
	var o *eventpb.Outcome
	if r.Err == nil {
		o = event.NewOutcome(task, q)
		o.State, o.Answer = eventpb.State_STATE_ANSWERED, bound(r.Text, event.MaxAnswerBytes)
		o.Confidence, o.Finish = r.Confidence, r.Finish
		crossCheck(o)
	} else {
		o = event.FailedOutcome(task, q, event.Failure{Code: codeOf(r.Err), Message: r.Err.Error()})
	}
	o.Model, o.ModelDigest, o.TraceId = h.Model, h.Bundle.Digest, telemetry.TraceID(ctx)
	o.Tokens = &eventpb.Tokens{
		Prompt: uint32(r.PromptTokens + spent.PromptTokens), Audio: uint32(r.AudioTokens + spent.AudioTokens), Output: uint32(r.OutputTokens + spent.OutputTokens),
	}
	o.Timings.PrefillMs, o.Timings.DecodeMs = worker.Milliseconds(r.Prefill+spent.Prefill), worker.Milliseconds(r.Decode+spent.Decode)
	event.SetTotal(o.GetTimings(), task.GetCreatedUnixMs(), time.UnixMilli(o.GetEndedUnixMs()))
	return o
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, contract.ErrPromptTooLong):
		return event.CodePromptTooLong
	case errors.Is(err, contract.ErrNoTurns), errors.Is(err, contract.ErrNoSystem):
		return event.CodeHistoryUnsupported
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
