package traces_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/traces"
)

func get(t *testing.T, store *traces.Store, query string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	store.PageHandler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/traces"+query, nil))
	return rec
}

// sample is the trace of a job as the pipeline makes it.
func sample() []traces.Span {
	spans := []traces.Span{
		span(1, 1, 0, 0, 38, "gateway", "POST /v1/jobs"),
		span(1, 2, 1, 4, 20, "gateway", "submit job"),
		span(1, 3, 2, 45, 330, "chunker-svc", "process lark.jobs.v1"),
		span(1, 4, 3, 48, 260, "chunker-svc", "decode audio"),
		span(1, 5, 3, 310, 60, "chunker-svc", "cut windows"),
		span(1, 6, 5, 380, 410, "encoder-svc", "process lark.windows.v1"),
		span(1, 7, 6, 386, 390, "encoder-svc", "encode window"),
		span(1, 8, 6, 778, 6, "encoder-svc", "store tensor"),
		span(1, 9, 6, 796, 18, "projector-svc", "process lark.embeddings.v1"),
		span(1, 10, 9, 799, 9, "projector-svc", "project embedding"),
		span(1, 11, 9, 820, 1180, "llm-svc", "process lark.prompts.v1"),
		span(1, 12, 11, 826, 240, "llm-svc", "prefill"),
		span(1, 13, 11, 1070, 900, "llm-svc", "answer question"),
		span(1, 14, 11, 1070, 640, "llm-svc", "answer question"),
		span(1, 15, 11, 2004, 7, "gateway", "record outcome"),
	}
	spans[0].Attrs = []traces.Attr{{Key: "lark.job.id", Value: "0199a9a2-6b7e-7c1e-b6b0-7c2c1e6d9f10"}}
	spans[12].Attrs = []traces.Attr{
		{Key: "gen_ai.request.model", Value: "lark-nano"},
		{Key: "gen_ai.usage.input_tokens", Value: "268"},
		{Key: "gen_ai.usage.output_tokens", Value: "31"},
		{Key: "gen_ai.response.time_to_first_token", Value: "0.041"},
	}
	spans[13].Failed, spans[13].Message = true, "decoding answer: deadline exceeded"
	return spans
}

func TestTracePageShowsEverySpan(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	store.Add(sample()...)
	store.Add(span(2, 1, 0, 5000, 90, "gateway", "GET /v1/jobs"), span(3, 1, 0, 6000, 700, "encoder-svc", "process lark.windows.v1"))
	rec := get(t, store, "?trace="+sample()[0].TraceID)
	require.Equal(t, http.StatusOK, rec.Code)
	require.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'none'")
	body := rec.Body.String()
	require.Equal(t, len(sample()), strings.Count(body, "<details>"))
	require.Contains(t, body, "decoding answer: deadline exceeded")
	require.Contains(t, body, "gen_ai.usage.output_tokens")
	require.NotContains(t, body, "ZgotmplZ", "a value that the template refused")
	require.NotContains(t, body, "http://", "nothing is loaded from elsewhere")

	all := get(t, store, "")
	require.Contains(t, all.Body.String(), "0199a9a2-6b7e-7c1e-b6b0-7c2c1e6d9f10")
	require.Equal(t, 3, strings.Count(all.Body.String(), "?trace="))
	require.Contains(t, get(t, store, "?errors=1&q=nothing").Body.String(), "Show all")
	saveFor(t, "list.html", all)
	saveFor(t, "trace.html", rec)
}

// saveFor keeps a page for a look at it in a browser, where LARK_SAVE_PAGES names a folder.
func saveFor(t *testing.T, name string, rec *httptest.ResponseRecorder) {
	t.Helper()
	if dir := os.Getenv("LARK_SAVE_PAGES"); dir != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), rec.Body.Bytes(), 0o600))
	}
}

func TestPageEscapesEverything(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><a href="javascript:x`
	s := span(1, 1, 0, 0, 1, evil, evil)
	s.Failed, s.Message, s.Kind = true, evil, evil
	s.Attrs = []traces.Attr{{Key: evil, Value: evil}, {Key: "lark.job.id", Value: evil}}
	s.Events = []traces.SpanEvent{{Name: evil, Attrs: s.Attrs}}
	store := traces.New(traces.Limits{})
	store.Add(s)
	for _, query := range []string{"", "?q=%22%3E%3Cscript%3E", "?trace=" + s.TraceID, "?trace=%3Cscript%3E"} {
		body := get(t, store, query).Body.String()
		require.NotContains(t, body, "<script", query)
		require.NotContains(t, body, `href="javascript`, query)
	}
}

func TestPageAsJSON(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	store.Add(sample()...)
	var list struct{ Traces []traces.Summary }
	require.NoError(t, json.Unmarshal(get(t, store, "?format=json").Body.Bytes(), &list))
	require.Equal(t, []string{"gateway", "chunker-svc", "encoder-svc", "projector-svc", "llm-svc"}, list.Traces[0].Services)

	var one struct{ Spans []traces.Span }
	require.NoError(t, json.Unmarshal(get(t, store, "?format=json&trace="+sample()[0].TraceID).Body.Bytes(), &one))
	require.Len(t, one.Spans, len(sample()))
	require.Equal(t, http.StatusNotFound, get(t, store, "?trace=none").Code)
	require.Equal(t, http.StatusNotFound, get(t, store, "?format=json&trace=none").Code)
}

func TestPageRefusesOtherMethods(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	traces.New(traces.Limits{}).PageHandler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, rec.Code)
}

func TestPageOfStrangeTrees(t *testing.T) {
	t.Parallel()
	for name, spans := range map[string][]traces.Span{
		"cycle":       {span(1, 1, 2, 0, 1, "a", "x"), span(1, 2, 1, 0, 1, "a", "x")},
		"own parent":  {span(1, 1, 1, 0, 1, "a", "x")},
		"orphan":      {span(1, 1, 77, 0, 1, "a", "x")},
		"no duration": {span(1, 1, 0, 0, 0, "a", "x")},
		"backwards":   {span(1, 1, 0, 0, -50, "a", "x")},
	} {
		store := traces.New(traces.Limits{})
		store.Add(spans...)
		rec := get(t, store, "?trace="+spans[0].TraceID)
		require.Equal(t, len(spans), strings.Count(rec.Body.String(), "<details>"), name)
	}
}

func TestPageOfAChainDeeperThanAnyStack(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	for i := range 2100 {
		store.Add(span(1, i+1, i, i, 10, "a", "x"))
	}
	body := get(t, store, "?trace="+sample()[0].TraceID).Body.String()
	require.Equal(t, 2000, strings.Count(body, "<details>"))
	require.Contains(t, body, "100 more spans are not drawn")
}
