package traces

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/larkstream/larkstream/shared/telemetry"
)

// Limits bound what a Store keeps. Zero fields mean the defaults named beside them.
type Limits struct {
	// Traces is the number of traces kept (200).
	Traces int
	// SpansPerTrace is the number of spans kept of one trace (4,000); later ones are counted as dropped.
	SpansPerTrace int
	// Spans is the number of spans kept in all (40,000); beyond it the oldest traces go.
	Spans int
}

// Attributes, events and links of one span that a Store keeps, and the bytes of each text.
const (
	maxSpanAttrs  = 48
	maxSpanEvents = 16
	maxSpanLinks  = 128
	maxSpanText   = 512
)

// Store keeps the last traces in memory, whole, for a look at what happened without a tracing
// backend. It takes spans of its own process (as a span exporter) and of others (OTLPHandler).
// All methods are safe for concurrent use.
type Store struct {
	limits Limits

	mu     sync.Mutex
	traces map[string]*storedTrace
	order  []*storedTrace // oldest first
	spans  int
}

type storedTrace struct {
	id      string
	spans   []Span
	seen    map[string]struct{}
	dropped int
}

var _ sdktrace.SpanExporter = (*Store)(nil)

// New returns an empty store.
func New(limits Limits) *Store {
	if limits.Traces <= 0 {
		limits.Traces = 200
	}
	if limits.SpansPerTrace <= 0 {
		limits.SpansPerTrace = 4000
	}
	if limits.Spans <= 0 {
		limits.Spans = 40_000
	}
	return &Store{limits: limits, traces: make(map[string]*storedTrace)}
}

// Span is one finished step of a trace.
type Span struct {
	TraceID  string      `json:"trace_id"`
	SpanID   string      `json:"span_id"`
	ParentID string      `json:"parent_id,omitempty"`
	Service  string      `json:"service"`
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Start    time.Time   `json:"start"`
	End      time.Time   `json:"end"`
	Failed   bool        `json:"failed,omitempty"`
	Message  string      `json:"message,omitempty"`
	Attrs    []Attr      `json:"attributes,omitempty"`
	Events   []SpanEvent `json:"events,omitempty"`
	Links    []Link      `json:"links,omitempty"`
}

// Link leads to a span of another trace: from a window's trace to the job's, and back.
type Link struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// Attr is one attribute, its value printed.
type Attr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// SpanEvent is something that happened at one moment of a span.
type SpanEvent struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time"`
	Attrs []Attr    `json:"attributes,omitempty"`
}

// Duration of the span, never negative.
func (s Span) Duration() time.Duration { return max(s.End.Sub(s.Start), 0) }

// Attr returns the value of an attribute, or "".
func (s Span) Attr(key string) string {
	for _, a := range s.Attrs {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

// Add stores spans. A span seen before is ignored, so that senders may repeat themselves.
func (t *Store) Add(spans ...Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range spans {
		t.add(s)
	}
	for len(t.order) > t.limits.Traces || (t.spans > t.limits.Spans && len(t.order) > 1) {
		oldest := t.order[0]
		t.order[0] = nil
		t.order = t.order[1:]
		delete(t.traces, oldest.id)
		t.spans -= len(oldest.spans)
	}
}

func (t *Store) add(s Span) {
	tr := t.traces[s.TraceID]
	if tr == nil {
		tr = &storedTrace{id: s.TraceID, seen: make(map[string]struct{})}
		t.traces[s.TraceID] = tr
		t.order = append(t.order, tr)
	}
	if _, ok := tr.seen[s.SpanID]; ok {
		return
	}
	if len(tr.spans) >= t.limits.SpansPerTrace {
		tr.dropped++
		return
	}
	tr.seen[s.SpanID] = struct{}{}
	tr.spans = append(tr.spans, s)
	t.spans++
}

// ExportSpans takes the spans of this process.
func (t *Store) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	out := make([]Span, len(spans))
	for i, s := range spans {
		out[i] = fromSDK(s)
	}
	t.Add(out...)
	return nil
}

// Shutdown does nothing: what is stored can still be looked at.
func (t *Store) Shutdown(context.Context) error { return nil }

// Trace returns the spans of a trace by start time and how many more were dropped; ok is false when
// the trace is not (or no longer) stored.
func (t *Store) Trace(id string) (spans []Span, dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.traces[id]
	if tr == nil {
		return nil, 0, false
	}
	return sortedSpans(tr.spans), tr.dropped, true
}

// Summary is one line of the list of traces.
type Summary struct {
	TraceID  string        `json:"trace_id"`
	Name     string        `json:"name"`
	JobID    string        `json:"job_id,omitempty"`
	Services []string      `json:"services"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration_ns"`
	Spans    int           `json:"spans"`
	Errors   int           `json:"errors"`
	Dropped  int           `json:"dropped,omitempty"`
}

// Query narrows a list of traces.
type Query struct {
	// Text keeps traces with this text in a span's name, service or attribute value, or as trace id.
	Text string
	// Errors keeps traces with a failed span.
	Errors bool
	// Limit on the number of traces; 0 for all that are stored.
	Limit int
}

// List returns summaries of the traces stored, latest first.
func (t *Store) List(q Query) []Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Summary
	for _, tr := range slices.Backward(t.order) {
		if q.Text != "" && !tr.mentions(q.Text) {
			continue
		}
		s := summarize(tr)
		if q.Errors && s.Errors == 0 {
			continue
		}
		if out = append(out, s); len(out) == q.Limit {
			break
		}
	}
	return out
}

func (t *storedTrace) mentions(text string) bool {
	if strings.HasPrefix(t.id, text) {
		return true
	}
	return slices.ContainsFunc(t.spans, func(s Span) bool {
		return strings.Contains(s.Name, text) || strings.Contains(s.Service, text) ||
			slices.ContainsFunc(s.Attrs, func(a Attr) bool { return strings.Contains(a.Value, text) })
	})
}

func summarize(tr *storedTrace) Summary {
	spans := sortedSpans(tr.spans)
	sum := Summary{TraceID: tr.id, Name: spans[0].Name, Start: spans[0].Start, Spans: len(spans), Dropped: tr.dropped}
	end := spans[0].End
	for _, s := range spans {
		if !slices.Contains(sum.Services, s.Service) {
			sum.Services = append(sum.Services, s.Service)
		}
		if s.Failed {
			sum.Errors++
		}
		if sum.JobID == "" {
			sum.JobID = s.Attr(string(telemetry.AttrJobID))
		}
		if s.End.After(end) {
			end = s.End
		}
	}
	sum.Duration = max(end.Sub(sum.Start), 0)
	return sum
}

func sortedSpans(spans []Span) []Span {
	out := slices.Clone(spans)
	slices.SortStableFunc(out, func(a, b Span) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return b.End.Compare(a.End)
	})
	return out
}
