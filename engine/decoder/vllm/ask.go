package vllm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

// errSlow is the cause of a context that Config.Timeout has ended.
var errSlow = errors.New("the server is too slow")

// asking is one request in the engine's hands.
type asking struct {
	*Engine
	request   contract.Request
	structure *structure
	came      time.Time
	frames    []byte     // the soft prompt in the table's type
	watch     sync.Mutex // held while the watcher is called
}

// rounds is how often a question is asked that fails while others are answered.
const rounds = 3

// all asks every question, and those that fail once more while the server answers others: one fault of the server must not cost the answers
// that are there already.
func (a *asking) all(ctx context.Context) ([]contract.Result, error) {
	results := make([]contract.Result, len(a.request.Questions))
	open := make([]int, len(results))
	for i := range open {
		open[i] = i
	}
	for n := 1; ; n++ {
		faults := a.round(ctx, results, open)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		answered := len(results) - len(open)
		var failed []int
		for k, i := range open {
			if faults[k] != nil {
				results[i].Err = faults[k]
				failed = append(failed, i)
			}
		}
		if answered += len(open) - len(failed); len(failed) == 0 {
			return results, nil
		}
		if answered == 0 {
			return nil, results[failed[0]].Err
		}
		if n == rounds {
			return results, nil
		}
		open = failed
		if err := sleep(ctx, firstWait<<n); err != nil {
			return nil, err
		}
	}
}

// round asks the questions with these indexes at once and returns the fault of each.
func (a *asking) round(ctx context.Context, results []contract.Result, open []int) []error {
	faults := make([]error, len(open))
	var group sync.WaitGroup
	for k, i := range open {
		q := a.request.Questions[i]
		results[i] = contract.Result{Index: q.Index}
		group.Go(func() { faults[k] = a.answer(ctx, &results[i], q) })
	}
	group.Wait()
	return faults
}

// answer asks one question. Its error is a fault of the server or of the way to it.
func (a *asking) answer(ctx context.Context, result *contract.Result, q contract.Question) error {
	release, err := a.slots.acquire(ctx, a.request.Job)
	if err != nil {
		return err
	}
	defer release()
	p, err := a.prompts.build(a.frames, a.request.System, q)
	result.PromptTokens, result.AudioTokens = p.rows, a.request.Soft.Rows
	if err != nil {
		result.Err = err
		return nil
	}
	body, err := a.body(p, q.Index)
	if err != nil {
		return err
	}
	timed, stop := context.WithTimeoutCause(ctx, a.cfg.Timeout, errSlow)
	defer stop()
	err = a.ask(timed, result, body)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case timed.Err() != nil:
		return fmt.Errorf("asking vLLM: no answer within %s: %w", a.cfg.Timeout, err)
	}
	return refusedAlone(result, err)
}

// refusedAlone notes in the result that the server will never answer this question. Any other error is given back.
func refusedAlone(result *contract.Result, err error) error {
	var r *refusal
	if errors.As(err, &r) && r.ofRequest() {
		result.Err, result.Ended = err, time.Now()
		return nil
	}
	return err
}

// ask sends the question when the server has room, and again while nothing of an answer has come.
func (a *asking) ask(ctx context.Context, result *contract.Result, body []byte) error {
	sent, err := a.gate.pass(ctx)
	if err != nil {
		return err
	}
	defer sent()
	result.Began = time.Now()
	var first time.Time
	text := answerText{trim: len(a.stops) > 0, emit: func(part string) {
		result.Text += part
		a.emit(result.Index, part)
	}}
	c, err := retry(ctx, func() (completion, error) {
		c, err := a.client.complete(ctx, body, func(part string) {
			if first.IsZero() {
				first = time.Now()
			}
			text.push(part)
		})
		if err != nil && text.begun {
			return c, fmt.Errorf("asking vLLM: the answer broke off: %w", final(err))
		}
		return c, err
	})
	if err != nil {
		return err
	}
	text.end(c.finish)
	result.Finish, result.OutputTokens, result.Ended = c.finish, c.tokens, time.Now()
	result.FirstToken, result.Prefill, result.Decode = first.Sub(a.came), first.Sub(result.Began), result.Ended.Sub(first)
	return nil
}

// answerText passes an answer on as every engine gives it: without one leading space, and, where answers end at a stop text, without
// the white space in front of that.
type answerText struct {
	emit  func(part string)
	trim  bool
	begun bool
	held  string // white space that may be the last
}

func (t *answerText) push(part string) {
	if part == "" {
		return
	}
	if !t.begun {
		part = strings.TrimPrefix(part, " ")
	}
	t.begun = true
	part, t.held = t.held+part, ""
	if t.trim {
		kept := strings.TrimRightFunc(part, unicode.IsSpace)
		part, t.held = kept, part[len(kept):]
	}
	if part != "" {
		t.emit(part)
	}
}

func (t *answerText) end(finish string) {
	if t.held != "" && finish != contract.FinishStop {
		t.emit(t.held)
	}
	t.held = ""
}

// emit tells the watcher.
func (a *asking) emit(index int, text string) {
	if a.request.OnToken == nil {
		return
	}
	a.watch.Lock()
	defer a.watch.Unlock()
	a.request.OnToken(index, text)
}
