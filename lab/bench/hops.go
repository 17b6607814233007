package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Hop is the time from the end of one stage's work to the start of the next one's: publishing with its acknowledgement, the
// broker, fetching and dispatching.
type Hop struct {
	Name     string  `json:"name"`
	MedianMS float64 `json:"median_ms"`
	P95MS    float64 `json:"p95_ms"`
	N        int     `json:"n"`
}

// Repeat compares a new question about a known window with the decoder's time for it.
type Repeat struct {
	// MedianMS is from submission to the outcome, as the caller sees it; LLMMS the prefill and decode of the same outcomes.
	MedianMS    float64 `json:"median_ms"`
	P95MS       float64 `json:"p95_ms"`
	LLMMedianMS float64 `json:"llm_median_ms"`
	N           int     `json:"n"`
}

// meter sends single jobs, one after the other.
type meter struct {
	gw    *client.Client
	admin string // where the gateway shows traces
	ref   string // a track that the gateway has
}

const (
	spanSubmit = "POST /v1/jobs"
	// tracePatience bounds the wait for a trace: spans leave the processes once a second.
	tracePatience = 15 * time.Second
	tracePoll     = 100 * time.Millisecond
	maxTrace      = 8 << 20
)

// one submits a job about one window and waits for its answer.
func (m *meter) one(ctx context.Context, question string, span client.Span) (client.Outcome, time.Duration, error) {
	began := time.Now()
	job, err := m.gw.Submit(ctx, client.Submission{
		Questions: []string{question}, AudioRef: m.ref, Plan: client.PlanExplicit, Spans: []client.Span{span},
	}, nil, client.SubmitOptions{})
	if err != nil {
		return client.Outcome{}, 0, err
	}
	outcome, err := m.outcome(ctx, job.ID)
	return outcome, time.Since(began), err
}

// outcome waits for the end of a job of one window and one question.
func (m *meter) outcome(ctx context.Context, jobID string) (client.Outcome, error) {
	var outcome *client.Outcome
	err := m.gw.Events(ctx, jobID, "", func(ev client.Event) error {
		if ev.Outcome != nil {
			outcome = ev.Outcome
		}
		return nil
	})
	switch {
	case err != nil:
		return client.Outcome{}, err
	case outcome == nil || outcome.State != client.OutcomeAnswered:
		return client.Outcome{}, fmt.Errorf("measuring single jobs: job %s was not answered", jobID)
	}
	return *outcome, nil
}

// hops asks about windows that were not heard before, so that every stage works, and reads the gaps from the traces.
func (m *meter) hops(ctx context.Context, jobs int) ([]Hop, error) {
	gaps := map[string][]float64{}
	for i := range jobs {
		start := 0.1 + 0.01*float64(i)
		outcome, _, err := m.one(ctx, Questions()[0], client.Span{StartS: start, EndS: start + 20})
		if err != nil {
			return nil, err
		}
		spans, err := m.trace(ctx, outcome.TraceID)
		if err != nil {
			return nil, err
		}
		for name, ms := range gapsOf(spans) {
			gaps[name] = append(gaps[name], ms)
		}
	}
	var hops []Hop
	for _, link := range links() {
		g := gaps[link.name]
		hops = append(hops, Hop{Name: link.name, MedianMS: quantile(g, 0.5), P95MS: quantile(g, 0.95), N: len(g)})
	}
	return hops, nil
}

// repeats asks new questions about one known window.
func (m *meter) repeats(ctx context.Context, jobs int) (Repeat, error) {
	span := client.Span{StartS: 0, EndS: 20}
	if _, _, err := m.one(ctx, Questions()[0], span); err != nil {
		return Repeat{}, err
	}
	var total, llm []float64
	for i := range jobs {
		outcome, took, err := m.one(ctx, fmt.Sprintf("What key is this in, question %d?", i), span)
		if err != nil {
			return Repeat{}, err
		}
		if outcome.Cache != event.CacheHit {
			return Repeat{}, errors.New("measuring a repeated question: the embedding was not known")
		}
		total = append(total, float64(took.Microseconds())/1000)
		llm = append(llm, outcome.Timings.Prefill+outcome.Timings.Decode)
	}
	return Repeat{MedianMS: quantile(total, 0.5), P95MS: quantile(total, 0.95), LLMMedianMS: quantile(llm, 0.5), N: jobs}, nil
}

// span is what a trace tells of one step.
type span struct {
	SpanID   string    `json:"span_id"`
	ParentID string    `json:"parent_id"`
	Name     string    `json:"name"`
	Service  string    `json:"service"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
}

// step is a span's name and the service that made it: a topic may have several readers.
type step struct{ service, name string }

// link is a hop: the step that hands over and the step that takes up.
type link struct {
	name     string
	from, to step
}

func links() []link {
	process := func(service, topic string) step { return step{service, telemetry.SpanProcess + topic} }
	submit := step{telemetry.ServiceGateway, spanSubmit}
	chunk := process(telemetry.ServiceChunker, event.TopicJobs)
	encode := process(telemetry.ServiceEncoder, event.TopicWindows)
	project := process(telemetry.ServiceProjector, event.TopicEmbeddings)
	answer := process(telemetry.ServiceLLM, event.TopicPrompts)
	record := process(telemetry.ServiceGateway, event.TopicAnswers)
	return []link{
		{"gateway to chunker", submit, chunk},
		{"chunker to encoder", chunk, encode},
		{"encoder to projector", encode, project},
		{"projector to llm", project, answer},
		{"llm to recorder", answer, record},
	}
}

// trace reads a trace once every step of the way is in it.
func (m *meter) trace(ctx context.Context, id string) ([]span, error) {
	ctx, cancel := context.WithTimeout(ctx, tracePatience)
	defer cancel()
	tick := time.NewTicker(tracePoll)
	defer tick.Stop()
	for {
		spans, err := m.readTrace(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(gapsOf(spans)) == len(links()) {
			return spans, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the spans of trace %s: %w", id, ctx.Err())
		}
	}
}

func (m *meter) readTrace(ctx context.Context, id string) ([]span, error) {
	u := m.admin + "/debug/traces?" + url.Values{"trace": {id}, "format": {"json"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("reading trace: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading trace: %w", err)
	}
	defer resp.Body.Close()
	var body struct {
		Spans []span `json:"spans"`
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil // its first span has not come yet
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTrace)).Decode(&body); err != nil {
		return nil, fmt.Errorf("reading trace: %w", err)
	}
	return body.Spans, nil
}

// gapsOf gives the milliseconds of every hop that the trace shows: from the end of the last step inside the handing span (its own end and
// the ends of its sends count the wait for acknowledgements, which is part of the hop) to the start of the taking one.
func gapsOf(spans []span) map[string]float64 {
	gaps := map[string]float64{}
	for _, l := range links() {
		from, ok := last(spans, l.from)
		to, taken := last(spans, l.to)
		if ok && taken {
			gaps[l.name] = max(0, float64(to.Start.Sub(workEnd(spans, from, to.Start)).Microseconds())/1000)
		}
	}
	return gaps
}

// last is the latest span of a step; the first record of answers is the plan, the last one the outcome.
func last(spans []span, of step) (span, bool) {
	var found span
	for _, s := range spans {
		if s.Name == of.name && s.Service == of.service && s.Start.After(found.Start) {
			found = s
		}
	}
	return found, found.SpanID != ""
}

// workEnd is when the last step inside of a span ended, before limit.
func workEnd(spans []span, of span, limit time.Time) time.Time {
	end := of.Start
	for _, s := range spans {
		if s.ParentID == of.SpanID && s.Service == of.Service && !strings.HasPrefix(s.Name, telemetry.SpanSend) && s.End.After(end) && !s.End.After(limit) {
			end = s.End
		}
	}
	return end
}

// quantile by the nearest rank; 0 of nothing.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
