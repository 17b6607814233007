package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// hookReceiver is a server of somebody else. It checks every message with the official library.
type hookReceiver struct {
	url string

	mu     sync.Mutex
	secret string // "" = messages are not checked yet
	faults []error
	got    map[string][]client.WebhookMessage // by Webhook-Id, once for each time that it came
	refuse func(times int) int                // status for a message that has come so many times before; 0 = 204
}

func newHookReceiver(t *testing.T) *hookReceiver {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &hookReceiver{url: "http://" + l.Addr().String(), got: map[string][]client.WebhookMessage{}, refuse: func(int) int { return 0 }}
	srv := &http.Server{Handler: http.HandlerFunc(r.receive), ReadHeaderTimeout: patience}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return r
}

func (r *hookReceiver) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	r.mu.Lock()
	defer r.mu.Unlock()
	var m client.WebhookMessage
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err == nil && r.secret != "" {
		var official *standardwebhooks.Webhook
		if official, err = standardwebhooks.NewWebhook(r.secret); err == nil {
			err = official.Verify(body, req.Header)
		}
	}
	if err != nil {
		r.faults = append(r.faults, err)
	}
	id := req.Header.Get(client.HeaderWebhookID)
	status := r.refuse(len(r.got[id]))
	r.got[id] = append(r.got[id], m)
	if status == 0 {
		status = http.StatusNoContent
	}
	w.WriteHeader(status)
}

// subjects counts the messages, each by its id, that tell of a job's end, by job.
func (r *hookReceiver) subjects() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for _, times := range r.got {
		out[times[0].Data.ID]++
	}
	return out
}

func (r *hookReceiver) checked(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.faults)
}

// TestWebhooks: the ends of jobs are told to an endpoint and to the URLs of jobs, once each by id, though the receiver refuses each message at first and
// the gateway is killed while they wait.
func TestWebhooks(t *testing.T) {
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), "LARK_GATEWAY_FETCH_ALLOW=127.0.0.1")})
	tenants, own := newHookReceiver(t), newHookReceiver(t)
	tenants.refuse = func(times int) int {
		if times == 0 {
			return http.StatusInternalServerError
		}
		return 0
	}
	c := s.Client
	w, err := c.CreateWebhook(t.Context(), client.NewWebhook{URL: tenants.url + "/ends", Events: []string{"job.*"}})
	require.NoError(t, err)
	tenants.secret = w.Secret

	want := map[string]int{}
	var endpoint string
	for range 3 {
		job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}, Webhook: &client.JobWebhook{URL: own.url + "/of?job=1"}})
		want[job.ID] = 1
		endpoint = job.Webhook.Endpoint
		s.finish(t, job.ID)
	}
	s.kill(t, up.Gateway)
	s.ready(t)
	require.Eventually(t, func() bool {
		now, err := c.Webhook(t.Context(), w.ID)
		return err == nil && now.Pending == 0
	}, patience, poll)
	require.Equal(t, want, tenants.subjects())
	tenants.checked(t)
	page, err := c.Deliveries(t.Context(), w.ID, client.DeliveryDelivered, "")
	require.NoError(t, err)
	require.Len(t, page.Deliveries, 3)
	require.Eventually(t, func() bool { return len(own.subjects()) == 3 }, patience, poll)
	require.Equal(t, want, own.subjects())

	require.Contains(t, s.larkOK(t, "webhooks", "list"), w.ID)
	require.Contains(t, s.larkOK(t, "webhooks", "deliveries", w.ID, "--state", "delivered"), "answered 204")
	stdout, stderr, code := s.lark(t, "webhooks", "test", w.ID) // whose first attempt is refused
	require.Equal(t, 1, code, "%s%s", stdout, stderr)
	require.Contains(t, stderr, "the endpoint answered 500")

	secrets, err := c.WebhookSecrets(t.Context(), endpoint)
	require.NoError(t, err)
	own.mu.Lock()
	own.secret = secrets.Secrets[0].Secret
	own.mu.Unlock()
	n, err := c.ReplayWebhook(t.Context(), endpoint, client.WebhookReplay{Since: new(time.Time), All: true})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Eventually(t, func() bool {
		own.mu.Lock()
		defer own.mu.Unlock()
		for _, times := range own.got {
			if len(times) < 2 {
				return false
			}
		}
		return true
	}, patience, poll)
	require.Equal(t, want, own.subjects(), "a replayed message is the same message")
	own.checked(t)
}

// told waits for the end of every job to be told.
func (r *hookReceiver) told(ctx context.Context, t *testing.T, jobs map[string]bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		if ctx.Err() != nil {
			return true
		}
		told := r.subjects()
		for id := range jobs {
			if told[id] == 0 {
				return false
			}
		}
		return true
	}, patience, poll)
	for id, n := range r.subjects() {
		require.True(t, jobs[id], "a message of job %s, which is not ours", id)
		require.Equal(t, 1, n, "the end of job %s is told by several messages", id)
	}
	r.checked(t)
}
