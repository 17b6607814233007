package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func newWebhook(t *testing.T, s *store.SQL, events ...string) store.Webhook {
	t.Helper()
	w, err := s.CreateWebhook(t.Context(), store.Webhook{Tenant: event.TenantDefault, URL: "https://hook.example/a", Events: events, Signing: []store.Signing{{Secret: "s", Private: "p"}}})
	require.NoError(t, err)
	return w
}

func deliveries(t *testing.T, s *store.SQL, w store.Webhook) []store.Delivery {
	t.Helper()
	found, err := s.Deliveries(t.Context(), w.ID, "", "", 100)
	require.NoError(t, err)
	return found
}

// ended makes a job of one question and ends it in a state.
func ended(t *testing.T, s *store.SQL, job store.Job, state eventpb.State, code string) {
	t.Helper()
	create(t, s, job)
	answer(t, s, job.ID, state, code)
}

func TestWebhooksAreKept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		w := newWebhook(t, s, "job.*", "run.failed")
		got, err := s.Webhook(ctx, event.TenantDefault, w.ID)
		require.NoError(t, err)
		require.Equal(t, w, got)
		_, err = s.Webhook(ctx, "other", w.ID)
		require.ErrorIs(t, err, store.ErrNoWebhook)
		got, err = s.ChangeWebhook(ctx, event.TenantDefault, w.ID, func(w *store.Webhook) error {
			w.URL, w.Events = "https://hook.example/b", []string{"*"}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []any{"https://hook.example/b", []string{"*"}}, []any{got.URL, got.Events})
		_, err = s.ChangeWebhook(ctx, "other", w.ID, func(*store.Webhook) error { return nil })
		require.ErrorIs(t, err, store.ErrNoWebhook)
		_, err = s.CreateWebhook(ctx, store.Webhook{Tenant: "nobody"})
		require.ErrorIs(t, err, store.ErrNoTenant)

		ofJobs := store.Webhook{Tenant: event.TenantDefault, URL: "https://jobs.example", OfJobs: true, Events: []string{"job.*"}}
		first, err := s.CreateWebhook(ctx, ofJobs)
		require.NoError(t, err)
		again, err := s.CreateWebhook(ctx, ofJobs)
		require.NoError(t, err)
		require.Equal(t, first.ID, again.ID, "one for all URLs of the same scheme and host")
		for i := range store.MaxWebhooks - 2 {
			_, err = s.CreateWebhook(ctx, store.Webhook{Tenant: event.TenantDefault, URL: fmt.Sprint("https://x.example/", i), Events: []string{"*"}})
			require.NoError(t, err)
		}
		_, err = s.CreateWebhook(ctx, store.Webhook{Tenant: event.TenantDefault, URL: "https://one.too.many"})
		require.ErrorIs(t, err, store.ErrTooManyWebhooks)
		again, err = s.CreateWebhook(ctx, ofJobs)
		require.NoError(t, err, "which is there already")
		require.Equal(t, first.ID, again.ID)
		list, err := s.Webhooks(ctx, event.TenantDefault, "", 100)
		require.NoError(t, err)
		require.Len(t, list, store.MaxWebhooks)
		rest, err := s.Webhooks(ctx, event.TenantDefault, list[47].ID, 100)
		require.NoError(t, err)
		require.Len(t, rest, 2)
		for _, want := range []bool{true, false} {
			deleted, err := s.DeleteWebhook(ctx, event.TenantDefault, w.ID)
			require.NoError(t, err)
			require.Equal(t, want, deleted)
		}
	})
}

// TestEveryEndIsTold: a message is there as soon as its job has ended, once, at each endpoint that wants it.
func TestEveryEndIsTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		all, failures, runs := newWebhook(t, s, "*"), newWebhook(t, s, "job.failed"), newWebhook(t, s, "run.*")
		_, err := s.CreateTenant(t.Context(), store.Tenant{Name: "other"})
		require.NoError(t, err)
		theirs, err := s.CreateWebhook(t.Context(), store.Webhook{Tenant: "other", URL: "https://other.example", Events: []string{"*"}})
		require.NoError(t, err)
		own, err := s.CreateWebhook(t.Context(), store.Webhook{Tenant: event.TenantDefault, URL: "https://jobs.example", OfJobs: true, Events: []string{"job.*"}})
		require.NoError(t, err)

		good := newJob("good", "q")
		good.Labels = map[string]string{"a": "b"}
		good.Hook = &client.JobWebhook{URL: "https://jobs.example/good?x=1", Endpoint: own.ID}
		ended(t, s, good, eventpb.State_STATE_ANSWERED, "")
		answer(t, s, "good", eventpb.State_STATE_ANSWERED, "") // recorded again
		bad := newJob("bad", "q")
		bad.Hook = &client.JobWebhook{URL: "https://jobs.example/bad", Endpoint: own.ID, Events: []string{"job.succeeded"}}
		ended(t, s, bad, eventpb.State_STATE_FAILED, event.CodeEngineError)

		ofBatch := newJob("of-batch", "q")
		ofBatch.BatchID = "batch_1"
		ended(t, s, ofBatch, eventpb.State_STATE_ANSWERED, "")

		told := deliveries(t, s, all)
		require.Len(t, told, 2, "and not the end of each job of a batch")
		require.Equal(t, []string{"job.failed", "bad", "job.succeeded", "good"}, []string{told[0].Event, told[0].Subject, told[1].Event, told[1].Subject}, "newest first")
		var message client.WebhookMessage
		require.NoError(t, json.Unmarshal([]byte(told[1].Body), &message))
		require.Equal(t, client.WebhookData{ID: "good", State: "succeeded", Labels: good.Labels, Links: &client.WebhookLinks{Self: "/v1/jobs/good", Outcomes: "/v1/jobs/good/outcomes"}}, message.Data)
		require.Equal(t, "job.succeeded", message.Type)
		require.Equal(t, []any{client.DeliveryPending, 0, all.URL}, []any{told[1].State, told[1].Attempts, told[1].URL})
		only := deliveries(t, s, failures)
		require.Len(t, only, 1)
		require.Equal(t, told[0].Message, only[0].Message, "one message, whoever gets it")
		require.Empty(t, deliveries(t, s, runs))
		require.Empty(t, deliveries(t, s, theirs))
		mine := deliveries(t, s, own)
		require.Len(t, mine, 1, "of the ends that the job wanted to be told")
		require.Equal(t, "https://jobs.example/good?x=1", mine[0].URL)
		got, err := s.Get(t.Context(), "good")
		require.NoError(t, err)
		require.Equal(t, good.Hook, got.Hook)

		require.NoError(t, s.AllowSupersede(t.Context(), "bad", "me"))
		answer(t, s, "bad", eventpb.State_STATE_ANSWERED, "")
		told = deliveries(t, s, all)
		require.Equal(t, []string{"job.succeeded", "bad"}, []string{told[0].Event, told[0].Subject}, "it has ended otherwise than was told")
	})
}

// TestRunsAreToldOfAndNotTheirJobs.
func TestRunsAreToldOfAndNotTheirJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		w := newWebhook(t, s, "*")
		newRun(t, s, "r1")
		_, err := s.StartItems(ctx, "r1", []store.ItemStart{{N: 1, SHA256: "00ff", Bytes: 7, Job: itemJob("j1")}, {N: 2, SHA256: "00ff", Bytes: 7, Job: itemJob("j2")}},
			[]store.ItemEnd{{N: 3, State: store.ItemFailed, Code: event.CodeSourceMissing}}, client.TenantLimits{})
		require.NoError(t, err)
		job, err := s.Get(ctx, "j1")
		require.NoError(t, err)
		require.Equal(t, "r1", job.RunID)
		_, err = s.PauseRun(ctx, "r1", "")
		require.NoError(t, err)
		_, err = s.ResumeRun(ctx, "r1")
		require.NoError(t, err)
		_, err = s.PauseRun(ctx, "r1", "too many failures")
		require.NoError(t, err)
		_, err = s.ResumeRun(ctx, "r1")
		require.NoError(t, err)
		answer(t, s, "j1", eventpb.State_STATE_ANSWERED, "")
		answer(t, s, "j2", eventpb.State_STATE_ANSWERED, "")
		require.Equal(t, 2, settleRun(t, s, "r1"))
		for range 2 {
			_, err = s.FinishRun(ctx, "r1")
			require.NoError(t, err)
		}
		told := deliveries(t, s, w)
		require.Len(t, told, 2)
		require.Equal(t, []string{"run.partial", "r1", "run.paused", "r1"}, []string{told[0].Event, told[0].Subject, told[1].Event, told[1].Subject})
		var message client.WebhookMessage
		require.NoError(t, json.Unmarshal([]byte(told[1].Body), &message))
		require.Equal(t, client.WebhookData{ID: "r1", Name: "albums", State: "paused", Reason: "too many failures", Links: &client.WebhookLinks{Self: "/v1/runs/r1", Items: "/v1/runs/r1/items"}}, message.Data)
	})
}

// TestADeliveryIsHeldByOneGatewayAtATime.
func TestADeliveryIsHeldByOneGatewayAtATime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		w := newWebhook(t, s, "*")
		for range 3 {
			_, err := s.TestWebhook(ctx, w)
			require.NoError(t, err)
		}
		due, err := s.DueWebhooks(ctx, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		mine, err := s.ClaimDeliveries(ctx, w.ID, time.Hour, 2)
		require.NoError(t, err)
		slices.SortFunc(mine, func(a, b store.Delivery) int { return strings.Compare(a.ID, b.ID) })
		theirs, err := s.ClaimDeliveries(ctx, w.ID, time.Nanosecond, 2)
		require.NoError(t, err)
		require.Equal(t, []int{2, 1}, []int{len(mine), len(theirs)})
		require.NotContains(t, mine, theirs[0])

		var again []store.Delivery
		require.Eventually(t, func() bool { // its lease passes
			again, err = s.ClaimDeliveries(ctx, w.ID, time.Hour, 2)
			return err != nil || len(again) > 0
		}, time.Minute, time.Millisecond)
		require.NoError(t, err)
		require.Len(t, again, 1)
		require.Equal(t, []any{theirs[0].ID, theirs[0].Message, 2}, []any{again[0].ID, again[0].Message, again[0].Attempts})

		none := func(int, time.Time) (time.Duration, string) { return 0, "" }
		failed := client.DeliveryAttempt{At: created, Status: 500, Error: "the endpoint answered 500"}
		require.NoError(t, s.SettleDelivery(ctx, theirs[0], store.DeliveryResult{Attempt: failed, Pause: none}))
		require.Equal(t, client.DeliveryPending, deliveries(t, s, w)[0].State, "whose lease has passed decides no more that it has failed")
		require.NoError(t, s.SettleDelivery(ctx, theirs[0], store.DeliveryResult{Attempt: client.DeliveryAttempt{Status: 200}, Delivered: true, Pause: none}))
		require.Equal(t, client.DeliveryDelivered, deliveries(t, s, w)[0].State, "but a message that was taken was taken")
		require.NoError(t, s.SettleDelivery(ctx, mine[0], store.DeliveryResult{Attempt: failed, Again: time.Now().Add(time.Hour), Pause: none}))
		d := deliveries(t, s, w)[2]
		require.Equal(t, []any{client.DeliveryPending, []client.DeliveryAttempt{failed}}, []any{d.State, d.Log})
		require.NoError(t, s.SettleDelivery(ctx, mine[1], store.DeliveryResult{Attempt: failed, Pause: none}))
		require.Equal(t, client.DeliveryFailed, deliveries(t, s, w)[1].State)
		now, err := s.Webhook(ctx, event.TenantDefault, w.ID)
		require.NoError(t, err)
		require.Equal(t, []int{2, 1}, []int{now.Failures, now.Pending})

		n, err := s.ReplayDeliveries(ctx, w.ID, store.Replay{Until: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Equal(t, 1, n, "the failed one")
		n, err = s.ReplayDeliveries(ctx, w.ID, store.Replay{Until: time.Now().Add(time.Hour), Delivered: true})
		require.NoError(t, err)
		require.Equal(t, 1, n, "the delivered one too")
		n, err = s.ReplayDeliveries(ctx, w.ID, store.Replay{IDs: []string{mine[1].Message}})
		require.NoError(t, err)
		require.Zero(t, n, "it is pending already")
		require.Equal(t, mine[1].Message, deliveries(t, s, w)[1].Message)
		n, err = s.ReplayDeliveries(ctx, w.ID, store.Replay{Until: created})
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// TestAFailingEndpointPausesAndEnds: nothing of it is due during a pause; once it is disabled, what is pending has failed and can be replayed.
func TestAFailingEndpointPausesAndEnds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		w := newWebhook(t, s, "*")
		for range 2 {
			_, err := s.TestWebhook(ctx, w)
			require.NoError(t, err)
		}
		claimed, err := s.ClaimDeliveries(ctx, w.ID, time.Hour, 1)
		require.NoError(t, err)
		fail := func(pause time.Duration, disable string) {
			t.Helper()
			require.NoError(t, s.SettleDelivery(ctx, claimed[0], store.DeliveryResult{Again: time.Now(), Pause: func(failures int, since time.Time) (time.Duration, string) {
				require.Positive(t, failures)
				require.WithinDuration(t, time.Now(), since, time.Minute)
				return pause, disable
			}}))
		}
		fail(time.Hour, "")
		due, err := s.DueWebhooks(ctx, 10)
		require.NoError(t, err)
		require.Empty(t, due)
		b, err := s.WebhookBacklog(ctx)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), b.Oldest, time.Minute)
		b.Oldest = time.Time{}
		require.Equal(t, store.WebhookBacklog{Pending: 2, Failing: 1}, b, "what a failing endpoint is to be told is not due")
		fail(0, "gone")
		b, err = s.WebhookBacklog(ctx)
		require.NoError(t, err)
		require.Equal(t, store.WebhookBacklog{Disabled: 1}, b)
		now, err := s.Webhook(ctx, event.TenantDefault, w.ID)
		require.NoError(t, err)
		require.Equal(t, []any{"gone", 0}, []any{now.Disabled, now.Pending})
		ended(t, s, newJob("j", "q"), eventpb.State_STATE_ANSWERED, "")
		require.Len(t, deliveries(t, s, w), 2, "it is told nothing more")
		_, err = s.ChangeWebhook(ctx, event.TenantDefault, w.ID, func(w *store.Webhook) error {
			w.Disabled, w.Failures, w.Pause = "", 0, time.Time{}
			return nil
		})
		require.NoError(t, err)
		n, err := s.ReplayDeliveries(ctx, w.ID, store.Replay{Until: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		forgotten, err := s.ForgetDeliveries(ctx, time.Now().Add(time.Hour), 10)
		require.NoError(t, err)
		require.Zero(t, forgotten, "pending ones stay")
		_, err = s.ChangeWebhook(ctx, event.TenantDefault, w.ID, func(w *store.Webhook) error {
			w.Disabled = store.DisabledByOwner
			return nil
		})
		require.NoError(t, err)
		b, err = s.WebhookBacklog(ctx)
		require.NoError(t, err)
		require.Equal(t, store.WebhookBacklog{}, b, "its owner knows")
		forgotten, err = s.ForgetDeliveries(ctx, time.Now().Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 2, forgotten)
	})
}

// TestTheBacklogOfWebhooks: a delivery is due from its time on, and not while a gateway has it in hand.
func TestTheBacklogOfWebhooks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx, now := t.Context(), created
		s.SetNow(func() time.Time { return now })
		backlog := func() store.WebhookBacklog {
			t.Helper()
			b, err := s.WebhookBacklog(ctx)
			require.NoError(t, err)
			b.Oldest, b.Due = b.Oldest.UTC(), b.Due.UTC()
			return b
		}
		require.Equal(t, store.WebhookBacklog{}, backlog())
		first, second := newWebhook(t, s, "*"), newWebhook(t, s, "*")
		for i, w := range []store.Webhook{first, second} {
			now = created.Add(time.Duration(i) * time.Minute)
			_, err := s.TestWebhook(ctx, w)
			require.NoError(t, err)
		}
		now = created.Add(time.Hour)
		require.Equal(t, store.WebhookBacklog{Pending: 2, Oldest: created, Due: created}, backlog())
		claimed, err := s.ClaimDeliveries(ctx, first.ID, time.Minute, 10)
		require.NoError(t, err)
		require.Equal(t, store.WebhookBacklog{Pending: 2, Oldest: created, Due: created.Add(time.Minute)}, backlog(), "the first is in hand")
		require.NoError(t, s.SettleDelivery(ctx, claimed[0], store.DeliveryResult{Delivered: true}))
		require.Equal(t, store.WebhookBacklog{Pending: 1, Oldest: created.Add(time.Minute), Due: created.Add(time.Minute)}, backlog())
		claimed, err = s.ClaimDeliveries(ctx, second.ID, time.Minute, 10)
		require.NoError(t, err)
		require.Equal(t, store.WebhookBacklog{Pending: 1, Oldest: created.Add(time.Minute)}, backlog(), "nothing is due before the lease ends")
		require.Len(t, claimed, 1)
		now = now.Add(2 * time.Minute)
		require.Equal(t, created.Add(time.Hour+time.Minute), backlog().Due, "whoever had it is dead")
	})
}
