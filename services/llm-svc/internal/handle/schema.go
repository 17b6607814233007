package handle

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// errForm says that an answer does not have the form asked for.
var errForm = errors.New("the model's answer does not have the form asked for")

// The second try samples: greedy decoding would make the same answer again.
const (
	retryTemperature = 0.7
	retryTopP        = 0.9
)

// formed checks answers that must have a form, and makes their text compact. A question whose answer does not have the form is asked once
// more; spent then holds the first try at the question's place.
func (h *Handler) formed(ctx context.Context, task *eventpb.Task, req contract.Request, results []contract.Result) (spent []contract.Result, err error) {
	spent = make([]contract.Result, len(results))
	if req.Schema == "" {
		return spent, nil
	}
	var failed []int
	again := req
	again.Questions = nil
	for i := range results {
		if !settle(&results[i]) {
			failed = append(failed, i)
			again.Questions = append(again.Questions, req.Questions[i])
			h.observe(ctx, task, task.GetQuestions()[i], results[i])
		}
	}
	if len(failed) == 0 {
		return spent, nil
	}
	again.Decode, again.OnToken = retryDecode(req.Decode), h.tokens(ctx, task) // token numbers begin at 0 again: watchers start over
	second, err := h.Engine.Answer(ctx, again)
	if err != nil {
		return nil, err
	}
	for n, i := range failed {
		settle(&second[n])
		spent[i], results[i] = results[i], second[n]
	}
	return spent, nil
}

// settle makes an answer's text compact. An answer that does not have the form gets an error, and settle returns false.
func settle(r *contract.Result) bool {
	if r.Err != nil {
		return true // asking again would not help
	}
	t, err := tags.Parse([]byte(r.Text))
	if err == nil {
		r.Text = t.String()
		return true
	}
	r.Err = fmt.Errorf("%w: %w", errForm, err)
	if r.Finish == contract.FinishLength {
		r.Err = fmt.Errorf("%w (cut off after %d tokens)", r.Err, r.OutputTokens)
	}
	return false
}

// retryDecode samples, with another seed than the first try, up to the model's own limit of tokens: the job's limit may have cut the first
// answer off.
func retryDecode(d contract.Decode) contract.Decode {
	if d.Temperature == 0 {
		d.Temperature, d.TopP = retryTemperature, retryTopP
	}
	d.MaxTokens, d.Seed = 0, d.Seed+1
	return d
}
