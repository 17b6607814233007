package e2e

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/client"
	viewer "github.com/larkstream/larkstream/gateway/traces"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// receiver is an OTLP/HTTP receiver of traces: what a collector would be.
type receiver struct {
	*viewer.Store
	server *httptest.Server
}

func startReceiver() *receiver {
	store := viewer.New(viewer.Limits{Traces: 2000, SpansPerTrace: 20_000, Spans: 200_000})
	return &receiver{Store: store, server: httptest.NewServer(store.OTLPHandler())}
}

// env makes the stages send their traces here.
func (r *receiver) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + r.server.URL + "/v1/traces"}
}

// tree waits until the trace holds a span of each of the names, and returns its spans after checking that they are one tree, which the gateway
// has begun.
func (r *receiver) tree(t *testing.T, traceID string, names ...string) []viewer.Span {
	t.Helper()
	spans := r.whole(t, traceID, names...)
	require.Equal(t, telemetry.ServiceGateway, roots(spans)[0].Service)
	return spans
}

// whole is tree for a trace that any service may have begun.
func (r *receiver) whole(t *testing.T, traceID string, names ...string) []viewer.Span {
	t.Helper()
	require.Len(t, traceID, 32)
	var spans []viewer.Span
	require.Eventually(t, func() bool {
		var dropped int
		spans, dropped, _ = r.Trace(traceID)
		require.Zero(t, dropped)
		missing := slices.ContainsFunc(names, func(name string) bool { return len(named(spans, name)) == 0 })
		return !missing && len(roots(spans)) == 1
	}, patience, poll, "trace %s is no tree with %v, it has %v", traceID, names, spanNames{&spans})
	return spans
}

// requireSpanAfter waits for a span in one of the traces that a service has begun after a moment: a process that took the place of a killed
// one goes on in the job's traces.
func (r *receiver) requireSpanAfter(t *testing.T, traceIDs []string, service string, moment time.Time) {
	t.Helper()
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(traceIDs, func(id string) bool {
			spans, _, _ := r.Trace(id)
			return slices.ContainsFunc(spans, func(s viewer.Span) bool { return s.Service == service && s.Start.After(moment) })
		})
	}, patience, poll, "the job's traces have no span of the new %s", service)
}

// roots are the spans whose parent is not there: one in a whole tree.
func roots(spans []viewer.Span) []viewer.Span {
	ids := map[string]bool{}
	for _, s := range spans {
		ids[s.SpanID] = true
	}
	return slices.DeleteFunc(slices.Clone(spans), func(s viewer.Span) bool { return ids[s.ParentID] })
}

// requireUnder checks that every span of name has a span of ancestor above it.
func requireUnder(t *testing.T, spans []viewer.Span, name, ancestor string) {
	t.Helper()
	byID := map[string]viewer.Span{}
	for _, s := range spans {
		byID[s.SpanID] = s
	}
	for _, s := range named(spans, name) {
		up := s
		for up.Name != ancestor {
			parent, ok := byID[up.ParentID]
			require.True(t, ok, "%s is not under %s", name, ancestor)
			up = parent
		}
	}
}

func named(spans []viewer.Span, name string) []viewer.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s viewer.Span) bool { return s.Name != name })
}

// spanNames prints the names of spans when a test has failed.
type spanNames struct{ spans *[]viewer.Span }

func (n spanNames) String() string {
	count := map[string]int{}
	var names []string
	for _, s := range *n.spans {
		name := s.Service + ": " + s.Name
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// process is the name of a stage's span on a record of a topic.
func process(topic string) string { return telemetry.SpanProcess + topic }

// answerSpan is the name of the span of one question.
func answerSpan() string {
	bundle, err := model.Read(modelDir())
	if err != nil {
		return err.Error()
	}
	return telemetry.SpanAnswer + bundle.Name
}

// inTrace are the spans of a job whose windows are encoded, by whom makes them.
func inTrace() map[string][]string {
	return map[string][]string{
		telemetry.ServiceGateway:   {telemetry.SpanSubmit, telemetry.SpanRecord},
		telemetry.ServiceChunker:   {process(event.TopicJobs), telemetry.SpanDecode},
		telemetry.ServiceEncoder:   {process(event.TopicWindows), telemetry.SpanEncode},
		telemetry.ServiceProjector: {process(event.TopicEmbeddings), telemetry.SpanProject},
		telemetry.ServiceLLM:       {process(event.TopicPrompts), telemetry.SpanPrefill, answerSpan()},
	}
}

func TestOneTracePerJob(t *testing.T) {
	s := tester(t)
	track := melody(seedOf(t), 2)
	sub := client.Submission{Questions: manyQuestions(), Plan: client.PlanExplicit, Spans: spans(2)}

	job := s.submit(t, track, sub)
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
	spans := traces().tree(t, job.TraceID, allSpans(inTrace())...)
	requireServices(t, spans, inTrace())
	require.Len(t, named(spans, telemetry.SpanEncode), 2)
	require.Len(t, named(spans, answerSpan()), 4)
	requireUnder(t, spans, telemetry.SpanEncode, telemetry.SpanSubmit)
	requireUnder(t, spans, telemetry.SpanProject, process(event.TopicWindows))
	requireUnder(t, spans, answerSpan(), process(event.TopicEmbeddings))
	requireUnder(t, spans, telemetry.SpanRecord, process(event.TopicAnswers))
	for _, topic := range []string{event.TopicJobs, event.TopicWindows, event.TopicEmbeddings, event.TopicPrompts, event.TopicAnswers} {
		requireUnder(t, spans, process(topic), telemetry.SpanSend+topic)
	}
	for _, answer := range named(spans, answerSpan()) {
		require.NotEmpty(t, answer.Attr(string(telemetry.AttrGenAIRequestModel)))
		require.NotEmpty(t, answer.Attr(string(telemetry.AttrGenAIOutputTokens)))
	}
	for _, o := range outcomes {
		require.Equal(t, job.TraceID, o.TraceID)
		require.Equal(t, "miss", o.Cache)
	}

	// A known track and new questions: a tree of its own, in which nothing is decoded, encoded or projected again.
	sub.Questions = []string{"How fast is it?", "Is it in a major key?"}
	again := s.submit(t, track, sub)
	again, _ = s.finish(t, again.ID)
	require.NotEqual(t, job.TraceID, again.TraceID)
	hit := inTrace()
	hit[telemetry.ServiceChunker] = []string{process(event.TopicJobs)}
	hit[telemetry.ServiceProjector] = []string{process(event.TopicEmbeddings)}
	delete(hit, telemetry.ServiceEncoder)
	spans = traces().tree(t, again.TraceID, allSpans(hit)...)
	requireServices(t, spans, hit)
	for _, name := range []string{telemetry.SpanDecode, telemetry.SpanEncode, telemetry.SpanProject} {
		require.Empty(t, named(spans, name))
	}
	requireUnder(t, spans, answerSpan(), process(event.TopicJobs))
}

func allSpans(byService map[string][]string) []string {
	var names []string
	for _, of := range byService {
		names = append(names, of...)
	}
	return names
}

// requireServices checks that the named spans come from where they should (other services may have some too), and that no other service is in the trace.
func requireServices(t *testing.T, spans []viewer.Span, byService map[string][]string) {
	t.Helper()
	for _, s := range spans {
		require.Contains(t, byService, s.Service, s.Name)
	}
	for service, names := range byService {
		for _, name := range names {
			from := slices.ContainsFunc(named(spans, name), func(s viewer.Span) bool { return s.Service == service })
			require.True(t, from, "no %s of %s", name, service)
		}
	}
}

// TestAPauseStaysInTheTrace takes the prompts' folder away for a while: the projector pauses with the record in hand and goes on by
// itself, and the job's trace is whole.
func TestAPauseStaysInTheTrace(t *testing.T) {
	s := tester(t)
	s.requireWorks(t) // the folder is there
	prompts := filepath.Join(s.opts.data, "blobs", "prompt")
	require.NoError(t, os.Rename(prompts, prompts+".away"))
	require.NoError(t, os.WriteFile(prompts, nil, 0o600))
	restore := sync.OnceFunc(func() {
		require.NoError(t, os.Remove(prompts))
		require.NoError(t, os.Rename(prompts+".away", prompts))
	})
	t.Cleanup(restore)

	job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}})
	require.Eventually(t, func() bool {
		return s.metric(t, up.Projector, "lark_stage_paused") > 0
	}, patience, poll, "the projector has not paused")
	restore()
	job, _ = s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)

	spans := traces().tree(t, job.TraceID, allSpans(inTrace())...)
	requireServices(t, spans, inTrace())
	require.Len(t, named(spans, process(event.TopicEmbeddings)), 1, "the record waited in hand: %v", spanNames{&spans})
	require.Empty(t, named(spans, telemetry.SpanProcess+event.RetryTopic(up.Projector, event.RetryDelays()[0])), "nothing was put back")
}
