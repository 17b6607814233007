package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// TestLargeJobsHaveSmallTraces: a window of a large job has a trace of its own, which its outcome names and which leads back to the job's.
func TestLargeJobsHaveSmallTraces(t *testing.T) {
	s := tester(t)
	const windows = 20
	job := s.submit(t, melody(seedOf(t), windows), client.Submission{
		Questions: []string{"What key is this in?"}, Plan: client.PlanExplicit, Spans: spans(windows),
	})
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
	seen := map[string]bool{job.TraceID: true}
	for _, o := range outcomes {
		require.False(t, seen[o.TraceID], "each window has its own")
		seen[o.TraceID] = true
	}
	require.Len(t, seen, windows+1)
	of := traces().tree(t, job.TraceID, telemetry.SpanSubmit, process(event.TopicJobs), telemetry.SpanDecode)
	require.Less(t, len(of), windows)
	window := traces().whole(t, outcomes[0].TraceID, telemetry.SpanSend+event.TopicWindows, telemetry.SpanEncode, answerSpan(), telemetry.SpanRecord)
	sent := named(window, telemetry.SpanSend+event.TopicWindows)
	require.Len(t, sent, 1)
	require.Equal(t, job.TraceID, sent[0].Links[0].TraceID)
	require.Equal(t, job.ID, sent[0].Attr(string(telemetry.AttrJobID)))
}

// TestTheGatewayTellsWhatStagesHaveLeft: the gateway asks the broker, on the embedded one and on Apache Kafka.
func TestTheGatewayTellsWhatStagesHaveLeft(t *testing.T) {
	s := tester(t)
	s.requireWorks(t)
	for _, stage := range event.Stages() {
		label := `lark_stage="` + stage + `"`
		require.Eventually(t, func() bool {
			return s.metric(t, up.Gateway, "lark_stage_members", label) == 1 && s.metric(t, up.Gateway, "lark_backlog_records", label) == 0
		}, patience, poll, stage)
	}
}
