package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/fetch"
)

// threeDays are the waits that Standard Webhooks proposes.
var threeDays = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// jitter is the most that a wait is shortened or lengthened by, so that what failed together is not tried together.
	jitter = 0.1
	// maxAnswer is how much of an answer's body is read.
	maxAnswer = 4 << 10
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = 24 * time.Hour

	// breakAfter is how many failures in a row make an endpoint pause: one delivery is then tried at a time, and longestPause first pauses lie between.
	breakAfter   = 5
	longestPause = 40
	// giveUpAfter is how long an endpoint may fail without one success before it is disabled.
	giveUpAfter = 5 * 24 * time.Hour
)

// Store is the part of the job store that a Sender uses; *store.SQL is one.
type Store interface {
	DueWebhooks(ctx context.Context, limit int) ([]store.Webhook, error)
	ClaimDeliveries(ctx context.Context, endpoint string, lease time.Duration, limit int) ([]store.Delivery, error)
	SettleDelivery(ctx context.Context, d store.Delivery, res store.DeliveryResult) error
}

var _ Store = (*store.SQL)(nil)

// Metrics of deliveries; *telemetry.WebhookMetrics is one.
type Metrics interface {
	Delivered(ctx context.Context, result string)
}

// Config of a Sender; zero values mean the defaults.
type Config struct {
	// Interval is how often the store is asked for due deliveries; default 1 s.
	Interval time.Duration
	// Timeout of one request, its answer included; default 20 s.
	Timeout time.Duration
	// InFlight is how many requests are open at once, PerTenant of one tenant and PerEndpoint of one endpoint; default 64, 16 and 4.
	InFlight, PerTenant, PerEndpoint int
	// Waits lie between the attempts of a delivery; default about three days in all.
	Waits []time.Duration
	// FirstPause is how long nothing is sent to an endpoint that has failed five times in a row; each further failure doubles it, up to 40 times.
	// Default 15 s.
	FirstPause time.Duration
}

func (c *Config) setDefaults() {
	c.Interval, c.Timeout, c.FirstPause = cmp.Or(c.Interval, time.Second), cmp.Or(c.Timeout, 20*time.Second), cmp.Or(c.FirstPause, 15*time.Second)
	c.InFlight, c.PerTenant, c.PerEndpoint = cmp.Or(c.InFlight, 64), cmp.Or(c.PerTenant, 16), cmp.Or(c.PerEndpoint, 4)
	if c.Waits == nil {
		c.Waits = threeDays
	}
}

// Deps of a Sender.
type Deps struct {
	Store   Store
	Guard   *fetch.Guard
	Metrics Metrics
	Log     *slog.Logger
	// Transport carries the requests; nil takes the guard's.
	Transport http.RoundTripper
	// Now tells the time of day; nil takes the machine's clock.
	Now func() time.Time
	// Random gives random numbers of 64 bits for jitter; nil takes the process's generator.
	Random func() uint64
}

// Sender delivers what is due. Run it in one goroutine; any number of gateways may run one.
type Sender struct {
	cfg    Config
	deps   Deps
	client *http.Client

	// Requests that are open, in all, by tenant and by endpoint. Run alone uses them.
	open                    int
	openTenant, openWebhook map[string]int
	done                    chan store.Webhook
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Sender, error) {
	if deps.Store == nil || deps.Guard == nil || deps.Metrics == nil || deps.Log == nil {
		return nil, errors.New("making webhook sender: every dependency is required")
	}
	cfg.setDefaults()
	if deps.Transport == nil {
		deps.Transport = deps.Guard.Transport()
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Random == nil {
		deps.Random = rand.Uint64
	}
	return &Sender{
		cfg: cfg, deps: deps, openTenant: make(map[string]int), openWebhook: make(map[string]int), done: make(chan store.Webhook),
		client: &http.Client{
			Transport:     deps.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Run delivers until ctx ends, then waits for the requests that are open, which end with ctx.
func (s *Sender) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		more, err := s.begin(ctx)
		if err != nil && ctx.Err() == nil {
			s.deps.Log.WarnContext(ctx, "webhooks wait because the job store does not answer; the next round tries again", slog.Any("error", err))
		}
		s.wait(ctx, ticker, more)
	}
	for s.open > 0 {
		s.free(<-s.done)
	}
	return nil
}

// wait returns when it is worth looking for due deliveries again: at the next tick, or as soon as a place is free if more are due than there were
// places for.
func (s *Sender) wait(ctx context.Context, ticker *time.Ticker, more bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			return
		case w := <-s.done:
			if s.free(w); more {
				return
			}
		}
	}
}

func (s *Sender) free(w store.Webhook) {
	s.open--
	for _, count := range []struct {
		of  map[string]int
		key string
	}{{s.openTenant, w.Tenant}, {s.openWebhook, w.ID}} {
		if count.of[count.key]--; count.of[count.key] == 0 {
			delete(count.of, count.key)
		}
	}
}

// begin starts what is due as far as there are places, and tells whether more may be due than there were places for.
func (s *Sender) begin(ctx context.Context) (more bool, err error) {
	due, err := s.deps.Store.DueWebhooks(ctx, 10*s.cfg.InFlight)
	if err != nil {
		return false, err
	}
	for _, w := range due {
		places := min(s.cfg.PerEndpoint-s.openWebhook[w.ID], s.cfg.PerTenant-s.openTenant[w.Tenant], s.cfg.InFlight-s.open)
		if w.Failures >= breakAfter {
			places = min(places, 1-s.openWebhook[w.ID]) // to see whether it is back
		}
		if places <= 0 {
			more = true
			continue
		}
		claimed, err := s.deps.Store.ClaimDeliveries(ctx, w.ID, s.lease(), places)
		if err != nil {
			return more, err
		}
		more = more || len(claimed) == places
		for _, d := range claimed {
			s.open++
			s.openTenant[w.Tenant]++
			s.openWebhook[w.ID]++
			go func() {
				s.deliver(ctx, w, d)
				s.done <- w
			}()
		}
	}
	return more, nil
}

// lease outlasts a request and the noting of its end.
func (s *Sender) lease() time.Duration { return 3*s.cfg.Timeout + s.cfg.Interval }

// deliver makes one attempt and notes how it went. What cannot be noted is delivered again when its lease has passed.
func (s *Sender) deliver(ctx context.Context, w store.Webhook, d store.Delivery) {
	begun := s.deps.Now()
	status, after, err := s.request(ctx, w, d, begun)
	if ctx.Err() != nil {
		return // the gateway stops: somebody else delivers it when the lease has passed
	}
	res := store.DeliveryResult{
		Delivered: err == nil, Pause: s.pause,
		Attempt: client.DeliveryAttempt{At: begun.UTC().Truncate(time.Millisecond), TookMS: s.deps.Now().Sub(begun).Milliseconds(), Status: status},
	}
	if err != nil {
		res.Attempt.Error = err.Error()
		switch {
		case status == http.StatusGone:
			if !w.OfJobs { // another URL of the same host may be there still
				res.Disable = "the endpoint answered 410 Gone; enable it when it is back, and replay what has failed"
			}
		case d.Attempts <= len(s.cfg.Waits):
			res.Again = s.deps.Now().Add(max(after, s.jittered(s.cfg.Waits[d.Attempts-1])))
		}
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	if err := s.deps.Store.SettleDelivery(bound, d, res); err != nil {
		s.deps.Log.WarnContext(ctx, "a webhook was tried and the result could not be noted; it is tried again", slog.String("delivery", d.ID), slog.Any("error", err))
	}
	s.deps.Metrics.Delivered(ctx, resultOf(res))
}

func resultOf(res store.DeliveryResult) string {
	switch {
	case res.Delivered:
		return "delivered"
	case res.Again.IsZero():
		return "given_up"
	}
	return "failed"
}

// request posts a message. The error says in a few words why the attempt failed; after is how long the receiver wants to be left alone.
func (s *Sender) request(ctx context.Context, w store.Webhook, d store.Delivery, now time.Time) (status int, after time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeout, fetch.ErrTimeout)
	defer cancel()
	if _, err := s.deps.Guard.Check(d.URL); err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, strings.NewReader(d.Body))
	if err != nil {
		return 0, 0, fetch.ErrInvalidURL
	}
	signed, err := signatures(w.Signing, d.Message, now, d.Body)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "larkstream-webhooks")
	req.Header.Set(client.HeaderWebhookID, d.Message)
	req.Header.Set(client.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(client.HeaderWebhookSignature, signed)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, 0, words(fetch.Fault(ctx, err))
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the status has told everything
	_ = resp.Body.Close()
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return code, 0, nil
	case code >= 300 && code < 400:
		return code, 0, fmt.Errorf("the endpoint answered %d; redirects are not followed: set the URL that it leads to", code)
	default:
		return code, retryAfter(resp.Header), fmt.Errorf("the endpoint answered %d", code)
	}
}

// words say of a webhook what fetch says of a download.
func words(err error) error {
	switch {
	case errors.Is(err, fetch.ErrBlocked):
		return errors.New("the URL leads to an address that is not on the public internet")
	case errors.Is(err, fetch.ErrTimeout):
		return errors.New("the endpoint did not answer in time")
	case errors.Is(err, fetch.ErrUnreachable):
		return errors.New(strings.TrimPrefix(err.Error(), fetch.ErrUnreachable.Error()+": "))
	}
	return err
}

func retryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxRetryAfter)
}

func (s *Sender) jittered(d time.Duration) time.Duration {
	const unit = 1 << 53
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*float64(s.deps.Random()%unit)/unit))
}

// pause is the circuit breaker of an endpoint.
func (s *Sender) pause(failures int, since time.Time) (pause time.Duration, disable string) {
	if s.deps.Now().Sub(since) > giveUpAfter {
		return 0, "no delivery has succeeded for five days; enable it when it is back, and replay what has failed"
	}
	if failures < breakAfter {
		return 0, ""
	}
	return s.cfg.FirstPause * time.Duration(min(longestPause, 1<<min(failures-breakAfter, 10))), ""
}
