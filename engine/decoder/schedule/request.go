package schedule

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/notes"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
)

// request is a window in the scheduler's hands. Only the scheduler's goroutine touches it between submission and done.
type request struct {
	ctx     context.Context //nolint:containedctx // the caller's, asked for its end between steps
	engine  contract.Request
	came    time.Time
	lead    []int         // ids before the frames
	share   int           // positions promised to it: the prefix and its largest answer
	prefix  int           // sequence of the prefix; None until it is begun
	took    time.Duration // work on the prefix
	began   time.Time     // when the work on the prefix began
	answers []*answer
	next    int // first answer that is not yet begun
	running int
	// laneBusy is whether the largest answer's part of the share is in use; answers beyond it take positions of their own.
	laneBusy bool
	notes    *notes.Notes // nil: none are taken
	err      error
	done     chan struct{}
}

// before is the number of positions up to and with the last frame.
func (r *request) before() int { return len(r.lead) + r.engine.Soft.Rows }

// largest is the room of its largest answer.
func (r *request) largest() int {
	n := 0
	for _, a := range r.answers {
		n = max(n, a.room())
	}
	return n
}

// answer is one question of a request.
type answer struct {
	request    *request
	result     *contract.Result
	question   string
	prompt     []int // ids after the frames and the notes
	limit      int   // output tokens
	seq        int   // None until it is begun
	sampler    *sampler
	constraint Constraint // nil: free text
	given      *given     // nil: its tokens are chosen
	text       *prompt.Text
	token      int // the one to decode next
	extra      int // positions promised beyond the request's own share
	lane       bool
	decodes    time.Time // when its prompt was done
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

// reading is a prompt, or a window's prefix, that is being read piece by piece. The pieces do not depend on what else
// runs, so that neither do the scores.
type reading struct {
	request *request
	answer  *answer // nil: the prefix, with the notes behind it
	pieces  []Rows
	taken   int           // pieces in the step under way
	took    time.Duration // by the steps that its pieces were part of
}

func (r *reading) rows(width int) int {
	n := 0
	for _, p := range r.pieces {
		n += p.rows(width)
	}
	return n
}

func (r Rows) rows(width int) int { return len(r.Tokens) + len(r.Vectors)/width }

// cut makes pieces of at most chunk rows out of tokens followed by vectors. The last one asks for scores if scores is set.
func cut(seq int, tokens []int, vectors []float32, width, chunk int, scores bool) []Rows {
	var pieces []Rows
	for len(tokens) > 0 {
		n := min(chunk, len(tokens))
		pieces = append(pieces, Rows{Seq: seq, Tokens: tokens[:n]})
		tokens = tokens[n:]
	}
	for len(vectors) > 0 {
		n := min(chunk*width, len(vectors))
		pieces = append(pieces, Rows{Seq: seq, Vectors: vectors[:n]})
		vectors = vectors[n:]
	}
	pieces[len(pieces)-1].Scores = scores
	return pieces
}

// Read extends an open sequence by tokens, vectors and tokens in pieces of the backend's size, and gives the scores behind the last.
func Read(b Backend, seq int, before []int, vectors []float32, after []int) (scores []float32, err error) {
	s := b.Shape()
	pieces := cut(seq, before, vectors, s.Hidden, s.Chunk, false)
	for _, piece := range append(pieces, cut(seq, after, nil, s.Hidden, s.Chunk, true)...) {
		all, err := b.Extend([]Rows{piece})
		if err != nil {
			return nil, err
		}
		scores = all[0]
	}
	return scores, nil
}
