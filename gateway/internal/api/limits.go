package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// maxBuckets bounds the tenants whose rates are remembered. A tenant whose bucket is forgotten begins with a full one.
const maxBuckets = 10_000

// rates holds a token bucket for each tenant: so many requests a second, with a reserve of as many.
type rates struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newRates() *rates { return &rates{buckets: make(map[string]*bucket)} }

// take takes a token of a tenant with that many requests a second. It returns how many are left, and how long until there is one if there is none.
func (r *rates) take(tenant string, perS float64, now time.Time) (left float64, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := math.Max(1, perS)
	b := r.buckets[tenant]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			clear(r.buckets)
		}
		b = &bucket{tokens: most, at: now}
		r.buckets[tenant] = b
	}
	b.tokens = math.Min(most, b.tokens+now.Sub(b.at).Seconds()*perS)
	b.at = now
	if b.tokens < 1 {
		return 0, time.Duration((1 - b.tokens) / perS * float64(time.Second))
	}
	b.tokens--
	return b.tokens, 0
}

// limited bounds the rate of a tenant's requests. The headers are those of the IETF's draft, draft-ietf-httpapi-ratelimit-headers-10.
func (a *API) limited(ctx huma.Context, next func(huma.Context)) {
	t := auth.From(ctx.Context()).Tenant
	perS := t.Limits.RequestsPerS
	if perS <= 0 {
		next(ctx)
		return
	}
	left, wait := a.rates.take(t.Name, perS, a.now())
	reset := int(math.Ceil(wait.Seconds()))
	ctx.SetHeader("RateLimit-Policy", fmt.Sprintf(`"requests";q=%d;w=1`, int(math.Max(1, perS))))
	ctx.SetHeader("RateLimit", fmt.Sprintf(`"requests";r=%d;t=%d`, int(left), max(1, reset)))
	if wait == 0 {
		next(ctx)
		return
	}
	_, w := humago.Unwrap(ctx)
	w.Header().Set("Retry-After", strconv.Itoa(max(1, reset)))
	p := problem(http.StatusTooManyRequests, codeRateLimited, "your tenant may send %g requests a second", perS)
	p.Retryable, p.TraceID = true, telemetry.TraceID(ctx.Context())
	writeProblem(w, p)
}

// limitProblem tells which limit of the tenant a job would pass, or is nil.
func (a *API) limitProblem(err error) error {
	var limit *store.LimitError
	if !errors.As(err, &limit) {
		return nil
	}
	after := 5 // until some of its jobs have ended
	if limit.Name == "audio_s_per_day" || limit.Name == "upload_bytes_per_day" {
		now := a.now().UTC()
		after = int(now.Truncate(24*time.Hour).Add(24*time.Hour).Sub(now).Seconds()) + 1
	}
	p := problem(http.StatusTooManyRequests, codeTenantLimit, "your tenant is at its limit %s of %g", limit.Name, limit.Most)
	p.Retryable = true
	return huma.ErrorWithHeaders(p, http.Header{
		"Retry-After":      {strconv.Itoa(after)},
		"Ratelimit-Policy": {fmt.Sprintf(`"%s";q=%.0f`, limit.Name, limit.Most)}, "Ratelimit": {fmt.Sprintf(`"%s";r=0;t=%d`, limit.Name, after)},
	})
}

// withinLimits refuses a submission before its body is read, if it would be refused anyway.
func (a *API) withinLimits(ctx context.Context, bytes int64) error {
	t := auth.From(ctx).Tenant
	if !store.Counted(t.Limits) {
		return nil
	}
	used, err := a.deps.Admin.Usage(ctx, t.Name, a.now())
	if err != nil {
		return err
	}
	return used.Check(t.Limits, 1, max(1, bytes))
}

type limitsOutput struct{ Body client.LimitsStatus }

func (a *API) registerLimits() {
	op := a.operation("get-limits", http.MethodGet, "/v1/limits", "Get the limits of your tenant", "With what has been used of them. A limit of 0 is not set.")
	op.Tags = []string{"limits"}
	huma.Register(a.huma, op, func(ctx context.Context, _ *struct{}) (*limitsOutput, error) {
		t := auth.From(ctx).Tenant
		used, err := a.deps.Admin.Usage(ctx, t.Name, a.now())
		if err != nil {
			return nil, a.fail(ctx, err)
		}
		return &limitsOutput{Body: client.LimitsStatus{
			Tenant: t.Name, Limits: t.Limits,
			Used: client.TenantUsage{AudioSToday: used.AudioS, UploadBytesToday: used.UploadBytes, WindowsInFlight: used.Windows, OpenJobs: used.OpenJobs},
		}}, nil
	})
}
