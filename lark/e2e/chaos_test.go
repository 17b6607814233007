package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// manyWindows is the size of jobs that are interrupted: something dies in the middle.
const manyWindows = 200

func manyQuestions() []string { return []string{"What is the tempo?", "Which key is it in?"} }

// many submits a job of 200 windows with two questions on each.
func (s *stack) many(t *testing.T) client.Job {
	t.Helper()
	return s.submit(t, melody(seedOf(t), manyWindows), client.Submission{
		Questions: manyQuestions(), Plan: client.PlanExplicit, Spans: spans(manyWindows),
	})
}

// requireAllAnswered waits for the end of a job of many windows and checks that nothing was lost and nothing came twice.
// It returns the traces of the job and of its windows.
func (s *stack) requireAllAnswered(t *testing.T, id string) (traceIDs []string) {
	t.Helper()
	job, outcomes := s.finish(t, id)
	require.Equal(t, manyWindows, job.Counts.Windows)
	require.Equal(t, 2*manyWindows, job.Counts.Answered)
	require.Equal(t, client.StateSucceeded, job.State)
	traceIDs = []string{job.TraceID}
	for _, o := range outcomes {
		require.NotEmpty(t, o.TraceID, "the windows of a large job have traces of their own, whatever died on the way")
		traceIDs = append(traceIDs, o.TraceID)
	}
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
	return traceIDs
}

func TestKillInTheMiddle(t *testing.T) {
	s := tester(t)
	for _, stage := range []string{up.Encoder, up.Projector, up.LLM, up.Gateway, up.Broker} {
		t.Run(stage, func(t *testing.T) {
			job := s.many(t)
			s.reach(t, job.ID, manyWindows/5)
			s.kill(t, stage)
			killed := time.Now()
			require.Less(t, s.ended(t, job.ID), 2*manyWindows, "the job was over before the kill")
			traceIDs := s.requireAllAnswered(t, job.ID)
			s.ready(t)
			if service, ok := serviceOf(stage); ok {
				traces().requireSpanAfter(t, traceIDs, service, killed)
			}
		})
	}
}

// serviceOf is the name of a stage in traces.
func serviceOf(stage string) (service string, ok bool) {
	service, ok = map[string]string{
		up.Chunker: telemetry.ServiceChunker, up.Encoder: telemetry.ServiceEncoder, up.Projector: telemetry.ServiceProjector,
		up.LLM: telemetry.ServiceLLM, up.Gateway: telemetry.ServiceGateway,
	}[stage]
	return service, ok
}

// TestKillChunker kills the chunker while it cuts a track: before the plan is out, nobody else knows of the windows.
func TestKillChunker(t *testing.T) {
	s := tester(t)
	for try := 0; ; try++ {
		require.Less(t, try, 5, "the chunker was always faster than the kill")
		job := s.many(t)
		require.Eventually(t, func() bool {
			return s.metric(t, up.Chunker, "lark_stage_in_flight_records") > 0 || s.planned(t, job.ID)
		}, patience, poll)
		s.kill(t, up.Chunker)
		hit := !s.planned(t, job.ID)
		s.requireAllAnswered(t, job.ID)
		s.ready(t)
		if hit {
			return
		}
	}
}

func (s *stack) planned(t *testing.T, id string) bool {
	t.Helper()
	job, err := s.Get(t.Context(), id)
	require.NoError(t, err)
	return job.Counts.Windows > 0
}

// TestRedisLost takes the hot cache away in the middle: it is a hint, and blobs are the truth.
func TestRedisLost(t *testing.T) {
	if world.redis == nil {
		t.Skip("no redis-server on this machine")
	}
	s := tester(t)
	job := s.many(t)
	s.reach(t, job.ID, manyWindows/5)
	reply, err := world.redis.do(t.Context(), "FLUSHALL")
	require.NoError(t, err)
	require.Equal(t, "+OK", reply)
	s.reach(t, job.ID, manyWindows)
	world.redis.stop()
	t.Cleanup(func() { require.NoError(t, world.redis.start(context.Background())) }) // t.Context has ended by then
	require.Less(t, s.ended(t, job.ID), 2*manyWindows, "the job was over before Redis was")
	s.requireAllAnswered(t, job.ID)
	s.requireWorks(t)
}

// TestNanoSurvivesKills is the same with the real model, on one question a window.
func TestNanoSurvivesKills(t *testing.T) {
	s := start(t, options{data: t.TempDir()})
	job := s.submit(t, melody(seedOf(t), manyWindows), client.Submission{
		Questions: []string{"What is the tempo?"}, Plan: client.PlanExplicit, Spans: spans(manyWindows),
	})
	s.reach(t, job.ID, manyWindows/10)
	s.kill(t, up.Encoder)
	s.kill(t, up.LLM)
	require.Less(t, s.ended(t, job.ID), manyWindows, "the job was over before the kills")
	job, _ = s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
	require.Equal(t, manyWindows, job.Counts.Answered)
}
