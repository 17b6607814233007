package handle

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/services/llm-svc/internal/answers"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/worker"
)

// asked is what the answer to a question of a task depends on.
func (h *Handler) asked(ctx context.Context, task *eventpb.Task, q *eventpb.Question) answers.Asked {
	system, history := conversation(task)
	return answers.Asked{
		System: system, History: history,
		Prompt: worker.Scoped(ctx, h.Key(task.GetWindow().GetHash())), Question: q.GetText(), Index: int(q.GetIndex()), Schema: task.GetResponseSchema(), Decode: h.decodeOf(task),
	}
}

// looksUp tells whether the answer to a question is looked up and kept.
func (h *Handler) looksUp(ctx context.Context, task *eventpb.Task, q *eventpb.Question) bool {
	return h.Answers != nil && h.asked(ctx, task, q).Repeatable()
}

// lookUp finds answers of earlier decoding, by the question's index. A store that is slow or fails makes misses.
func (h *Handler) lookUp(ctx context.Context, task *eventpb.Task) map[uint32]answers.Answer {
	ctx, cancel := context.WithTimeout(ctx, answers.Patience)
	defer cancel()
	found := map[uint32]answers.Answer{}
	for _, q := range task.GetQuestions() {
		if ctx.Err() != nil || !h.looksUp(ctx, task, q) {
			continue
		}
		if a, ok := h.Answers.Get(ctx, h.asked(ctx, task, q), formOf(task)); ok {
			found[q.GetIndex()] = a
		}
	}
	return found
}

// formOf returns the check that an answer has the form that the task asks for.
func formOf(task *eventpb.Task) func(answers.Answer) error {
	return func(a answers.Answer) error {
		if task.GetResponseSchema() == "" {
			return nil
		}
		_, err := tags.Parse([]byte(a.Text))
		return err
	}
}

// repeat makes the outcomes of answers found, and sends their text to the watchers. Tokens are counted as when the answer was decoded; the time
// spent on it now is 0.
func (h *Handler) repeat(ctx context.Context, task *eventpb.Task, found map[uint32]answers.Answer) (outcomes []*eventpb.Outcome) {
	onToken := h.tokens(ctx, task)
	for _, q := range task.GetQuestions() {
		a, ok := found[q.GetIndex()]
		if !ok {
			continue
		}
		onToken(int(q.GetIndex()), a.Text)
		o := h.outcome(ctx, task, q, contract.Result{
			Text: a.Text, PromptTokens: a.PromptTokens, AudioTokens: a.AudioTokens, OutputTokens: a.OutputTokens, Finish: a.Finish, Confidence: a.Confidence,
		}, contract.Result{})
		o.AnswerCache = eventpb.Cache_CACHE_HIT
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// without is the task with the questions that were not found.
func without(task *eventpb.Task, found map[uint32]answers.Answer) *eventpb.Task {
	if len(found) == 0 {
		return task
	}
	rest := proto.CloneOf(task)
	rest.Questions = nil
	for _, q := range task.GetQuestions() {
		if _, ok := found[q.GetIndex()]; !ok {
			rest.Questions = append(rest.Questions, q)
		}
	}
	return rest
}

// keep stores answers. An answer of a second try was sampled, whatever the task's settings, and is not kept.
func (h *Handler) keep(ctx context.Context, task *eventpb.Task, results, spent []contract.Result) {
	ctx, cancel := context.WithTimeout(ctx, answers.Patience)
	defer cancel()
	for i, q := range task.GetQuestions() {
		if ctx.Err() != nil || results[i].Err != nil || spent[i].Err != nil || !h.looksUp(ctx, task, q) {
			continue
		}
		h.Answers.Put(ctx, h.asked(ctx, task, q), answers.Answer{
			Text: bound(results[i].Text, event.MaxAnswerBytes), PromptTokens: results[i].PromptTokens, AudioTokens: results[i].AudioTokens,
			OutputTokens: results[i].OutputTokens, Finish: results[i].Finish, Confidence: results[i].Confidence,
		})
	}
}
