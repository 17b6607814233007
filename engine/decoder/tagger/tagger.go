// Package tagger gives structured tags with engines that cannot hold a model to a form: it asks the model its own questions,
// each about one field, and reads the tags from the sentences.
package tagger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// Engine answers requests for tags from the sentences of the engine within; all others it passes on.
type Engine struct{ contract.Engine }

var (
	_ contract.Engine      = (*Engine)(nil)
	_ contract.Constrainer = (*Engine)(nil)
	_ contract.Scorer      = (*Engine)(nil)
)

// Wrap returns e itself if it can hold answers to tags, else e behind the questions. Closing the result closes e.
func Wrap(e contract.Engine) contract.Engine {
	if c, ok := e.(contract.Constrainer); ok && c.Constrains(contract.SchemaTags) {
		return e
	}
	return &Engine{e}
}

// Constrains implements contract.Constrainer.
func (e *Engine) Constrains(schema string) bool { return schema == contract.SchemaTags }

// Likelihoods implements contract.Scorer with the engine within.
func (e *Engine) Likelihoods(ctx context.Context, req contract.GivenRequest) ([][]contract.Likelihood, error) {
	scorer, ok := e.Engine.(contract.Scorer)
	if !ok {
		return nil, contract.ErrNoLikelihood
	}
	return scorer.Likelihoods(ctx, req)
}

// Answer implements contract.Engine. For tags it asks all questions of the package as one request on the same soft prompt, each up
// to the model's own limit of tokens. The text of the request's questions makes no difference: every one gets the same
// tags, with the tokens of all sentences counted and the times of the whole. Text comes as one piece.
func (e *Engine) Answer(ctx context.Context, req contract.Request) ([]contract.Result, error) {
	if req.Schema != contract.SchemaTags || len(req.Questions) == 0 {
		return e.Engine.Answer(ctx, req)
	}
	came := time.Now()
	own := contract.Request{Soft: req.Soft, Decode: req.Decode, Job: req.Job, Questions: questions()}
	own.Decode.MaxTokens = 0
	sentences, err := e.Engine.Answer(ctx, own)
	if err != nil {
		return nil, err
	}
	whole := total(sentences)
	whole.FirstToken = time.Since(came)
	if whole.Err == nil {
		whole.Text, whole.Err = compose(sentences)
	}
	results := make([]contract.Result, len(req.Questions))
	for i, q := range req.Questions {
		results[i] = whole
		results[i].Index = q.Index
		if whole.Err == nil && req.OnToken != nil {
			req.OnToken(q.Index, whole.Text)
		}
	}
	return results, nil
}

// total adds up the work of all sentences as the work of one answer.
func total(sentences []contract.Result) contract.Result {
	first := slices.MinFunc(sentences, func(a, b contract.Result) int { return a.Began.Compare(b.Began) })
	whole := contract.Result{Finish: contract.FinishStop, Began: first.Began, Prefill: first.Prefill}
	for i, s := range sentences {
		if s.Err != nil {
			return contract.Result{Err: fmt.Errorf("asking for the %s: %w", fields()[i].name, s.Err), PromptTokens: s.PromptTokens, AudioTokens: s.AudioTokens, Began: s.Began, Ended: s.Ended}
		}
		whole.PromptTokens += s.PromptTokens
		whole.AudioTokens += s.AudioTokens
		whole.OutputTokens += s.OutputTokens
		if s.Ended.After(whole.Ended) {
			whole.Ended = s.Ended
		}
	}
	whole.Decode = max(0, whole.Ended.Sub(whole.Began)-whole.Prefill)
	return whole
}
