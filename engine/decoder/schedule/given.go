package schedule

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tensor"
)

// given is a text that an answer is taken to be: its tokens are read, not chosen.
type given struct {
	tokens     []int
	ends       []int // tokens that end an answer; none: texts do
	read       int   // of tokens, how many the decoder has read or is reading
	likelihood *contract.Likelihood
}

// Likelihoods implements contract.Scorer. A window's prefix, with its notes if the bundle takes some, is computed once; then all texts advance together by one
// token a step, beside whatever else is in hand.
func (e *Engine) Likelihoods(ctx context.Context, req contract.GivenRequest) ([][]contract.Likelihood, error) {
	if err := contract.CheckSoft(req.Soft, e.shape.Hidden); err != nil {
		return nil, err
	}
	r, out, err := e.prepareGiven(ctx, req)
	if err != nil || len(r.answers) == 0 {
		return out, err
	}
	if err := e.serve(r); err != nil {
		return nil, err
	}
	for _, a := range r.answers {
		if a.result.Err != nil {
			*a.given.likelihood = contract.Likelihood{Err: a.result.Err}
		}
	}
	return out, nil
}

// prepareGiven turns questions and texts into tokens. Texts that cannot be read have their error in their likelihood.
func (e *Engine) prepareGiven(ctx context.Context, req contract.GivenRequest) (*request, [][]contract.Likelihood, error) {
	e.life.RLock()
	defer e.life.RUnlock()
	if e.shut {
		return nil, nil, contract.ErrClosed
	}
	r := &request{
		ctx: ctx, engine: contract.Request{Soft: req.Soft, Job: req.Job}, came: time.Now(), lead: e.prompt.Prefix(), prefix: None, done: make(chan struct{}),
	}
	out := make([][]contract.Likelihood, len(req.Given))
	for i, g := range req.Given {
		out[i] = make([]contract.Likelihood, len(g.Answers))
		for k, text := range g.Answers {
			a, err := e.newGiven(r, g.Question, text)
			if err != nil {
				out[i][k].Err = err
				continue
			}
			a.given.likelihood = &out[i][k]
			r.answers = append(r.answers, a)
		}
	}
	return r, out, nil
}

func (e *Engine) newGiven(r *request, question, text string) (*answer, error) {
	a, err := e.newAnswer(r, &contract.Result{}, contract.Question{Text: question})
	if err != nil {
		return nil, err
	}
	tokens, err := e.prompt.Given(question, text)
	if err != nil {
		return nil, err
	}
	if positions := a.result.PromptTokens + len(tokens); positions > e.shape.Context {
		return nil, fmt.Errorf("%w: %d positions with an answer of %d tokens, the model's context is %d", contract.ErrPromptTooLong, positions, len(tokens), e.shape.Context)
	}
	a.given, a.limit = &given{tokens: tokens, ends: e.prompt.StopTokens()}, len(tokens)
	return a, nil
}

// follow notes how probable the next token of a given text is and lets the decoder read it. Behind the last token it notes how probable the end is.
func (s *scheduler) follow(a *answer, scores []float32) {
	if !tensor.Finite(scores) {
		s.finish(a, "", errors.New("reading an answer: the model's scores are not finite"))
		return
	}
	g := a.given
	g.likelihood.Tokens++
	if g.read == len(g.tokens) {
		g.likelihood.LogProb += logProb(scores, g.ends)
		s.finish(a, contract.FinishStop, nil)
		return
	}
	a.token = g.tokens[g.read]
	g.likelihood.LogProb += logProb(scores, []int{a.token})
	if g.read++; g.read == len(g.tokens) && len(g.ends) == 0 {
		s.finish(a, contract.FinishStop, nil)
	}
}

// logProb is the logarithm of the probability, by the softmax of the scores, that one of the tokens comes next.
func logProb(scores []float32, ids []int) float64 {
	wanted := make([]float32, len(ids))
	for i, id := range ids {
		wanted[i] = scores[id]
	}
	return logSum(wanted) - logSum(scores)
}

// logSum is the logarithm of the sum of exponentials.
func logSum(scores []float32) float64 {
	high := float64(scores[argmax(scores)])
	sum := 0.0
	for _, v := range scores {
		sum += math.Exp(float64(v) - high)
	}
	return high + math.Log(sum)
}
