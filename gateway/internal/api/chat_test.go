package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/gateway/internal/web"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// wave is the base64 of audio.
var wave = base64.StdEncoding.EncodeToString([]byte("RIFF1"))

// setupChat is a rig whose errors are told as the gateway tells them.
func setupChat(t *testing.T, change ...func(*api.Limits, *stream.Config)) *rig {
	t.Helper()
	r := setup(t, change...)
	srv := httptest.NewServer(openai.Errors(r.callers.Guard(r.log(), web.WriteProblem)(r.api.Handler())))
	t.Cleanup(srv.Close)
	t.Cleanup(r.api.Close)
	r.url, r.http, r.srv = srv.URL, srv.Client(), srv
	return r
}

// ask is the body of a completion about wave; more are further parameters.
func ask(question string, more ...string) string {
	return `{"model":"nano","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"` + wave + `","format":"wav"}},{"type":"text","text":"` +
		question + `"}]}]` + strings.Join(append([]string{""}, more...), ",") + `}`
}

func (r *rig) chat(body string, header ...string) answer {
	r.t.Helper()
	return r.do(http.MethodPost, "/v1/chat/completions", strings.NewReader(body), append([]string{"Content-Type", "application/json"}, header...)...)
}

// reply is an answer whose body has begun; whoever takes it closes the body.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.ReadCloser
}

// chatting sends a completion and returns its answer when that comes, and its job.
func (r *rig) chatting(ctx context.Context, body string, header ...string) (came <-chan *reply, job string) {
	r.t.Helper()
	answers := make(chan *reply, 1)
	go func() {
		defer close(answers)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		if resp, err := r.http.Do(req); err == nil { //nolint:bodyclose // whoever takes the reply closes it
			answers <- &reply{resp.StatusCode, resp.Header, resp.Body}
		}
	}()
	return answers, strings.TrimPrefix(<-r.watching, "+")
}

func (a answer) fault(t *testing.T) openai.Error {
	t.Helper()
	require.Equal(t, "application/json", a.header.Get("Content-Type"), "%s", a.body)
	var body openai.ErrorBody
	require.NoError(t, json.Unmarshal(a.body, &body))
	require.NotEmpty(t, body.Error.Message)
	require.NotNil(t, body.Error.Code)
	return body.Error
}

func textOf(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// spent gives an outcome tokens.
func spent(e store.Entry, prompt, audio, output uint32) store.Entry {
	e.Outcome.Tokens, e.Outcome.Finish = &eventpb.Tokens{Prompt: prompt, Audio: audio, Output: output}, "stop"
	return e
}

func TestACompletionIsAJobAboutTheWholeTrack(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	came, job := r.chatting(t.Context(), ask("What key?", `"temperature":0`, `"max_completion_tokens":7`, `"metadata":{"a":"b"}`, `"user":"u"`, `"n":1`, `"tools":[]`))
	rec := r.lastJob()
	require.Equal(t, eventpb.PlanMode_PLAN_MODE_ALL, rec.GetPlan())
	require.True(t, rec.GetCombine())
	require.Equal(t, "What key?", rec.GetQuestions()[0].GetText())
	require.EqualValues(t, 7, rec.GetDecode().GetMaxTokens())
	require.NotNil(t, rec.GetDecode().Temperature)
	require.NotZero(t, rec.GetDeadlineUnixMs(), "a gateway that dies leaves no work that nobody waits for")
	kept, err := r.blobs.GetBytes(t.Context(), event.AudioKey(rec.GetAudio().GetSha256()), 100)
	require.NoError(t, err)
	require.Equal(t, "RIFF1", string(kept))

	r.record(true, planOf(job, 1, 1), spent(answerOf(job, 0, 0), 30, 20, 4))
	resp := <-came
	require.NotNil(t, resp)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var got openai.Completion
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	require.Equal(t, "chatcmpl-"+job, got.ID)
	require.Equal(t, "chat.completion", got.Object)
	require.Equal(t, []openai.Choice{{Message: openai.Reply{Role: "assistant", Content: "answer 0/0"}, FinishReason: "stop"}}, got.Choices)
	require.Equal(t, openai.Usage{PromptTokens: 30, CompletionTokens: 4, TotalTokens: 34, PromptTokensDetails: openai.PromptDetails{AudioTokens: 20}}, got.Usage)
	j, err := r.jobs.Get(t.Context(), job)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "b"}, j.Metadata)
	require.Equal(t, "-"+job, <-r.watching)
}

func TestAConversationIsTheJobsHistory(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	audio := `{"type":"input_audio","input_audio":{"format":"mp3","data":"` + strings.ReplaceAll(wave, "/", `\/`) + `"}}`
	came, job := r.chatting(t.Context(), `{"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[`+audio+`]},{"role":"user","content":"Hello?"},
		{"role":"assistant","content":[{"type":"text","text":"Yes."}]},{"role":"user","content":[{"type":"text","text":"Tempo?"},`+audio+`]}],"model":"nano"}`)
	rec := r.lastJob()
	var turns []string
	for _, turn := range rec.GetHistory() {
		turns = append(turns, turn.GetRole()+": "+turn.GetText())
	}
	require.Equal(t, []string{"system: Be brief.", "user: Hello?", "assistant: Yes."}, turns)
	require.Equal(t, "Tempo?", rec.GetQuestions()[0].GetText())
	refused := answerOf(job, 0, 0)
	refused.Outcome.State, refused.Outcome.Answer, refused.Outcome.Error = eventpb.State_STATE_FAILED, "", &eventpb.Error{Code: event.CodeHistoryUnsupported, Message: "not made for it"}
	r.record(true, planOf(job, 1, 1), refused)
	resp := <-came
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	fault := answer{resp.StatusCode, resp.Header, raw}.fault(t)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "history_unsupported", textOf(fault.Code))
	require.Equal(t, "messages", textOf(fault.Param))
}

// chunks reads a stream to its end.
func chunks(t *testing.T, resp *reply) (list []openai.Chunk, rest []string) {
	t.Helper()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			require.True(t, lines.Text() == "" || strings.HasPrefix(lines.Text(), ":"), "%q is no data and no comment", lines.Text())
			continue
		}
		var c openai.Chunk
		if json.Unmarshal([]byte(data), &c) == nil && c.Object != "" {
			list = append(list, c)
		} else {
			rest = append(rest, data)
		}
	}
	require.NoError(t, lines.Err())
	return list, rest
}

func TestAStreamTellsTheAnswersTokens(t *testing.T) {
	t.Parallel()
	token := func(job, text string, window, seq uint32) *eventpb.Event {
		return &eventpb.Event{JobId: job, Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{Text: text, WindowIndex: window, Seq: seq}}}
	}
	for name, c := range map[string]struct {
		windows int // cut
		tokens  func(job string) []*eventpb.Event
		want    []string
		failed  bool
	}{
		"one window": {1, func(j string) []*eventpb.Event {
			return []*eventpb.Event{token(j, "answer", 0, 0), token(j, " 0/0", 0, 1)}
		}, []string{"answer", " 0/0"}, false},
		"a token is lost": {1, func(j string) []*eventpb.Event {
			return []*eventpb.Event{token(j, "answer", 0, 0), token(j, "0", 0, 2)}
		}, []string{"answer", " 0/0"}, false},
		"a stage begins again": {1, func(j string) []*eventpb.Event {
			return []*eventpb.Event{token(j, "answer", 0, 0), token(j, "ans", 0, 0), token(j, "wer 0", 0, 1)}
		}, []string{"answer", " 0", "/0"}, false},
		"the answer changes": {1, func(j string) []*eventpb.Event { return []*eventpb.Event{token(j, "other", 0, 0)} }, []string{"other"}, true},
		"the whole track": {2, func(j string) []*eventpb.Event {
			return []*eventpb.Event{token(j, "of one window", 0, 0), token(j, "ans", 2, 0)}
		}, []string{"ans", "wer 0/2"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setupChat(t)
			came, job := r.chatting(t.Context(), ask("Describe it.", `"stream":true`, `"stream_options":{"include_usage":true}`))
			r.say(&eventpb.Event{JobId: job, Body: &eventpb.Event_Progress{Progress: &eventpb.Progress{Stage: "chunker", Status: "done", Windows: uint32(c.windows)}}})
			for _, ev := range c.tokens(job) {
				r.say(ev)
			}
			planned := c.windows
			entries := []store.Entry{planOf(job, planned, 1)}
			for w := range c.windows {
				entries = append(entries, spent(answerOf(job, 0, w), 10, 8, 3))
			}
			if c.windows > 1 {
				entries = append(entries, spent(answerOf(job, 0, c.windows), 10, 8, 3))
			}
			resp := <-came
			defer resp.Body.Close()
			r.record(true, entries...)
			list, rest := chunks(t, resp)
			var texts, reasons []string
			for _, ch := range list {
				require.Equal(t, "chatcmpl-"+job, ch.ID)
				for _, choice := range ch.Choices {
					if choice.Delta.Content != "" {
						texts = append(texts, choice.Delta.Content)
					}
					if choice.FinishReason != nil {
						reasons = append(reasons, *choice.FinishReason)
					}
				}
			}
			require.Equal(t, "assistant", list[0].Choices[0].Delta.Role)
			require.Equal(t, c.want, texts)
			if c.failed {
				require.Len(t, rest, 1)
				require.Contains(t, rest[0], `"code":"answer_changed"`)
				return
			}
			require.Equal(t, []string{"[DONE]"}, rest)
			require.Equal(t, []string{"stop"}, reasons)
			last := list[len(list)-1]
			require.Empty(t, last.Choices)
			require.NotNil(t, last.Usage)
			require.EqualValues(t, 8*len(entries[1:]), last.Usage.PromptTokensDetails.AudioTokens)
		})
	}
}

// TestAClientThatGoesAwayCancelsItsJob: whole or in chunks.
func TestAClientThatGoesAwayCancelsItsJob(t *testing.T) {
	t.Parallel()
	for _, streamed := range []string{"true", "false"} {
		r := setupChat(t)
		ctx, leave := context.WithCancel(t.Context())
		_, job := r.chatting(ctx, ask("What key?", `"stream":`+streamed))
		leave()
		require.Equal(t, "-"+job, <-r.watching)
		j, err := r.jobs.Get(t.Context(), job)
		require.NoError(t, err)
		require.False(t, j.CancelAsked.IsZero())
	}
}

// TestACompletionIsAskedForAgainWithItsKey: whoever lost the connection gets the answer of the job that is there.
func TestACompletionIsAskedForAgainWithItsKey(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	key := []string{"Idempotency-Key", "a-1"}
	ctx, leave := context.WithCancel(t.Context())
	_, job := r.chatting(ctx, ask("What key?"), key...)
	leave()
	require.Equal(t, "-"+job, <-r.watching)
	j, err := r.jobs.Get(t.Context(), job)
	require.NoError(t, err)
	require.True(t, j.CancelAsked.IsZero(), "its caller may come again")

	came, again := r.chatting(t.Context(), ask("What key?"), key...)
	require.Equal(t, job, again)
	r.record(true, planOf(job, 1, 1), answerOf(job, 0, 0))
	resp := <-came
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var got openai.Completion
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	require.Equal(t, "chatcmpl-"+job, got.ID)

	over := r.chat(ask("What key?", `"stream":true`), key...)
	require.Equal(t, http.StatusOK, over.status)
	require.Contains(t, string(over.body), "answer 0/0", "the job has ended")
	require.Contains(t, string(over.body), job)

	other := r.chat(ask("What tempo?"), key...)
	require.Equal(t, http.StatusBadRequest, other.status)
	require.Equal(t, "idempotency_key_mismatch", *other.fault(t).Code)
	bad := r.chat(ask("What key?"), "Idempotency-Key", "with space")
	require.Equal(t, http.StatusBadRequest, bad.status)
	require.Equal(t, "idempotency_key_invalid", *bad.fault(t).Code)
}

func TestAGatewayThatStopsSaysSo(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	came, job := r.chatting(t.Context(), ask("What key?"))
	r.api.Close()
	resp := <-came
	defer resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.Equal(t, "-"+job, <-r.watching)
	j, err := r.jobs.Get(t.Context(), job)
	require.NoError(t, err)
	require.False(t, j.CancelAsked.IsZero(), "nobody can read its answer")
}

// TestTagsAreTheOneForm of answers that a schema may ask for.
func TestTagsAreTheOneForm(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	form := func(schema string) string {
		return `"response_format":{"type":"json_schema","json_schema":` + schema + `}`
	}
	for _, body := range []string{form(`{"name":"x","strict":true,"schema":` + string(tags.JSONSchema()) + `}`), form(`{"name":"tags"}`)} {
		came, job := r.chatting(t.Context(), ask("", body))
		require.Equal(t, "tags", r.lastJob().GetResponseSchema())
		r.record(true, planOf(job, 1, 1), answerOf(job, 0, 0))
		resp := <-came
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
		<-r.watching
	}
	for _, body := range []string{form(`{"name":"x"}`), form(`{"name":"tags","schema":{"type":"object"}}`), form(`null`), `"response_format":{"type":"json_object"}`} {
		got := r.chat(ask("q", body))
		require.Equal(t, http.StatusBadRequest, got.status)
		require.Contains(t, textOf(got.fault(t).Param), "response_format", body)
	}
}

func TestWhatCompletionsRefuse(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	part := func(content string) string {
		return `{"model":"nano","messages":[{"role":"user","content":` + content + `}]}`
	}
	audio := func(data string) string {
		return `{"type":"input_audio","input_audio":{"data":"` + data + `","format":"wav"}}`
	}
	for name, c := range map[string]struct {
		body        string
		status      int
		code, param string
	}{
		"tools":            {ask("q", `"tools":[{"type":"function"}]`), 400, "unsupported_parameter", "tools"},
		"n":                {ask("q", `"n":2`), 400, "unsupported_parameter", "n"},
		"logprobs":         {ask("q", `"logprobs":true`), 400, "unsupported_parameter", "logprobs"},
		"stop":             {ask("q", `"stop":["x"]`), 400, "unsupported_parameter", "stop"},
		"store":            {ask("q", `"store":true`), 400, "unsupported_parameter", "store"},
		"unknown":          {ask("q", `"temprature":1`), 400, "unknown_parameter", "temprature"},
		"type":             {ask("q", `"seed":"x"`), 400, "invalid_value", "seed"},
		"top_p":            {ask("q", `"top_p":0`), 400, "invalid_value", "top_p"},
		"temperature":      {ask("q", `"temperature":11`), 400, "invalid_value", "temperature"},
		"tokens":           {ask("q", `"max_tokens":0`), 400, "invalid_value", "max_tokens"},
		"stream_options":   {ask("q", `"stream_options":{}`), 400, "invalid_value", "stream_options"},
		"model":            {strings.Replace(ask("q"), "nano", "gpt-4o", 1), 404, "model_not_found", "model"},
		"no model":         {strings.Replace(ask("q"), `"model":"nano",`, "", 1), 400, "missing_required_parameter", "model"},
		"no question":      {ask(" "), 400, "questions_required", "messages"},
		"long question":    {ask(strings.Repeat("x", 51)), 400, "question_too_long", "messages"},
		"metadata":         {ask("q", `"metadata":{"":"x"}`), 400, "metadata_invalid", "metadata"},
		"no audio":         {part(`"q"`), 400, "audio_required", "messages"},
		"no messages":      {`{"model":"nano"}`, 400, "missing_required_parameter", "messages"},
		"assistant last":   {strings.Replace(ask("q"), `]}]}`, `]},{"role":"assistant","content":"x"}]}`, 1), 400, "invalid_value", "messages"},
		"tool message":     {strings.Replace(ask("q"), `"user"`, `"tool"`, 1), 400, "unsupported_parameter", "messages[0].role"},
		"image":            {part(`[{"type":"image_url"}]`), 400, "unsupported_parameter", "messages[0].content[0].type"},
		"format":           {strings.Replace(ask("q"), `"wav"`, `"flac"`, 1), 400, "invalid_value", "messages[0].content[0].input_audio.format"},
		"not base64":       {part(`[` + audio("&&&&") + `]`), 400, "audio_invalid", "messages[0].content[0].input_audio.data"},
		"padding":          {part(`[` + audio(strings.TrimRight(wave, "=")) + `]`), 400, "audio_invalid", "messages[0].content[0].input_audio.data"},
		"data url":         {part(`[` + audio("data:audio/wav;base64,"+wave) + `]`), 400, "audio_invalid", "messages[0].content[0].input_audio.data"},
		"empty audio":      {part(`[` + audio("") + `,{"type":"text","text":"q"}]`), 400, "audio_empty", "messages"},
		"two tracks":       {part(`[` + audio(wave) + `,` + audio("UklGRg==") + `]`), 400, "invalid_request", "messages[0].content[1].input_audio.data"},
		"audio and url":    {part(`[` + audio(wave) + `,{"type":"audio_url","audio_url":{"url":"http://x/a.wav"}}]`), 400, "invalid_value", "messages[0].content[1]"},
		"large audio":      {part(`[` + audio(strings.Repeat("AAAA", 2000)) + `]`), 413, "audio_too_large", "messages[0].content[0].input_audio.data"},
		"large request":    {ask("q", `"user":"`+strings.Repeat("x", openai.MaxRequest)+`"`), 413, "body_too_large", ""},
		"cut off":          {ask("q")[:60], 400, "malformed_body", ""},
		"trailing":         {ask("q") + "{}", 400, "malformed_body", ""},
		"deep":             {strings.Repeat("[", 100), 400, "malformed_body", ""},
		"no json":          {"hello", 400, "malformed_body", ""},
		"history of turns": {strings.Replace(ask("q"), `"messages":[`, `"messages":[{"role":"assistant","content":"x"},`, 1), 400, "history_invalid", "messages"},
	} {
		got := r.chat(c.body)
		require.Equal(t, c.status, got.status, "%s: %s", name, got.body)
		fault := got.fault(t)
		require.Equal(t, c.code, textOf(fault.Code), "%s: %s", name, got.body)
		require.Equal(t, c.param, textOf(fault.Param), "%s: %s", name, got.body)
		require.Equal(t, "invalid_request_error", fault.Type, name)
	}
	got := r.do(http.MethodPost, "/v1/chat/completions", strings.NewReader(ask("q")), "Content-Type", "text/plain")
	require.Equal(t, http.StatusUnsupportedMediaType, got.status)
	got.fault(t)
	require.Empty(t, r.outbox(), "nothing of this became a job")
}

// TestErrorsHaveTheFormOfTheirPaths: OpenAI's on its paths, RFC 9457 elsewhere.
func TestErrorsHaveTheFormOfTheirPaths(t *testing.T) {
	t.Parallel()
	r := setupMode(t, auth.ModeKeys)
	hosts, err := web.NewHosts(nil)
	require.NoError(t, err)
	srv := httptest.NewServer(openai.Errors(hosts.Only(r.callers.Guard(r.log(), web.WriteProblem)(r.api.Handler()))))
	t.Cleanup(srv.Close)
	r.url, r.http = srv.URL, srv.Client()
	key := []string{"Authorization", "Bearer " + r.key(event.TenantDefault, auth.ScopeJobsRead)}
	for _, c := range []struct {
		method, path string
		header       []string
		status       int
		kind         string
	}{
		{http.MethodPost, "/v1/chat/completions", nil, 401, "authentication_error"},
		{http.MethodPost, "/v1/chat/completions", key, 403, "permission_error"},
		{http.MethodGet, "/v1/chat/completions", key, 405, "invalid_request_error"},
		{http.MethodGet, "/v1/models/none", key, 404, "invalid_request_error"},
		{http.MethodGet, "/v1/models/a/b/c", key, 404, "invalid_request_error"},
	} {
		got := r.do(c.method, c.path, nil, c.header...)
		require.Equal(t, c.status, got.status, c.path)
		require.Equal(t, c.kind, got.fault(t).Type, c.path)
		if c.status == http.StatusUnauthorized {
			require.NotEmpty(t, got.header.Get("WWW-Authenticate"))
		}
		if c.status == http.StatusMethodNotAllowed {
			require.Equal(t, "POST", got.header.Get("Allow"))
		}
	}
	require.Equal(t, "job_not_found", r.do(http.MethodGet, "/v1/jobs/none", nil, key...).problem(t).Code)
	require.Equal(t, "not_found", r.do(http.MethodGet, "/v1/modelsx", nil, key...).problem(t).Code)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/v1/models", nil)
	require.NoError(t, err)
	req.Host = "attacker.example"
	resp, err := r.http.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	require.Equal(t, "host_not_allowed", textOf(answer{resp.StatusCode, resp.Header, raw}.fault(t).Code))
	_, err = r.client.Models(t.Context())
	require.Error(t, err)
}

func TestModelsInBothForms(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	var list client.ModelList
	require.NoError(t, json.Unmarshal(r.do(http.MethodGet, "/v1/models", nil).body, &list))
	require.Equal(t, "list", list.Object)
	require.Equal(t, list.Models, list.Data)
	var one client.Model
	require.NoError(t, json.Unmarshal(r.do(http.MethodGet, "/v1/models/nano", nil).body, &one))
	require.Equal(t, list.Data[0], one)
	require.Equal(t, "model", one.Object)
}

// TestChatTakesLittleMemory: audio goes to disk while it comes in.
func TestChatTakesLittleMemory(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	pr, pw := io.Pipe()
	go func() {
		_, err := io.WriteString(pw, `{"messages":[{"content":[{"input_audio":{"data":"`)
		block := bytes.Repeat([]byte("A"), 1<<20)
		for n := 0; n < size && err == nil; n += len(block) {
			_, err = pw.Write(block)
		}
		_, _ = io.WriteString(pw, `"}}]}]}`)
		_ = pw.CloseWithError(err)
	}()
	var heard int64
	raw, err := openai.Split(pr, func(_ string, audio io.Reader) (string, error) {
		var err error
		heard, err = io.Copy(io.Discard, audio)
		return "here", err
	})
	require.NoError(t, err)
	require.EqualValues(t, size/4*3, heard)
	require.JSONEq(t, `{"messages":[{"content":[{"input_audio":{"data":"here"}}]}]}`, string(raw))
	require.Less(t, cap(raw), 1<<16)
}
