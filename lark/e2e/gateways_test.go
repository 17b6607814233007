package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// balancer sends requests to one of several gateways and to the next when that one fails, as a load balancer does.
type balancer struct {
	mu    sync.Mutex
	addrs []string
	at    int
}

func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	b.mu.Lock()
	at := b.at
	b.mu.Unlock()
	out := req.Clone(req.Context())
	out.URL.Host, out.Host = b.addrs[at], b.addrs[at]
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		b.mu.Lock()
		if b.at == at {
			b.at = (at + 1) % len(b.addrs)
		}
		b.mu.Unlock()
	}
	return resp, err
}

// balanced talks to gateway number first for as long as it can.
func (s *stack) balanced(t *testing.T, first int) *client.Client {
	t.Helper()
	b := &balancer{at: first, addrs: []string{s.addr(gatewayName(0)), s.addr(gatewayName(1))}}
	c, err := client.New("http://gateways.invalid", &http.Client{Transport: b})
	require.NoError(t, err)
	return c.WithToken(adminKey())
}

// streamed is a job that is followed from its beginning.
type streamed struct {
	id       string
	outcomes map[string]int
	err      error
}

// follow submits a job, again until one of the gateways takes it, and follows it to its end.
func follow(ctx context.Context, c *client.Client, key string, sub client.Submission, seen func()) (s streamed) {
	s.outcomes = map[string]int{}
	for {
		job, err := c.Submit(ctx, sub, nil, client.SubmitOptions{IdempotencyKey: key})
		if err == nil {
			s.id = job.ID
			break
		}
		if p, ok := client.AsProblem(err); ctx.Err() != nil || (ok && !p.Retryable) {
			s.err = err
			return s
		}
		select {
		case <-ctx.Done():
		case <-time.After(poll):
		}
	}
	s.err = c.Events(ctx, s.id, "", func(ev client.Event) error {
		if ev.Outcome != nil {
			s.outcomes[ev.Outcome.ID]++
			seen()
		}
		return nil
	})
	return s
}

// onlyWithSeveralGateways ends a test where gateways have no Kafka and no PostgreSQL that all of them reach.
func onlyWithSeveralGateways(t *testing.T) {
	t.Helper()
	if world.kafka == nil || world.postgres == nil {
		t.Skip("two gateways need a Kafka and a PostgreSQL that both reach; see make test-integration")
	}
}

// TestTwoGateways kills one of two gateways and then the other while they take in 200 jobs and tell of them: every question has one outcome, whoever
// submits again with the same key gets the same job, and every stream goes on at the other gateway.
func TestTwoGateways(t *testing.T) {
	onlyWithSeveralGateways(t)
	database, err := world.postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	s := start(t, options{
		data: t.TempDir(), database: database, gateways: 2,
		env: []string{"LARK_ENCODER_ENGINE=test", "LARK_LLM_ENGINE=test", "LARK_LLM_TEST_DELAY=10ms", "LARK_GATEWAY_LIMITS_INTERACTIVE_WINDOWS=40", "LARK_GATEWAY_FETCH_ALLOW=127.0.0.1"},
	})
	hooks := newHookReceiver(t)
	w, err := s.balanced(t, 0).CreateWebhook(t.Context(), client.NewWebhook{URL: hooks.url, Events: []string{"job.*"}})
	require.NoError(t, err)
	hooks.secret = w.Secret
	track := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}})
	s.finish(t, track.ID)

	sub := client.Submission{AudioRef: track.Audio.SHA256, Questions: manyQuestions(), Plan: client.PlanExplicit, Spans: spans(2)}
	const jobs = 200
	ctx, cancel := context.WithTimeout(t.Context(), killPatience)
	defer cancel()
	outcomes := make(chan struct{}, 4*jobs)
	results := make([]streamed, jobs)
	var wg sync.WaitGroup
	turns := make(chan struct{}, 32) // so that jobs are submitted during the whole test
	for i := range jobs {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			results[i] = follow(ctx, s.balanced(t, i%2), fmt.Sprint("job-", i), sub, func() { outcomes <- struct{}{} })
		})
	}
	take := func(n int) {
		for range n {
			select {
			case <-outcomes:
			case <-ctx.Done():
				require.NoError(t, ctx.Err(), "no outcomes come")
			}
		}
	}
	for n := range 2 {
		take(jobs)
		s.kill(t, gatewayName(n))
		require.Eventually(t, func() bool { return readyAt(t.Context(), s.addr(gatewayName(n))) == nil }, patience, poll)
	}
	wg.Wait()
	ids := map[string]bool{}
	for i, r := range results {
		require.NoError(t, r.err, "job %d", i)
		ids[r.id] = true
		require.Len(t, r.outcomes, 4, "job %s at its stream", r.id)
		for id, n := range r.outcomes {
			require.Equal(t, 1, n, "outcome %s was told twice", id)
		}
	}
	require.Len(t, ids, jobs)
	c := s.balanced(t, 0)
	for id := range ids {
		job, err := c.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, client.StateSucceeded, job.State, id)
		found, err := c.Outcomes(t.Context(), id)
		require.NoError(t, err)
		requireWhole(t, job, found)
	}
	ids[track.ID] = true
	require.Equal(t, ids, everyJob(t, c), "a job was made twice, or is not listed")
	hooks.told(ctx, t, ids)
	for n := range 2 {
		require.Zero(t, s.metric(t, gatewayName(n), "lark_ledger_imbalance"))
	}
}

// everyJob holds the ids of all jobs.
func everyJob(t *testing.T, c *client.Client) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for opts := (client.ListOptions{Limit: 100}); ; {
		page, err := c.List(t.Context(), opts)
		require.NoError(t, err)
		for _, job := range page.Jobs {
			ids[job.ID] = true
		}
		if page.Next == nil {
			return ids
		}
		opts.Cursor = *page.Next
	}
}

// TestDatabaseLost stops PostgreSQL in the middle of a job: submissions are refused for now, the stages go on, the outcomes wait, and nothing is lost.
func TestDatabaseLost(t *testing.T) {
	if world.kafka == nil || world.postgres == nil {
		t.Skip("needs a Kafka and a PostgreSQL; see make test-integration")
	}
	database, err := world.postgres.NewDatabase(t.Context())
	require.NoError(t, err)
	s := start(t, options{data: t.TempDir(), database: database, env: testEngines()})
	job := s.many(t)
	s.reach(t, job.ID, manyWindows/5)
	require.NoError(t, world.postgres.Stop())
	running := false
	t.Cleanup(func() {
		if !running {
			require.NoError(t, world.postgres.Run(context.Background())) // t.Context has ended by then
		}
	})
	var p *client.Problem
	require.Eventually(t, func() bool {
		_, err := s.Submit(t.Context(), client.Submission{AudioRef: job.Audio.SHA256, Questions: manyQuestions()}, nil, client.SubmitOptions{})
		return errors.As(err, &p) && p.Status == http.StatusServiceUnavailable
	}, patience, poll)
	codes := []string{"store_unavailable"}
	if adminKey() != "" {
		codes = append(codes, "auth_unavailable") // whose key it is stands in the database too, and is remembered for some seconds
	}
	require.Contains(t, codes, p.Code)
	require.True(t, p.Retryable)
	require.Error(t, readyAt(t.Context(), s.addr(up.Gateway)))
	require.Eventually(t, func() bool {
		return s.metric(t, up.LLM, "lark_stage_records_total", `result="ok"`) >= manyWindows
	}, killPatience, poll, "the stages go on without the database")

	require.NoError(t, world.postgres.Run(t.Context()))
	running = true
	s.requireAllAnswered(t, job.ID)
	s.requireWorks(t)
	s.ready(t)
}
