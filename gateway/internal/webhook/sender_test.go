package webhook_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/internal/webhook"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// rig is a job store, a receiver, and a sender between them.
type rig struct {
	t    *testing.T
	jobs *store.SQL
	url  string

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, r *http.Request)
	got      []message
	open     int // requests that the receiver has in hand
	openMost int
}

type message struct {
	header http.Header
	path   string
	body   []byte
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }}
	var err error
	r.jobs, err = store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.jobs.Close()) })
	srv := httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *rig) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.got = append(r.got, message{header: req.Header.Clone(), path: req.URL.RequestURI(), body: body})
	r.open++
	r.openMost = max(r.openMost, r.open)
	answer := r.answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
	}()
	answer(w, req)
}

func (r *rig) answering(f func(w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *rig) received() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.got...)
}

// endpoint is a new one of the tenant default.
func (r *rig) endpoint(url string) store.Webhook {
	r.t.Helper()
	signing, err := webhook.NewSigning("")
	require.NoError(r.t, err)
	w, err := r.jobs.CreateWebhook(r.t.Context(), store.Webhook{Tenant: event.TenantDefault, URL: url, Events: []string{"*"}, Signing: []store.Signing{signing}})
	require.NoError(r.t, err)
	return w
}

func (r *rig) test(w store.Webhook) store.Delivery {
	r.t.Helper()
	d, err := r.jobs.TestWebhook(r.t.Context(), w)
	require.NoError(r.t, err)
	return d
}

// quick is a configuration that does not wait long.
func quick() webhook.Config {
	return webhook.Config{Interval: 5 * time.Millisecond, Waits: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}, FirstPause: time.Millisecond}
}

// send runs a sender until stop is called.
func (r *rig) send(cfg webhook.Config, allow ...string) (stop func()) {
	r.t.Helper()
	guard, err := fetch.NewGuard(allow, fetch.Deps{})
	require.NoError(r.t, err)
	s, err := webhook.New(cfg, webhook.Deps{Store: r.jobs, Guard: guard, Metrics: noMetrics{}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
	})
	r.t.Cleanup(stop)
	return stop
}

type noMetrics struct{}

func (noMetrics) Delivered(context.Context, string) {}

// until waits for the newest delivery of an endpoint to come to a state.
func (r *rig) until(w store.Webhook, state string) store.Delivery {
	r.t.Helper()
	var d store.Delivery
	require.Eventually(r.t, func() bool {
		found, err := r.jobs.Deliveries(r.t.Context(), w.ID, "", "", 1)
		require.NoError(r.t, err)
		d = found[0]
		return d.State == state
	}, patience, 5*time.Millisecond)
	return d
}

// TestMessagesAreSigned: the official library takes them, with the old and the new secret while one is replaced, and v1a is a signature of the public key.
func TestMessagesAreSigned(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := r.endpoint(r.url + "/hook?a=b").Signing[0]
	w := r.endpoint(r.url + "/hook?a=b")
	fresh, err := webhook.NewSigning("whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 24))))
	require.NoError(t, err)
	ended, err := webhook.NewSigning("")
	require.NoError(t, err)
	old.UntilMS, ended.UntilMS = time.Now().Add(time.Hour).UnixMilli(), time.Now().Add(-time.Hour).UnixMilli()
	w, err = r.jobs.ChangeWebhook(t.Context(), w.Tenant, w.ID, func(w *store.Webhook) error {
		w.Signing = []store.Signing{fresh, old, ended}
		return nil
	})
	require.NoError(t, err)
	d := r.test(w)
	r.send(quick(), "127.0.0.1")
	done := r.until(w, client.DeliveryDelivered)
	require.Len(t, done.Log, 1)
	require.Equal(t, []any{http.StatusNoContent, ""}, []any{done.Log[0].Status, done.Log[0].Error})

	got := r.received()[0]
	require.Equal(t, []string{d.Message, "application/json", "/hook?a=b"}, []string{got.header.Get("webhook-id"), got.header.Get("Content-Type"), got.path})
	require.Equal(t, d.Body, string(got.body))
	for _, s := range []store.Signing{fresh, old} {
		official, err := standardwebhooks.NewWebhook(s.Secret)
		require.NoError(t, err)
		require.NoError(t, official.Verify(got.body, got.header))
		require.ErrorIs(t, official.Verify(append(got.body, ' '), got.header), standardwebhooks.ErrNoMatchingSignature)
		require.True(t, signedBy(t, s, got))
	}
	official, err := standardwebhooks.NewWebhook(ended.Secret)
	require.NoError(t, err)
	require.ErrorIs(t, official.Verify(got.body, got.header), standardwebhooks.ErrNoMatchingSignature)
	require.False(t, signedBy(t, ended, got))
}

// signedBy checks the v1a signatures of a message against the public key.
func signedBy(t *testing.T, s store.Signing, m message) bool {
	t.Helper()
	text, err := webhook.PublicKey(s)
	require.NoError(t, err)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whpk_"))
	require.NoError(t, err)
	for part := range strings.FieldsSeq(m.header.Get("webhook-signature")) {
		version, signature, _ := strings.Cut(part, ",")
		raw, err := base64.StdEncoding.DecodeString(signature)
		require.NoError(t, err)
		if version == "v1a" && ed25519.Verify(key, []byte(m.header.Get("webhook-id")+"."+m.header.Get("webhook-timestamp")+"."+string(m.body)), raw) {
			return true
		}
	}
	return false
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"x", "whsec_", "whsec_!!", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		_, err := webhook.NewSigning(bad)
		require.ErrorIs(t, err, webhook.ErrSecret, bad)
	}
	a, err := webhook.NewSigning("")
	require.NoError(t, err)
	b, err := webhook.NewSigning("")
	require.NoError(t, err)
	require.NotEqual(t, a.Secret, b.Secret)
	require.NotEqual(t, a.Private, b.Private)
}

// TestWhatFailsIsTriedAgain: the same message with the same id, until it is taken.
func TestWhatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	d := r.test(w)
	n := 0
	r.answering(func(rw http.ResponseWriter, _ *http.Request) {
		switch n++; n {
		case 1:
			rw.WriteHeader(http.StatusInternalServerError)
		case 2:
			rw.Header().Set("Location", "https://elsewhere.example/")
			rw.WriteHeader(http.StatusFound)
		case 3: // reset
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			}
		}
	})
	r.send(quick(), "127.0.0.1")
	done := r.until(w, client.DeliveryDelivered)
	var errs []string
	for _, a := range done.Log {
		errs = append(errs, a.Error)
	}
	require.Equal(t, []string{
		"the endpoint answered 500", "the endpoint answered 302; redirects are not followed: set the URL that it leads to", "the server could not be reached", "",
	}, errs)
	for _, got := range r.received() {
		require.Equal(t, d.Message, got.header.Get("webhook-id"))
		require.Equal(t, d.Body, string(got.body))
	}
	now, err := r.jobs.Webhook(t.Context(), w.Tenant, w.ID)
	require.NoError(t, err)
	require.Zero(t, now.Failures, "a success ends the row of failures")
}

func TestWhatFailsForLongIsGivenUpAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	d := r.test(w)
	r.answering(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	r.send(quick(), "127.0.0.1")
	require.Equal(t, 4, r.until(w, client.DeliveryFailed).Attempts)
	r.answering(func(http.ResponseWriter, *http.Request) {})
	n, err := r.jobs.ReplayDeliveries(t.Context(), w.ID, store.Replay{IDs: []string{d.ID}})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, d.Message, r.until(w, client.DeliveryDelivered).Message)
}

func TestGoneDisablesTheEndpoint(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	ofJobs, err := r.jobs.CreateWebhook(t.Context(), store.Webhook{Tenant: event.TenantDefault, URL: r.url, OfJobs: true, Signing: w.Signing})
	require.NoError(t, err)
	r.answering(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusGone) })
	r.test(w)
	r.test(ofJobs)
	r.send(quick(), "127.0.0.1")
	r.until(w, client.DeliveryFailed)
	r.until(ofJobs, client.DeliveryFailed)
	now, err := r.jobs.Webhook(t.Context(), w.Tenant, w.ID)
	require.NoError(t, err)
	require.Contains(t, now.Disabled, "410")
	now, err = r.jobs.Webhook(t.Context(), w.Tenant, ofJobs.ID)
	require.NoError(t, err)
	require.Empty(t, now.Disabled, "another job's URL may be there")
}

// TestTheGuardHolds: neither a private address nor http without leave is called.
func TestTheGuardHolds(t *testing.T) {
	t.Parallel()
	r := setup(t)
	plain, inside := r.endpoint(r.url), r.endpoint(strings.Replace(r.url, "http:", "https:", 1))
	r.test(plain)
	r.test(inside)
	r.send(quick())
	require.Contains(t, r.until(plain, client.DeliveryFailed).Log[0].Error, "scheme must be https")
	require.Contains(t, r.until(inside, client.DeliveryFailed).Log[0].Error, "not on the public internet")
	require.Empty(t, r.received())
}

// TestASlowEndpointHoldsNothingElseUp: it has so many requests open and no more, and others are told meanwhile.
func TestASlowEndpointHoldsNothingElseUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	slow, other := r.endpoint(r.url+"/slow"), r.endpoint(r.url+"/other")
	release := make(chan struct{})
	r.answering(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			select {
			case <-release:
			case <-req.Context().Done():
			}
		}
	})
	for range 20 {
		r.test(slow)
	}
	cfg := quick()
	cfg.PerEndpoint = 2
	r.send(cfg, "127.0.0.1")
	require.Eventually(t, func() bool { return len(r.received()) == 2 }, patience, time.Millisecond)
	r.test(other)
	r.until(other, client.DeliveryDelivered)
	require.Len(t, r.received(), 3)
	close(release)
	require.Eventually(t, func() bool {
		w, err := r.jobs.Webhook(t.Context(), slow.Tenant, slow.ID)
		require.NoError(t, err)
		return w.Pending == 0
	}, patience, 5*time.Millisecond)
	require.LessOrEqual(t, r.openMost, 3)
}

func TestAnEndpointThatDoesNotAnswerFails(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	r.test(w)
	r.answering(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	cfg := quick()
	cfg.Timeout, cfg.Waits = 20*time.Millisecond, []time.Duration{}
	r.send(cfg, "127.0.0.1")
	require.Equal(t, "the endpoint did not answer in time", r.until(w, client.DeliveryFailed).Log[0].Error)
}

// TestAnEndpointThatIsDownIsLeftAlone: after some failures in a row one delivery at a time is tried, and all are delivered once it is back.
func TestAnEndpointThatIsDownIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	for range 30 {
		r.test(w)
	}
	down := true
	r.answering(func(rw http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if down {
			rw.WriteHeader(http.StatusBadGateway)
		}
	})
	cfg := quick()
	cfg.FirstPause = time.Hour
	cfg.Waits = make([]time.Duration, 100)
	r.send(cfg, "127.0.0.1")
	require.Eventually(t, func() bool {
		now, err := r.jobs.Webhook(t.Context(), w.Tenant, w.ID)
		require.NoError(t, err)
		return !now.Pause.IsZero()
	}, patience, 5*time.Millisecond)
	require.LessOrEqual(t, len(r.received()), 5+3, "those that were in hand, and no more")
	r.mu.Lock()
	down = false
	r.mu.Unlock()
	_, err := r.jobs.ChangeWebhook(t.Context(), w.Tenant, w.ID, func(w *store.Webhook) error { // the pause is over
		w.Pause = time.Time{}
		return nil
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		delivered, err := r.jobs.Deliveries(t.Context(), w.ID, client.DeliveryDelivered, "", 100)
		require.NoError(t, err)
		return len(delivered) == 30
	}, patience, 5*time.Millisecond)
}

// TestTwoSendersSendOnce: and what a dead one had in hand is sent by the other.
func TestTwoSendersSendOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	lost := r.test(w)
	claimed, err := r.jobs.ClaimDeliveries(t.Context(), w.ID, 50*time.Millisecond, 1) // by a gateway that dies then
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	for range 50 {
		r.test(w)
	}
	r.send(quick(), "127.0.0.1")
	r.send(quick(), "127.0.0.1")
	require.Eventually(t, func() bool {
		now, err := r.jobs.Webhook(t.Context(), w.Tenant, w.ID)
		require.NoError(t, err)
		return now.Pending == 0
	}, patience, 5*time.Millisecond)
	seen := make(map[string]int)
	for _, m := range r.received() {
		seen[m.header.Get("webhook-id")]++
	}
	require.Len(t, seen, 51)
	require.Len(t, r.received(), 51)
	require.Contains(t, seen, lost.Message)
}

func TestStoppingLeavesWhatIsInHand(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.endpoint(r.url)
	r.test(w)
	r.answering(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	stop := r.send(quick(), "127.0.0.1")
	require.Eventually(t, func() bool { return len(r.received()) == 1 }, patience, time.Millisecond)
	stop()
	d := r.until(w, client.DeliveryPending)
	require.Empty(t, d.Log)
	now, err := r.jobs.Webhook(t.Context(), w.Tenant, w.ID)
	require.NoError(t, err)
	require.Zero(t, now.Failures, "which is not the endpoint's fault")
}
