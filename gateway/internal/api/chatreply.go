package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

const (
	completionPrefix = "chatcmpl-"
	finishStop       = "stop"
)

// tally makes a completion of a job's outcomes, told one by one.
type tally struct {
	// answer is the outcome of the last window, which is that of the whole track where the windows' answers were combined; nil before the first outcome.
	answer *client.Outcome
	usage  openai.Usage
}

func (t *tally) add(o client.Outcome) {
	t.usage.PromptTokens += int64(o.Tokens.Prompt)
	t.usage.PromptTokensDetails.AudioTokens += int64(o.Tokens.Audio)
	t.usage.CompletionTokens += int64(o.Tokens.Output)
	t.usage.TotalTokens = t.usage.PromptTokens + t.usage.CompletionTokens
	if t.answer == nil || o.Window.Index >= t.answer.Window.Index {
		t.answer = &o
	}
	t.usage.CompletionDetails.ReasoningTokens = t.usage.CompletionTokens - int64(t.answer.Tokens.Output)
}

// fault says why there is no answer, nil if there is one.
func (t *tally) fault() *client.Problem {
	switch {
	case t.answer == nil:
		return problem(http.StatusInternalServerError, codeInternal, "the job has ended without an outcome")
	case t.answer.State == client.OutcomeAnswered:
		return nil
	}
	code, message := event.CodeInternal, "the question has not been answered"
	if e := t.answer.Error; e != nil {
		code, message = e.Code, e.Message
	}
	switch {
	case code == event.CodeExpired, code == event.CodeTimeout:
		return problem(http.StatusGatewayTimeout, code, "%s", message)
	case slices.Contains(ours, code):
		return problem(http.StatusInternalServerError, code, "%s", message)
	}
	return openai.Refuse(http.StatusBadRequest, "messages", code, "%s", message)
}

// ours are the codes of failures that are no fault of the request.
var ours = []string{
	event.CodeEngineError, event.CodeInternal, event.CodeUndecodable, event.CodeInvalidRecord, event.CodeNewerVersion, event.CodeCrashedStage, event.CodeBlobUnreachable,
	event.CodeModelMismatch, event.CodeSchema, event.CodeAudioMissing,
}

func (t *tally) reason() string {
	if t.answer.Finish == "" { // it was combined by rule, or kept from before this was noted
		return finishStop
	}
	return t.answer.Finish
}

// completion of a job that has an answer.
func (t *tally) completion(job store.Job) openai.Completion {
	return openai.Completion{
		ID: completionPrefix + job.ID, Object: "chat.completion", Created: job.Created.Unix(), Model: t.answer.Model, SystemFingerprint: t.answer.ModelDigest,
		Choices: []openai.Choice{{Message: openai.Reply{Role: event.RoleAssistant, Content: t.answer.Answer}, FinishReason: t.reason()}}, Usage: t.usage,
	}
}

// reply answers a chat completion, whole or in chunks, while a teller tells of the job.
type reply struct {
	w      http.ResponseWriter
	out    *sse
	job    store.Job
	stream bool
	told   bool // of the usage, in a chunk of its own
	model  string

	tally
	ended   bool
	begun   bool // the stream has begun
	windows int  // that the track was cut into; 0 while that is not known
	// text is the answer so far, seq its next token, and gap that a token of it was missed. sent is the text that the caller has.
	text, sent []byte
	seq        int
	gap        bool
}

var _ watcher = (*reply)(nil)

func newReply(w http.ResponseWriter, req *openai.Request, job store.Job) *reply {
	return &reply{
		w: w, out: newSSE(w, 0), job: job, stream: req.Stream, told: req.StreamOptions != nil && req.StreamOptions.IncludeUsage, model: req.Model,
	}
}

// open does nothing: while nothing has been sent, an error can still be told by its status.
func (c *reply) open() error { return nil }

func (c *reply) place(string) error { return nil }

// comment keeps an idle stream open.
func (c *reply) comment(text string) error {
	if !c.stream {
		return nil
	}
	if err := c.begin(); err != nil {
		return err
	}
	return c.out.comment(text)
}

func (c *reply) event(_, _ string, data any) error {
	switch ev := data.(type) {
	case client.ProgressEvent:
		if c.windows == 0 && ev.Windows > 1 {
			c.text, c.seq = nil, 0 // what has come is of the first window
		}
		c.windows = max(c.windows, ev.Windows)
		return c.flush()
	case client.TokenEvent:
		return c.token(ev)
	case client.Outcome:
		c.add(ev)
	case client.EndEvent:
		c.ended = true
	}
	return nil
}

// token takes new text of the answer. The one window of a short track has the answer, and otherwise the whole track, whose index is behind the last
// window. The tags' text is not the form that the answer has in the end.
func (c *reply) token(ev client.TokenEvent) error {
	at := 0
	if c.windows > 1 {
		at = c.windows
	}
	if !c.stream || ev.Window != at || c.job.ResponseSchema != "" {
		return nil
	}
	if ev.Seq == 0 { // the stage has begun again
		c.text, c.seq, c.gap = c.text[:0], 0, false
	}
	if c.gap = c.gap || ev.Seq != c.seq; c.gap {
		return nil
	}
	c.text, c.seq = append(c.text, ev.Text...), ev.Seq+1
	return c.flush()
}

// flush sends what is new of the answer's text.
func (c *reply) flush() error {
	if c.windows == 0 { // perhaps it is the text of a window
		return nil
	}
	if len(c.text) <= len(c.sent) || !bytes.HasPrefix(c.text, c.sent) {
		return nil
	}
	return c.send(string(c.text))
}

// send tells the rest of the answer up to text, which begins with what was sent.
func (c *reply) send(text string) error {
	rest := text[len(c.sent):]
	if rest == "" {
		return nil
	}
	c.sent = append(c.sent, rest...)
	if err := c.begin(); err != nil {
		return err
	}
	return c.chunk(openai.Delta{Content: rest}, nil)
}

// begin begins the stream.
func (c *reply) begin() error {
	if c.begun {
		return nil
	}
	c.begun = true
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	return c.chunk(openai.Delta{Role: event.RoleAssistant}, nil)
}

func (c *reply) chunk(delta openai.Delta, reason *string) error {
	return c.data(c.chunkOf(openai.ChunkChoice{Delta: delta, FinishReason: reason}))
}

func (c *reply) chunkOf(choices ...openai.ChunkChoice) openai.Chunk {
	return openai.Chunk{
		ID: completionPrefix + c.job.ID, Object: "chat.completion.chunk", Created: c.job.Created.Unix(), Model: c.model, Choices: append([]openai.ChunkChoice{}, choices...),
	}
}

func (c *reply) data(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a chunk: %w", err)
	}
	return c.out.write(fmt.Appendf(nil, "data: %s\n\n", body))
}

// finish answers, or sends the rest of the answer. Its error is told to the caller.
func (c *reply) finish() error {
	if p := c.fault(); p != nil {
		return p
	}
	if !c.stream {
		c.w.Header().Set("Content-Type", "application/json")
		c.w.WriteHeader(http.StatusOK)
		_ = json.NewEncoder(c.w).Encode(c.completion(c.job)) // the caller is gone when this fails
		return nil
	}
	text := c.answer.Answer
	if !bytes.HasPrefix([]byte(text), c.sent) {
		p := problem(http.StatusInternalServerError, codeAnswerChanged, "a stage began the answer again and it came out otherwise; ask again")
		p.Retryable = true
		return p
	}
	c.model = c.answer.Model
	_ = c.last(text) // the caller is gone when this fails
	return nil
}

func (c *reply) last(text string) error {
	if err := c.begin(); err != nil {
		return err
	}
	if err := c.send(text); err != nil {
		return err
	}
	reason := c.reason()
	if err := c.chunk(openai.Delta{}, &reason); err != nil {
		return err
	}
	if c.told {
		last := c.chunkOf()
		last.Usage = &c.usage
		if err := c.data(last); err != nil {
			return err
		}
	}
	return c.out.write([]byte("data: [DONE]\n\n"))
}

// refuse tells why there is no answer: by the status, or in the stream if that has begun.
func (c *reply) refuse(p *client.Problem, header http.Header) {
	if c.begun {
		_ = c.data(openai.ErrorBody{Error: openai.Told(p)}) // the caller is gone when this fails
		return
	}
	maps.Copy(c.w.Header(), header)
	writeProblem(c.w, p)
}

func (c *reply) close() { c.out.close() }
