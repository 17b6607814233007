package llama

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/tokenizer"
)

// request is a window in the scheduler's hands. Only the scheduler's goroutine touches it between submission and done.
type request struct {
	ctx     context.Context //nolint:containedctx // the caller's, asked for its end between steps
	engine  engine.Request
	came    time.Time
	prefix  *memory       // nil until prefilled
	took    time.Duration // of the prefix's prefill
	began   time.Time     // of the prefix's prefill
	answers []*answer
	next    int // first answer that is not yet begun
	running int
	// granted is whether the request holds its share of the budget: prefix and largest answer. laneBusy is whether that
	// answer's share is in use; answers beyond it take their own.
	granted, laneBusy bool
	err               error
	done              chan struct{}
}

// prefixRoom is the number of positions before the questions.
func (r *request) prefixRoom(p *prompt) int { return len(p.prefix) + r.engine.Soft.Rows }

// share is what a request must be able to hold to make progress whatever the others do.
func (r *request) share(p *prompt) int {
	largest := 0
	for _, a := range r.answers {
		largest = max(largest, a.room())
	}
	return r.prefixRoom(p) + largest
}

// answer is one question of a request.
type answer struct {
	request *request
	result  *engine.Result
	prompt  []int // ids after the frames
	limit   int   // output tokens
	thread  *thread
	sampler *sampler
	text    *tokenizer.Stream
	token   int // the one to decode next
	extra   int // positions taken beyond the request's own share
	lane    bool
	decodes time.Time // when its prompt was done
}

// room is the number of positions the answer needs: the last token is never read back.
func (a *answer) room() int { return len(a.prompt) + a.limit }

// emit adds text to the result and tells the watcher.
func (a *answer) emit(text string) {
	if text == "" {
		return
	}
	a.result.Text += text
	if watch := a.request.engine.OnToken; watch != nil {
		watch(a.result.Index, text)
	}
}
