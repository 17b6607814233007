package bench

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// smallJobs is how many jobs the small tenant has, of a window each, as the large tenant's have.
const smallJobs = 10

// TenantsRound is what a small tenant waits beside a large one in a lane.
type TenantsRound struct {
	Lane string `json:"lane"`
	// Jobs of the large tenant, of one window each, were submitted before the small tenant's.
	Jobs int `json:"jobs"`
	// AloneS and BesideS are from the small tenant's first submission to its last answer, without and with the large tenant.
	AloneS  float64 `json:"alone_s"`
	BesideS float64 `json:"beside_s"`
}

// tenants measures both lanes.
func (l *lanes) tenants(ctx context.Context) error {
	for _, lane := range []string{event.LaneInteractive, event.LaneBulk} {
		l.Progress(fmt.Sprintf("two tenants in lane %s: %d jobs and %d", lane, l.TenantJobs, smallJobs))
		r, err := l.tenantsIn(ctx, lane)
		if err != nil {
			return fmt.Errorf("measuring two tenants in lane %s: %w", lane, err)
		}
		l.report.Tenants = append(l.report.Tenants, r)
	}
	return nil
}

func (l *lanes) tenantsIn(ctx context.Context, lane string) (TenantsRound, error) {
	l.stacks++
	key := "lk_bench_" + strings.Repeat("0123456789abcdef", 4) // opens nothing but this system, which ends with the measurement
	env := append(l.environment(""), "LARK_ADMIN_KEY="+key, "LARK_GATEWAY_LIMITS_TENANT_WINDOWS="+strconv.Itoa(l.TenantWindows), "LARK_GATEWAY_LIMITS_MAX_OPEN_JOBS=1000000")
	stack, err := l.Start(ctx, filepath.Join(l.dir, "data"+strconv.Itoa(l.stacks)), env)
	if err != nil {
		return TenantsRound{}, err
	}
	defer stack.Stop(context.WithoutCancel(ctx))
	gw, err := client.New(stack.GatewayURL(), nil)
	if err != nil {
		return TenantsRound{}, err
	}
	admin := gw.WithToken(key)
	large, largeRef, err := newTenant(ctx, gw, admin, "large", 1)
	if err != nil {
		return TenantsRound{}, err
	}
	small, smallRef, err := newTenant(ctx, gw, admin, "small", 2)
	if err != nil {
		return TenantsRound{}, err
	}
	r := TenantsRound{Lane: lane, Jobs: l.TenantJobs}
	if r.AloneS, err = lastAnswer(ctx, small, smallRef, lane, 0); err != nil {
		return TenantsRound{}, err
	}
	first, err := submitSingles(ctx, large, largeRef, lane, 0, l.TenantJobs)
	if err != nil {
		return TenantsRound{}, err
	}
	if _, _, err := large.Wait(ctx, first[begun], nil); err != nil { // every stage is busy then
		return TenantsRound{}, err
	}
	if r.BesideS, err = lastAnswer(ctx, small, smallRef, lane, smallJobs); err != nil {
		return TenantsRound{}, err
	}
	last, err := large.Get(ctx, first[len(first)-1])
	if err == nil && client.Terminal(last.State) {
		err = fmt.Errorf("the large tenant's %d jobs were done before the small tenant's: it needs more", l.TenantJobs)
	}
	return r, err
}

// newTenant makes a tenant with a track of its own and returns its client and the track.
func newTenant(ctx context.Context, gw, admin *client.Client, name string, number int) (*client.Client, string, error) {
	if _, err := admin.CreateTenant(ctx, client.NewTenant{Name: name}); err != nil {
		return nil, "", err
	}
	made, err := admin.CreateKey(ctx, client.NewKey{Tenant: name, Scopes: []string{"jobs:read", "jobs:write"}})
	if err != nil {
		return nil, "", err
	}
	c := gw.WithToken(made.Secret)
	job, err := c.Submit(ctx, client.Submission{Questions: Questions()[:1]}, &client.Upload{Name: "tone.wav", Reader: bytes.NewReader(tone(number, trackSeconds))}, client.SubmitOptions{})
	if err != nil {
		return nil, "", err
	}
	_, _, err = c.Wait(ctx, job.ID, nil)
	return c, job.Audio.SHA256, err
}

// submitSingles submits n jobs of a window each, from window number first on, and returns their ids.
func submitSingles(ctx context.Context, gw *client.Client, ref, lane string, first, n int) ([]string, error) {
	ids := make([]string, n)
	jobs, ctx := errgroup.WithContext(ctx)
	jobs.SetLimit(submitting)
	for i := range ids {
		jobs.Go(func() error {
			k := first + i
			job, err := gw.Submit(ctx, client.Submission{
				Questions: Questions()[:1], AudioRef: ref, Plan: client.PlanExplicit, Spans: catalogueSpans(k / trackWindows)[k%trackWindows : k%trackWindows+1], Options: client.Options{Lane: lane},
			}, nil, client.SubmitOptions{})
			ids[i] = job.ID
			return err
		})
	}
	return ids, jobs.Wait()
}

// lastAnswer submits the small tenant's jobs and returns how long it took until the last of them had ended.
func lastAnswer(ctx context.Context, gw *client.Client, ref, lane string, first int) (float64, error) {
	began := time.Now()
	ids, err := submitSingles(ctx, gw, ref, lane, first, smallJobs)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, _, err := gw.Wait(ctx, id, nil); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds(), nil
}
