// Package contract says what answers questions: the interface between the stage and its decoders.
package contract

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/engine/tensor"
)

// ErrPromptTooLong says that frames and question leave no room for an answer in the model's context.
var ErrPromptTooLong = errors.New("prompt too long")

// ErrClosed says that the engine was closed while the request waited or ran.
var ErrClosed = errors.New("engine closed")

// Errors of conversations that the bundle's prompt has no form for.
var (
	ErrNoTurns  = errors.New("the model was not made for follow-up questions: its bundle has no prompt.turn")
	ErrNoSystem = errors.New("the model was not made for system texts: its bundle has no prompt.system")
)

// Question is one question on a window; Index is its place in the job.
type Question struct {
	Index int
	Text  string
	// History are the turns before the question, about the same window: the user's and the model's by turns.
	History []Turn
}

// Turn is what was said in a conversation.
type Turn struct {
	// Role is RoleUser or RoleAssistant.
	Role string
	Text string
}

// Values of Turn.Role.
const (
	RoleUser      = "user"
	RoleAssistant = "assistant"
)

// CheckHistory refuses turns that do not begin with the user's, alternate and end with the model's.
func CheckHistory(history []Turn) error {
	for i, t := range history {
		if want := []string{RoleUser, RoleAssistant}[i%2]; t.Role != want {
			return fmt.Errorf("turn %d is the %s's, where the %s's is expected", i+1, t.Role, want)
		}
	}
	if len(history)%2 == 1 {
		return errors.New("the last turn is the user's, where the assistant's is expected: the question comes behind it")
	}
	return nil
}

// Decode says how tokens are chosen. The zero value is greedy decoding up to the model's own limit.
type Decode struct {
	MaxTokens   int     // 0, or more than the model's limit: the model's limit
	Temperature float32 // 0: greedy
	TopP        float32 // 0: 1, all tokens
	TopK        int     // 0: all tokens
	// RepetitionPenalty makes the tokens of prompt and answer less likely (arXiv:1909.05858), with greedy decoding too. 0: 1, none.
	RepetitionPenalty float32
	Seed              uint64
}

// Request is a window's soft prompt with all of its questions.
type Request struct {
	// Soft is the soft prompt: frames x the decoder's width.
	Soft      tensor.Matrix
	Questions []Question
	// System replaces the bundle's own system text; empty: it stands.
	System string
	Decode Decode
	// Job is the job that asks; engines share their time between jobs, not between requests.
	Job string
	// Schema names the form of the answers: empty is free text, SchemaTags a JSON object of tags.
	Schema string
	// OnToken, if not nil, is called with each new piece of an answer, in order, from one goroutine at a time. It must
	// return at once.
	OnToken func(index int, text string)
}

// SchemaTags is the Request.Schema of structured tags.
const SchemaTags = "tags"

// Result is the answer to one question.
type Result struct {
	Index        int
	Text         string
	PromptTokens int // positions before the answer, frames included
	AudioTokens  int // of PromptTokens, the frames
	OutputTokens int // the stop token not included
	Finish       string
	// Confidence is how probable the decoder itself finds the tempo, key or metre that the answer names, calibrated, 0 to 1: the lowest of them.
	// 0: the answer names none, or the engine does not tell.
	Confidence float64
	// Began is when the engine took the question up (for the first of a window: its prefix), Ended when it was done.
	Began, Ended time.Time
	// Prefill is the work on the window's prefix, counted for each of its questions, and on the question. Decode is the
	// time from then to the end. FirstToken is the wait from the call of Answer to the first token.
	Prefill, Decode, FirstToken time.Duration
	// Err says why this question has no answer; the others of the request are not touched by it.
	Err error
}

// Values of Result.Finish.
const (
	FinishStop   = "stop"
	FinishLength = "length"
)

// Engine answers questions about windows. It is safe for concurrent use.
type Engine interface {
	// Answer answers every question of the request, in the order given. Cancelling ctx ends it within one step; the error
	// is then the context's cause. Other errors concern the whole request; an error of one question is in its Result.
	Answer(ctx context.Context, req Request) ([]Result, error)
	// Close ends the requests in hand with ErrClosed and frees what the engine holds. It may be called twice.
	Close() error
}

// Constrainer is an Engine that can hold its answers to a form while it decodes them. An Engine that does not implement it
// can hold them to none: whoever needs the form wraps it.
type Constrainer interface {
	// Constrains tells whether a Request with this Schema gets only answers of that form. An answer that was cut off by its
	// limit of tokens (FinishLength) is only the beginning of one.
	Constrains(schema string) bool
}

// ErrSchema says that the engine cannot hold its answers to the schema asked for.
var ErrSchema = errors.New("the engine cannot constrain its answers to this schema")

// ErrNoLikelihood says that the engine gives text and no probabilities.
var ErrNoLikelihood = errors.New("the engine does not tell how likely a given answer is")

// Scorer is an Engine that tells how likely given texts are as answers.
type Scorer interface {
	// Likelihoods gives the likelihood of every answer of every question, in the order given. Cancelling ctx ends it as it ends Answer, and errors are as
	// Answer's: the error of one text is in its Likelihood.
	Likelihoods(ctx context.Context, req GivenRequest) ([][]Likelihood, error)
}

// GivenRequest is a window's soft prompt with answers that are given.
type GivenRequest struct {
	// Soft is the soft prompt: frames x the decoder's width.
	Soft  tensor.Matrix
	Given []Given
	// Job is the job that asks, as in Request.
	Job string
}

// Given is a question with texts, each of which is taken as its answer.
type Given struct {
	Question string
	Answers  []string
}

// Likelihood is how likely a text is as the answer to a question.
type Likelihood struct {
	// LogProb is the natural logarithm of the probability that the decoder, with nothing to hold it to a form, says exactly the text and then ends its answer:
	// the sum over Tokens of the logarithm of each token's softmax. The end is the model's stop tokens together; a prompt that has only stop texts has no end.
	LogProb float64
	// Tokens is the number of tokens, the end included.
	Tokens int
	// Err says why this text has none.
	Err error
}

// PerToken is the likelihood normalised by length: the mean over the tokens.
func (l Likelihood) PerToken() float64 { return l.LogProb / float64(max(1, l.Tokens)) }

// CheckSoft refuses a soft prompt that a decoder of the given width cannot read.
func CheckSoft(s tensor.Matrix, width int) error {
	switch {
	case s.Cols != width || s.Rows < 1 || len(s.Data) != s.Rows*s.Cols:
		return fmt.Errorf("checking the soft prompt: %d x %d with %d values, where the decoder's width is %d", s.Rows, s.Cols, len(s.Data), width)
	case !tensor.Finite(s.Data):
		return errors.New("checking the soft prompt: it holds NaN or infinity")
	}
	return nil
}
