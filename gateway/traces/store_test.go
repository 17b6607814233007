package traces_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/traces"
)

var epoch = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// span makes a span of trace number tr; start and length are in milliseconds.
func span(tr, id, parent, start, length int, service, name string) traces.Span {
	s := traces.Span{
		TraceID: fmt.Sprintf("%032x", tr), SpanID: fmt.Sprintf("%016x", id), Service: service, Name: name, Kind: "internal",
		Start: epoch.Add(time.Duration(start) * time.Millisecond),
	}
	s.End = s.Start.Add(time.Duration(length) * time.Millisecond)
	if parent > 0 {
		s.ParentID = fmt.Sprintf("%016x", parent)
	}
	return s
}

func TestStoreKeepsTheLatestTraces(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{Traces: 2})
	for tr := 1; tr <= 3; tr++ {
		store.Add(span(tr, 1, 0, tr, 1, "gateway", "submit"))
	}
	list := store.List(traces.Query{})
	require.Len(t, list, 2)
	require.Equal(t, fmt.Sprintf("%032x", 3), list[0].TraceID, "latest first")
	_, _, ok := store.Trace(fmt.Sprintf("%032x", 1))
	require.False(t, ok)
}

func TestStoreBoundsSpans(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{SpansPerTrace: 3, Spans: 5})
	for i := 1; i <= 5; i++ {
		store.Add(span(1, i, 0, i, 1, "a", "x"))
	}
	spans, dropped, ok := store.Trace(fmt.Sprintf("%032x", 1))
	require.True(t, ok)
	require.Len(t, spans, 3)
	require.Equal(t, 2, dropped)

	for i := 1; i <= 3; i++ {
		store.Add(span(2, i, 0, i, 1, "a", "x"))
	}
	_, _, ok = store.Trace(fmt.Sprintf("%032x", 1))
	require.False(t, ok, "6 spans are over the limit of 5, so the older trace went")
	require.Len(t, store.List(traces.Query{}), 1)
}

func TestStoreIgnoresRepeats(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	one := span(1, 1, 0, 0, 1, "a", "x")
	store.Add(one, one)
	store.Add(one)
	spans, dropped, _ := store.Trace(one.TraceID)
	require.Len(t, spans, 1)
	require.Zero(t, dropped)
}

func TestSummary(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	late := span(1, 3, 2, 50, 100, "llm-svc", "answer")
	late.Failed = true
	late.Attrs = []traces.Attr{{Key: "lark.job.id", Value: "job-7"}}
	store.Add(late, span(1, 2, 1, 10, 5, "encoder-svc", "encode"), span(1, 1, 0, 0, 20, "gateway", "submit"))
	list := store.List(traces.Query{})
	require.Equal(t, []traces.Summary{{
		TraceID: fmt.Sprintf("%032x", 1), Name: "submit", JobID: "job-7", Services: []string{"gateway", "encoder-svc", "llm-svc"},
		Start: epoch, Duration: 150 * time.Millisecond, Spans: 3, Errors: 1,
	}}, list)
}

func TestQuery(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{})
	bad := span(2, 1, 0, 0, 1, "encoder-svc", "encode")
	bad.Failed = true
	named := span(3, 1, 0, 0, 1, "gateway", "submit")
	named.Attrs = []traces.Attr{{Key: "lark.job.id", Value: "job-42"}}
	store.Add(span(1, 1, 0, 0, 1, "gateway", "submit"), bad, named)

	for text, want := range map[string]int{"": 3, "gateway": 2, "job-42": 1, "encode": 1, strings.Repeat("0", 31) + "1": 1, "nothing": 0} {
		require.Len(t, store.List(traces.Query{Text: text}), want, text)
	}
	require.Len(t, store.List(traces.Query{Errors: true}), 1)
	require.Len(t, store.List(traces.Query{Limit: 2}), 2)
}

func TestStoreUnderConcurrentUse(t *testing.T) {
	t.Parallel()
	store := traces.New(traces.Limits{Traces: 5, Spans: 50})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				store.Add(span(g*1000+i%7, i+1, 0, i, 1, "a", "x"))
				for _, s := range store.List(traces.Query{}) {
					store.Trace(s.TraceID)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, s := range store.List(traces.Query{}) {
		total += s.Spans
	}
	require.LessOrEqual(t, total, 50)
	require.LessOrEqual(t, len(store.List(traces.Query{})), 5)
}
