package vllm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

func TestWhatTheServerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request)
		alone   bool
		message string
	}{
		"bad request": {fail(400, "top_p must be in (0, 1]"), true, `400 Bad Request: "top_p must be`},
		"bad request in the stream": {func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			vllmtest.NewStream(w, req).Fail(400, "no such thing")
		}, true, "no such thing"},
		"too large":      {fail(413, "too large"), true, "too large"},
		"unknown model":  {fail(404, "no such model"), false, "vllm_model"},
		"wrong key":      {fail(401, "who are you"), false, "vllm_api_key"},
		"internal error": {fail(500, strings.Repeat("x", 10_000)), false, strings.Repeat("x", maxMessage) + `"`},
		"redirect": {func(w http.ResponseWriter, r *http.Request, _ vllmtest.Request) {
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusTemporaryRedirect)
		}, false, "307"},
		"no event stream": {func(w http.ResponseWriter, _ *http.Request, _ vllmtest.Request) {
			_, _ = io.WriteString(w, "<html>welcome</html>")
		}, false, "no text/event-stream"},
		"garbage": {events("{"), false, "not the JSON of a completion"},
		"error after text": {func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			s := vllmtest.NewStream(w, req)
			s.Token("The")
			s.Fail(500, "the engine died")
		}, false, "broke off"},
		"an end midway": {func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			vllmtest.NewStream(w, req).Token("The")
		}, false, "broke off"},
		"aborted":     {events(`{"choices":[{"index":0,"text":"","finish_reason":"abort"}]}`), false, `"abort"`},
		"two answers": {events(`{"choices":[{"index":1,"text":"a"}]}`), false, "more than the one answer"},
		"no usage":    {events(`{"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}`, "[DONE]"), false, "include_usage"},
		"negative":    {events(`{"choices":[],"usage":{"completion_tokens":-1}}`), false, "below 0"},
		"an endless line": {func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			vllmtest.NewStream(w, req).Event(strings.Repeat("x", 2*maxLine))
		}, false, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, server := setup(t, func(s *vllmtest.Config) { s.Answer = c.answer }, plain)
			results, err := e.Answer(t.Context(), ask("what"))
			if c.alone {
				require.NoError(t, err)
				err = results[0].Err
			}
			require.ErrorContains(t, err, c.message)
			require.Less(t, len(err.Error()), 1000)
			require.Len(t, server.Requests(), 1, "asking again would not help, or would repeat what was streamed")
		})
	}
}

func fail(status int, message string) func(http.ResponseWriter, *http.Request, vllmtest.Request) {
	return func(w http.ResponseWriter, _ *http.Request, _ vllmtest.Request) { vllmtest.Fail(w, status, message) }
}

func events(list ...string) func(http.ResponseWriter, *http.Request, vllmtest.Request) {
	return func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
		s := vllmtest.NewStream(w, req)
		for _, e := range list {
			s.Event(e)
		}
	}
}

func TestABusyServerIsAskedAgain(t *testing.T) {
	t.Parallel()
	n := 0
	e, server := setup(t, func(c *vllmtest.Config) {
		c.Answer = func(w http.ResponseWriter, _ *http.Request, req vllmtest.Request) {
			n++
			switch n {
			case 1:
				w.Header().Set("Retry-After", "0")
				vllmtest.Fail(w, http.StatusTooManyRequests, "busy")
			case 2:
				vllmtest.NewStream(w, req).Event(`{"choices":[{"index":0,"text":"","finish_reason":null}]}`) // breaks off before any text
			default:
				answering("The", " key.")(c)
				c.Answer(w, nil, req)
			}
		}
	}, plain)
	results, err := e.Answer(t.Context(), ask("what"))
	require.NoError(t, err)
	require.Equal(t, "The key.", results[0].Text)
	require.Len(t, server.Requests(), 3)
}

// One fault of the server costs neither the window's other answers nor, if it passes, the answer itself.
func TestAFaultOfTheServerFailsOneQuestion(t *testing.T) {
	t.Parallel()
	for name, lasting := range map[string]bool{"once": false, "always": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var bad string // the prompt that came first
			failed := 0
			answered := &vllmtest.Config{}
			answering("The", " key.")(answered)
			e, server := setup(t, func(c *vllmtest.Config) {
				c.Answer = func(w http.ResponseWriter, r *http.Request, req vllmtest.Request) {
					mu.Lock()
					defer mu.Unlock()
					if bad == "" {
						bad = req.PromptEmbeds
					}
					if req.PromptEmbeds != bad || (!lasting && failed > 0) {
						answered.Answer(w, r, req)
						return
					}
					failed++
					vllmtest.Fail(w, http.StatusInternalServerError, "CUDA error")
				}
			}, plain)
			results, err := e.Answer(t.Context(), ask("first", "second", "third"))
			require.NoError(t, err)
			faults := 0
			for _, r := range results {
				if r.Err != nil {
					faults++
					require.ErrorContains(t, r.Err, "CUDA error")
					continue
				}
				require.Equal(t, "The key.", r.Text)
			}
			if lasting {
				require.Equal(t, 1, faults)
				require.Len(t, server.Requests(), 2+rounds)
				return
			}
			require.Zero(t, faults)
			require.Len(t, server.Requests(), 4)
		})
	}
}

func TestAServerThatIsNotThereIsAnErrorOfTheRequest(t *testing.T) {
	t.Parallel()
	e, server := setup(t, same, func(c *Config) { c.Timeout = 3 * time.Second })
	server.Close()
	_, err := e.Answer(t.Context(), ask("what"))
	require.Error(t, err)
	var down interface{ Unavailable() bool }
	require.ErrorAs(t, err, &down, "the stage pauses for it")
	require.Error(t, e.Check(t.Context()))
}

func TestASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	e, _ := setup(t, func(c *vllmtest.Config) {
		c.Answer = func(_ http.ResponseWriter, r *http.Request, _ vllmtest.Request) { <-r.Context().Done() }
	}, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	_, err := e.Answer(t.Context(), ask("what"))
	require.ErrorContains(t, err, "no answer within 50ms")
}

func TestCancellingClosesTheStream(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	e, _ := setup(t, func(c *vllmtest.Config) {
		c.Answer = func(w http.ResponseWriter, r *http.Request, req vllmtest.Request) {
			vllmtest.NewStream(w, req).Token("The")
			<-r.Context().Done()
			close(gone)
		}
	}, plain)
	cause := errors.New("the user has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	req := ask("what")
	req.OnToken = func(int, string) { cancel(cause) }
	_, err := e.Answer(ctx, req)
	require.ErrorIs(t, err, cause)
	<-gone
}

func TestTimes(t *testing.T) {
	t.Parallel()
	e, _ := setup(t, answering("The", " key."), plain)
	results, err := e.Answer(t.Context(), ask("what"))
	require.NoError(t, err)
	r := results[0]
	require.Positive(t, r.FirstToken)
	require.Positive(t, r.Prefill)
	require.GreaterOrEqual(t, r.FirstToken, r.Prefill)
	require.Equal(t, r.Ended.Sub(r.Began), r.Prefill+r.Decode)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		serve   func(*vllmtest.Config)
		change  func(*Config)
		message string
	}{
		"healthy":       {same, plain, ""},
		"loading":       {func(s *vllmtest.Config) { s.Health = func() int { return 503 } }, plain, "503"},
		"other model":   {func(s *vllmtest.Config) { s.Model = "gemma" }, plain, `it serves ["gemma"], not "tiny"`},
		"short context": {func(s *vllmtest.Config) { s.Context = 100 }, plain, "--max-model-len 160"},
		"no embeddings": {func(s *vllmtest.Config) { s.Answer = fail(400, "You must set `--enable-prompt-embeds`") }, plain, "enable-prompt-embeds"},
		"missing key":   {func(s *vllmtest.Config) { s.APIKey = "sesame" }, plain, "vllm_api_key"},
		"right key":     {func(s *vllmtest.Config) { s.APIKey = "sesame" }, func(c *Config) { c.APIKey = "sesame" }, ""},
		"model by name": {func(s *vllmtest.Config) { s.Model = "llark" }, func(c *Config) { c.Model = "llark" }, ""},
		"other server":  {same, func(c *Config) { c.URL += "/elsewhere" }, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := setup(t, c.serve, c.change)
			err := e.Check(t.Context())
			if c.message == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.message)
			}
			if e.cfg.APIKey != "" {
				require.NotContains(t, fmt.Sprint(err), "sesame")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	b := modeltest.Bundle(t)
	good := Config{URL: "http://gpu-1:8000", InFlight: 1, Timeout: time.Second}
	for want, change := range map[string]func(*Config){
		"vllm_url: \"\"":          func(c *Config) { c.URL = "" },
		"vllm_url: \"gpu-1\"":     func(c *Config) { c.URL = "gpu-1" },
		"without user":            func(c *Config) { c.URL = "http://me:secret@gpu-1" },
		"vllm_url: \"ftp://gpu\"": func(c *Config) { c.URL = "ftp://gpu" },
		"vllm_in_flight":          func(c *Config) { c.InFlight = 0 },
		"vllm_max_waiting":        func(c *Config) { c.MaxWaiting = -1 },
		"vllm_timeout":            func(c *Config) { c.Timeout = 0 },
	} {
		cfg := good
		change(&cfg)
		_, err := Open(b, cfg, Deps{Log: quiet})
		require.ErrorContains(t, err, want)
	}
	_, err := Open(b, good, Deps{})
	require.ErrorContains(t, err, "dependency")
	e, err := Open(b, good, Deps{Log: quiet})
	require.NoError(t, err)
	_, err = e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 3, 32), Schema: "poem"})
	require.ErrorIs(t, err, contract.ErrSchema)
	require.False(t, e.Constrains("poem"))
	require.NoError(t, e.Close())
}
