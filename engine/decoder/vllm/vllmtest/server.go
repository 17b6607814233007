// Package vllmtest is a server that speaks the part of vLLM's protocol that Larkstream uses, and holds its client to it byte by byte.
// It was written from vLLM's documentation and source; it is no vLLM.
package vllmtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Request is the body of a completion. Every field must be given unless it is optional.
type Request struct {
	Model             string   `json:"model"`
	PromptEmbeds      string   `json:"prompt_embeds"`
	MaxTokens         int      `json:"max_tokens"`
	Temperature       float64  `json:"temperature"`
	TopP              float64  `json:"top_p"`
	TopK              int      `json:"top_k"`
	MinP              float64  `json:"min_p"`
	RepetitionPenalty float64  `json:"repetition_penalty"`
	Seed              *int64   `json:"seed"`           // optional
	Stop              []string `json:"stop"`           // optional
	StopTokenIDs      []int    `json:"stop_token_ids"` // optional
	StructuredOutputs *struct {
		JSON                 json.RawMessage `json:"json"`
		DisableAnyWhitespace bool            `json:"disable_any_whitespace"`
	} `json:"structured_outputs"` // optional
	Stream        bool `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	// Tensor is PromptEmbeds read.
	Tensor Tensor `json:"-"`
}

var required = []string{
	"model", "prompt_embeds", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "stream", "stream_options",
}

// Config says what is served. The zero values of the functions give a healthy server with short answers of its own.
type Config struct {
	Model   string
	Context int // max_model_len
	Hidden  int // width of the embeddings
	APIKey  string
	// Answer writes the answer to a valid request.
	Answer func(w http.ResponseWriter, r *http.Request, req Request)
	// Metrics gives the text of /metrics.
	Metrics func() string
	// Health is the status of /health; 0: 200.
	Health func() int
}

// Server is a running server.
type Server struct {
	*httptest.Server
	cfg Config

	mu       sync.Mutex
	requests []Request
}

// Start starts a server that ends with the test. A client that breaks the protocol fails the test.
func Start(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	s := &Server{cfg: cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if cfg.Health != nil {
			w.WriteHeader(cfg.Health())
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		text := Metrics(0, 0)
		if cfg.Metrics != nil {
			text = cfg.Metrics()
		}
		_, _ = io.WriteString(w, text)
	})
	mux.HandleFunc("GET /v1/models", s.guard(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","created":1,"owned_by":"vllm","max_model_len":%d}]}`, cfg.Model, cfg.Context)
	}))
	mux.HandleFunc("POST /v1/completions", s.guard(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone, as it may
		}
		req, err := s.read(r, raw)
		if err != nil {
			tb.Errorf("the client breaks the protocol: %v", err)
			Fail(w, http.StatusBadRequest, err.Error())
			return
		}
		s.complete(w, r, req)
	}))
	s.Server = httptest.NewServer(mux)
	tb.Cleanup(s.Close)
	return s
}

// guard demands the key.
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.APIKey != "" && r.Header.Get("Authorization") != "Bearer "+s.cfg.APIKey {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"Unauthorized"}`)
			return
		}
		next(w, r)
	}
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, req Request) {
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	switch {
	case req.Model != s.cfg.Model:
		Fail(w, http.StatusNotFound, fmt.Sprintf("The model `%s` does not exist.", req.Model))
	case s.cfg.Answer != nil:
		s.cfg.Answer(w, r, req)
	default:
		stream := NewStream(w, req)
		for _, word := range strings.SplitAfter(fmt.Sprintf("Answer %08x to %d rows.", crc32.ChecksumIEEE(req.Tensor.Raw), req.Tensor.Rows), " ") {
			if !stream.Token(word) {
				return
			}
		}
		stream.Stop("null")
	}
}

// Requests lists the completions asked for so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// read reads and checks a body.
func (s *Server) read(r *http.Request, raw []byte) (Request, error) {
	var req Request
	if kind := r.Header.Get("Content-Type"); kind != "application/json" || int64(len(raw)) != r.ContentLength {
		return req, fmt.Errorf("a body of %q, %d bytes announced and %d sent", kind, r.ContentLength, len(raw))
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil || dec.More() {
		return req, fmt.Errorf("the body is not one JSON object of known fields: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return req, err
	}
	for _, name := range required {
		if fields[name] == nil {
			return req, fmt.Errorf("%s is missing", name)
		}
	}
	file, err := base64.StdEncoding.Strict().DecodeString(req.PromptEmbeds)
	if err != nil {
		return req, err
	}
	if req.Tensor, err = ReadTensor(file); err != nil {
		return req, err
	}
	return req, s.check(req)
}

// check demands what vLLM demands of the values, and what it would crash on.
func (s *Server) check(req Request) error {
	switch t := req.Tensor; {
	case t.Cols != s.cfg.Hidden:
		return fmt.Errorf("hidden_size %d does not match the model's %d", t.Cols, s.cfg.Hidden)
	case req.MaxTokens < 1 || t.Rows+req.MaxTokens > s.cfg.Context:
		return fmt.Errorf("%d rows and %d tokens for a context of %d", t.Rows, req.MaxTokens, s.cfg.Context)
	case req.Temperature < 0 || req.TopP <= 0 || req.TopP > 1 || req.TopK < 0 || req.MinP != 0 || req.RepetitionPenalty <= 0:
		return fmt.Errorf("sampling settings out of range: %+v", req)
	case !req.Stream || !req.StreamOptions.IncludeUsage:
		return errors.New("stream and include_usage must be set")
	}
	return nil
}

// Fail writes an error as vLLM does.
func Fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, failure(status, message))
}

func failure(status int, message string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"type":"BadRequestError","param":null,"code":%d}}`, message, status)
}

// Metrics is the text of /metrics of a server with that load.
func Metrics(waiting int, cache float64) string {
	return fmt.Sprintf(`# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} %d.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} %g
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="m"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 3.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 3.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 0.25
`, waiting, cache)
}

// Stream writes a completion as server-sent events.
type Stream struct {
	w      http.ResponseWriter
	req    Request
	tokens int
}

// NewStream begins an answer.
func NewStream(w http.ResponseWriter, req Request) *Stream {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	return &Stream{w: w, req: req}
}

// Token sends one token. It is false when that was the last one allowed, and the stream has ended.
func (s *Stream) Token(text string) bool {
	s.tokens++
	if s.tokens < s.req.MaxTokens {
		s.Text(text)
		return true
	}
	s.End(text, `"length"`, "null", s.tokens)
	return false
}

// Text sends a piece of text.
func (s *Stream) Text(text string) { s.choice(text, "null", "null") }

// Stop ends the answer by a stop token, which counts; reason is null for the end of sequence, the token's id, or a stop text in quotes.
func (s *Stream) Stop(reason string) { s.End("", `"stop"`, reason, s.tokens+1) }

// End sends the last piece of text and the usage. As in vLLM, prompt_tokens says nothing about a prompt in embeddings.
func (s *Stream) End(text, finish, reason string, tokens int) {
	s.choice(text, finish, reason)
	s.Event(fmt.Sprintf(`{"id":"cmpl-1","object":"text_completion","created":1,"model":%q,"choices":[],"usage":{"prompt_tokens":0,"total_tokens":%d,"completion_tokens":%d}}`,
		s.req.Model, tokens, tokens))
	s.Event("[DONE]")
}

// Fail ends the stream with an error, as vLLM does when a request fails midway.
func (s *Stream) Fail(status int, message string) {
	s.Event(failure(status, message))
	s.Event("[DONE]")
}

// Event sends one event.
func (s *Stream) Event(data string) {
	fmt.Fprintf(s.w, "data: %s\n\n", data)
	_ = http.NewResponseController(s.w).Flush()
}

func (s *Stream) choice(text, finish, reason string) {
	quoted, _ := json.Marshal(text)
	s.Event(fmt.Sprintf(`{"id":"cmpl-1","object":"text_completion","created":1,"model":%q,"choices":[{"index":0,"text":%s,"logprobs":null,"finish_reason":%s,"stop_reason":%s}],"usage":null}`,
		s.req.Model, quoted, finish, reason))
}
