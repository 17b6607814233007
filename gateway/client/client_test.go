package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/alloctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL+"/base/", srv.Client())
	require.NoError(t, err)
	return c
}

func TestNewRefusesOtherURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "localhost:8080", "ftp://x", "http://", "http://[::1"} {
		_, err := client.New(u, nil)
		require.ErrorContains(t, err, "gateway URL", u)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]client.Problem{
		`{"title":"T","status":409,"code":"c","detail":"d","retryable":true}`: {Title: "T", Status: 409, Code: "c", Detail: "d", Retryable: true},
		"<html>proxy":       {Title: "Bad Gateway", Status: 502, Code: "http_502", Detail: "<html>proxy", Retryable: true},
		`{"code":""}`:       {Title: "Bad Gateway", Status: 502, Code: "http_502", Detail: `{"code":""}`, Retryable: true},
		"\xff\xfe garbage ": {Title: "Bad Gateway", Status: 502, Code: "http_502", Detail: "? garbage", Retryable: true},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.EscapedPath() == "/base/v1/jobs/a%2Fb" {
				w.WriteHeader(http.StatusBadGateway)
			}
			_, _ = io.WriteString(w, body)
		})
		_, err := c.Get(t.Context(), "a/b")
		p, ok := client.AsProblem(err)
		require.True(t, ok)
		require.Equal(t, want, *p)
	}
}

// TestProblemsNameFieldAndTrace: what was wrong with which field, and where the gateway's log tells more.
func TestProblemsNameFieldAndTrace(t *testing.T) {
	t.Parallel()
	many := make([]client.FieldError, 12)
	for i := range many {
		many[i] = client.FieldError{Message: "too long", Location: "questions"}
	}
	for want, p := range map[string]client.Problem{
		"Conflict (c, HTTP 409)": {Title: "Conflict", Status: 409, Code: "c"},
		"validation failed: body.questions[0]: too long; two plans (invalid, HTTP 422)": {
			Detail: "validation failed", Status: 422, Code: "invalid", TraceID: "4bf92f35", Errors: []client.FieldError{
				{Message: "too long", Location: "body.questions[0]"}, {Message: "two plans"},
			},
		},
		"it broke (internal, HTTP 500, trace 4bf92f35)":                                                           {Detail: "it broke", Status: 500, Code: "internal", TraceID: "4bf92f35"},
		"d" + ": questions: too long" + strings.Repeat("; questions: too long", 9) + "; and 2 more (c, HTTP 422)": {Detail: "d", Status: 422, Code: "c", Errors: many},
	} {
		require.EqualError(t, &p, want)
	}
}

// TestUploadReaderFails: an error of the caller's file reaches the caller, and nothing is left running.
func TestUploadReaderFails(t *testing.T) {
	t.Parallel()
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	broken := errors.New("disk on fire")
	_, err := c.Submit(t.Context(), client.Submission{}, &client.Upload{Name: "a", Reader: io.MultiReader(strings.NewReader("x"), failing{broken})}, client.SubmitOptions{})
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestSubmitEndsWithItsContext: also while the server does not read.
func TestSubmitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	release, reached := make(chan struct{}), make(chan struct{})
	c := serve(t, func(http.ResponseWriter, *http.Request) {
		close(reached)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	endless, stop := io.Pipe()
	defer func() { _ = stop.Close() }()
	_, err := c.Submit(ctx, client.Submission{}, &client.Upload{Name: "a", Reader: endless}, client.SubmitOptions{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestEventsParsing(t *testing.T) {
	t.Parallel()
	var lasts []string
	bodies := []string{
		": hello\nretry: 5\n\nid: 7\nevent: token\ndata: {\"text\":\n" + "data:\"a\"}\n\nevent: novelty\ndata: x\n\nid: 8\nevent: token\ndata: {\"text\":\"cut",
		"id: 9\nevent: token\ndata: {\"text\":\"b\"}\n\nevent: dropped\ndata: {\"code\":\"stream_timeout\"}\n\n",
		"event: outcome\ndata: {\"id\":\"o\"}\n\nid: 11\nevent: outcome\ndata: {\"id\":\"o\"}\n\nid: 12\nevent: end\ndata: {\"state\":\"failed\"}\n\n",
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		lasts = append(lasts, r.Header.Get("Last-Event-ID"))
		_, _ = io.WriteString(w, bodies[len(lasts)-1])
	})
	var got []string
	require.NoError(t, c.Events(t.Context(), "j", "3", func(ev client.Event) error {
		what := ev.Kind + " " + ev.ID
		if ev.Token != nil {
			what += " " + ev.Token.Text
		}
		got = append(got, what)
		return nil
	}))
	require.Equal(t, []string{"3", "7", "9"}, lasts)
	require.Equal(t, []string{"token 7 a", "token 9 b", "outcome ", "end 12"}, got)
}

func TestEventsGiveUpOnProblems(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":"job_not_found","title":"Not Found","status":404}`)
	})
	err := c.Events(t.Context(), "j", "", nil)
	p, ok := client.AsProblem(err)
	require.True(t, ok)
	require.Equal(t, "job_not_found", p.Code)
	require.ErrorContains(t, err, "watching job j")
}

// FuzzEvents: whatever a server sends, the client returns, and gives out well-formed events only.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("id: 1\nevent: token\ndata: {}\n\nevent: end\ndata: {}\n\n"))
	f.Add([]byte("data\n\n:\n\nid\x00: 1\nevent: outcome\ndata: {\"id\":1}\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		stop := errors.New("one connection is enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		c, err := client.New("http://gateway", &http.Client{Transport: &once{body: body, done: func() { cancel(stop) }}})
		require.NoError(t, err)
		alloctest.Bound(t, len(body), 256<<10, 100, func() {
			err = c.Events(ctx, "j", "", func(ev client.Event) error {
				require.NotEmpty(t, ev.Kind)
				return nil
			})
		})
		if err != nil {
			require.True(t, errors.Is(err, stop) || errors.Is(err, client.ErrMalformed), "%v", err)
		}
	})
}

// once is a transport that answers with a body and calls done when it has been read.
type once struct {
	body []byte
	done func()
}

func (o *once) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(o.body), closer(o.done)}}, nil
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}
