package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	codeAskedElsewhere = "audio_reference_invalid"
	codeAnswerChanged  = "answer_changed"
)

// chatInput leaves the body alone: its audio is read as a stream.
type chatInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"Any text of up to 200 printable characters. The same key with the same request waits for the answer of the same job; a client that goes away does not cancel it"`

	raw *rawRequest
}

// Resolve implements huma.Resolver.
func (in *chatInput) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	in.raw = &rawRequest{r: r, w: w}
	return nil
}

var _ huma.Resolver = (*chatInput)(nil)

// spoken is an operation of OpenAI's API: its errors have the form that OpenAI's clients read.
func (a *API) spoken(id, method, path, summary, description, tag string) huma.Operation {
	op := a.operation(id, method, path, summary, description)
	op.Tags = []string{tag}
	schema := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[openai.ErrorBody](), true, "ErrorBody")
	op.Responses["default"] = &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	return op
}

func (a *API) registerChat() {
	op := a.spoken("create-chat-completion", http.MethodPost, "/v1/chat/completions", "Create a chat completion",
		"Asks about audio in the form of OpenAI's API. The conversation is about one track, in `input_audio` (base64) or at an `audio_url`; a follow-up question sends the conversation again, and the "+
			"track is not encoded again. The completion is an interactive job: a client that goes away cancels it, unless it has sent an Idempotency-Key. `usage` counts all the work, that on single windows too.", "chat")
	op.Middlewares = huma.Middlewares{a.allowed, a.limited} // it sets its own time limits
	schemas := a.huma.OpenAPI().Components.Schemas
	op.Responses["200"] = &huma.Response{Description: "The answer; with stream, chunks of it as server-sent events without names, the last of which is [DONE]", Content: map[string]*huma.MediaType{
		"application/json":  {Schema: schemas.Schema(typeOf[openai.Completion](), true, "")},
		"text/event-stream": {Schema: schemas.Schema(typeOf[openai.Chunk](), true, "")},
	}}
	huma.Register(a.huma, op, a.chat)
	a.huma.OpenAPI().Paths[op.Path].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: schemas.Schema(typeOf[openai.Request](), true, "ChatRequest")},
	}}
}

// chat takes a completion in as a job, then waits for the job's end.
func (a *API) chat(ctx context.Context, in *chatInput) (*huma.StreamResponse, error) {
	from := service.Client(in.raw.r.RemoteAddr)
	if whose, limit := a.streams.take(from); limit > 0 {
		return nil, again(http.StatusTooManyRequests, codeTooManyStreams, 5, "%d streams and completions %s are open, which is the limit", limit, whose)
	}
	req, job, err := a.submitChat(ctx, in, from)
	if err != nil {
		a.streams.give(from)
		return nil, a.fail(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer a.streams.give(from)
		if a.deps.Watching != nil {
			defer a.deps.Watching(ctx, job.ID)()
		}
		_, w := humago.Unwrap(hctx)
		a.complete(ctx, newReply(w, req, job), in.IdempotencyKey != "")
	}}, nil
}

// submitChat makes the job of a completion.
func (a *API) submitChat(ctx context.Context, in *chatInput, from string) (req *openai.Request, job store.Job, err error) {
	raw := in.raw
	if whose, limit := a.uploads.take(from); limit > 0 {
		return nil, store.Job{}, again(http.StatusTooManyRequests, codeTooManyUploads, 1, "%d requests %s are being taken in, which is the limit", limit, whose)
	}
	defer a.uploads.give(from)
	if err := errors.Join(a.room(max(0, raw.r.ContentLength)), a.withinLimits(ctx, raw.r.ContentLength)); err != nil { // before the body, which a refusal need not take
		return nil, store.Job{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.limits.UploadTimeout)
	defer cancel()
	kind, _, err := mime.ParseMediaType(raw.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, store.Job{}, problem(http.StatusUnsupportedMediaType, codeUnsupportedMedia, "Content-Type must be application/json")
	}
	body := http.MaxBytesReader(raw.w, a.paced(ctx, raw), a.limits.MaxAudioBytes/3*4+2*openai.MaxRequest)
	job, _, err = a.once(ctx, in.IdempotencyKey, entry(ctx, "create-chat-completion", "", raw.r.RemoteAddr), func() (sub *request, err error) {
		if req, sub, err = a.readChat(body); err == nil {
			sub.DeadlineS = min(a.limits.StreamTimeout.Seconds(), maxDeadlineS) // if the gateway dies, nobody waits for the job any more
		}
		return sub, err
	})
	return req, job, err
}

// readChat reads a completion's request from its body, or from a line of a batch, where it lies below root, and checks it. The caller discards the request.
func (a *API) readChat(body io.Reader, root ...string) (*openai.Request, *request, error) {
	var upload *spooled
	raw, err := openai.Split(body, func(param string, audio io.Reader) (string, error) { return a.spoolChat(&upload, param, audio) }, root...)
	sub := &request{upload: upload}
	if err != nil {
		sub.discard()
		return nil, nil, bodyError(err)
	}
	if len(root) > 0 {
		raw, err = bodyOf(raw)
	}
	var req *openai.Request
	if err == nil {
		req, err = a.askChat(raw, sub)
	}
	if err != nil {
		sub.discard()
		return nil, nil, err
	}
	return req, sub, nil
}

// spoolChat spools audio of a conversation, which is that of one track, and returns its digest.
func (a *API) spoolChat(first **spooled, param string, audio io.Reader) (string, error) {
	f, err := a.spool(&atMost{r: audio, left: a.limits.MaxAudioBytes, err: openai.Refuse(http.StatusRequestEntityTooLarge, param, codeAudioTooLarge,
		"the audio is over the limit of %d bytes", a.limits.MaxAudioBytes)})
	if err != nil {
		return "", err
	}
	if *first == nil {
		*first = f
		return f.sha256, nil
	}
	defer func() { _ = f.Close() }()
	if f.sha256 != (*first).sha256 {
		return "", openai.Refuse(http.StatusBadRequest, param, codeInvalidRequest, "%s is another track: a conversation is about one track, whose audio may come again", param)
	}
	return f.sha256, nil
}

func (a *API) askChat(raw []byte, sub *request) (*openai.Request, error) {
	req, err := openai.Parse(raw)
	if err != nil {
		return nil, err
	}
	if err := a.serves(req.Model); err != nil {
		return nil, err
	}
	asked, err := req.Ask()
	if err != nil {
		return nil, err
	}
	if asked.Audio != "" && (sub.upload == nil || asked.Audio != sub.upload.sha256) || asked.Audio == "" && sub.upload != nil {
		return nil, openai.Refuse(http.StatusBadRequest, "messages", codeAskedElsewhere, "a key of an audio part is not written as in the documentation: it is input_audio.data in messages[].content[]")
	}
	sub.Submission = asked.Submission
	if err := a.validate(sub); err != nil {
		return nil, located(err)
	}
	return req, nil
}

// serves refuses models that are not served. A gateway that does not know what the stages serve takes every name.
func (a *API) serves(model string) error {
	if model == "" {
		return openai.Refuse(http.StatusBadRequest, "model", "missing_required_parameter", "model is missing: name the model of /v1/models")
	}
	if _, ok := a.model(model); !ok && len(a.deps.Models) > 0 {
		return openai.Refuse(http.StatusNotFound, "model", openai.CodeModelNotFound, "model %.80q is not served here; %q is", model, a.deps.Models[0].ID)
	}
	return nil
}

func (a *API) model(name string) (client.Model, bool) {
	for _, m := range a.deps.Models {
		if openai.Named(name, m.ID) {
			return m, true
		}
	}
	return client.Model{}, false
}

// located names the parameter that a fault of a submission comes from.
func located(err error) error {
	var p *client.Problem
	if !errors.As(err, &p) {
		return err
	}
	param := "messages"
	for prefix, name := range map[string]string{"metadata": "metadata", "plan": "plan", "too_many_spans": "spans", "decode": ""} {
		if strings.HasPrefix(p.Code, prefix) {
			param = name
		}
	}
	return openai.Refuse(p.Status, param, p.Code, "%s", p.Detail)
}

// complete waits for the job's end and answers. Where nobody waits any more, the job is cancelled, unless its caller may come again for it.
func (a *API) complete(ctx context.Context, c *reply, kept bool) {
	if len(a.deps.Models) > 0 {
		c.model = a.deps.Models[0].ID
	}
	t := a.teller(c, c.job)
	err := a.whileOpen(ctx, func(ctx context.Context) error {
		for {
			if err := t.run(ctx, stream.FromStart); !errors.Is(err, stream.ErrLagging) {
				return err // one that lags is told from the beginning again: the reply leaves out what it has sent
			}
		}
	})
	if !c.ended && !kept {
		a.abandon(ctx, c.job)
	}
	switch {
	case ctx.Err() != nil:
		return // nobody reads an answer
	case errors.Is(err, errStopping):
		err = again(http.StatusServiceUnavailable, codeTimeout, 1, "the gateway is stopping; ask again")
	case errors.Is(err, errStreamTimeout):
		err = again(http.StatusGatewayTimeout, codeTimeout, 1, "the answer took longer than %s", a.limits.StreamTimeout)
	case err == nil:
		err = c.finish()
	}
	if err != nil {
		p, header := a.told(ctx, err)
		c.refuse(p, header)
	}
	c.close()
}

// told is an error as its caller is told of it outside of huma.
func (a *API) told(ctx context.Context, err error) (*client.Problem, http.Header) {
	err = a.fail(ctx, err)
	p := problem(http.StatusInternalServerError, codeInternal, "%s", internalDetail(ctx))
	var own *client.Problem
	if errors.As(err, &own) {
		*p = *own
	}
	p.TraceID = telemetry.TraceID(ctx)
	var with huma.HeadersError
	if errors.As(err, &with) {
		return p, with.GetHeaders()
	}
	return p, nil
}

// abandon cancels a job whose answer nobody waits for.
func (a *API) abandon(ctx context.Context, job store.Job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.limits.RequestTimeout)
	defer cancel()
	if _, err := outbox.Cancel(ctx, a.deps.Store, job, a.now()); err != nil {
		a.deps.Log.WarnContext(ctx, "a job that nobody waits for is not cancelled, and goes on until its deadline", slog.String("job_id", job.ID), slog.Any("error", err))
		return
	}
	a.deps.Wake()
}
