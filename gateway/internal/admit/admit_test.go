package admit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/admit"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an admitter and what it has told.
type rig struct {
	*admit.Admitter
	published int
	waiting   map[string]int
	log       bytes.Buffer
}

func (r *rig) Waiting(_ context.Context, lane string, jobs int) { r.waiting[lane] = jobs }

func newRig(t *testing.T, cfg admit.Config, s admit.Store) *rig {
	t.Helper()
	r := &rig{waiting: make(map[string]int)}
	var err error
	r.Admitter, err = admit.New(cfg, admit.Deps{
		Store: s, Published: func() { r.published++ }, Metrics: r, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	require.NoError(t, err)
	return r
}

func job(id, lane string) store.Job {
	return store.NewJob(event.TenantDefault, event.JobSpec{
		ID: id, Audio: event.AudioFile{SHA256: fmt.Sprintf("%064x", 1)}, Questions: []string{"q"}, Plan: event.PlanAuto, Created: time.Now(),
		Options: event.Options{Lane: lane},
	}, "")
}

// TestJobsGoToKafkaAsTheLaneHasRoom: on the real store, the record is the job's own, in its lane.
func TestJobsGoToKafkaAsTheLaneHasRoom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := store.Open(ctx, storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const most = 2
	for i := range 4 {
		require.NoError(t, s.Create(ctx, job(fmt.Sprint("j", i), event.LaneBulk), nil, store.CreateOptions{MaxWindows: most}))
	}
	r := newRig(t, admit.Config{Windows: map[string]int{event.LaneBulk: 3}, Interval: time.Millisecond, Idle: time.Hour}, s)
	wait, err := r.Once(ctx)
	require.NoError(t, err)
	require.Equal(t, time.Millisecond, wait, "another job waits")
	require.Equal(t, 1, r.published)
	require.Equal(t, map[string]int{event.LaneBulk: 2, event.LaneInteractive: 0}, r.waiting)
	pending, err := s.Pending(ctx, 10)
	require.NoError(t, err)
	require.Len(t, pending, 1, "Create wrote none")
	require.Equal(t, "lark.jobs.bulk.v1", pending[0].Record.Topic)
	require.Equal(t, "j2", pending[0].Record.Key)

	_, err = r.Once(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, r.published, "there is no room")
	_, err = s.Cancel(ctx, "j3", nil, nil)
	require.NoError(t, err)
	wait, err = r.Once(ctx)
	require.NoError(t, err)
	require.Equal(t, time.Hour, wait, "nobody waits")
}

// stub is a store with so many jobs that wait, and a fault.
type stub struct {
	mu     sync.Mutex
	jobs   int
	fault  error
	rounds int
	admits int
}

func (s *stub) Waiting(context.Context, string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds++
	return s.jobs, s.fault
}

func (s *stub) Admit(_ context.Context, a store.Admission) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Lane == event.LaneBulk {
		return 0, nil
	}
	n := min(s.jobs, a.Limit)
	s.jobs -= n
	s.admits++
	return n, nil
}

func TestRunGoesOnWhileThereIsRoomAndWakesForNewJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stub{jobs: 5}
		r := newRig(t, admit.Config{Batch: 2, Interval: time.Minute, Idle: time.Hour}, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, 3, s.admits, "full rounds follow at once")
		s.mu.Lock()
		s.jobs = 1
		s.mu.Unlock()
		r.Wake()
		synctest.Wait()
		require.Equal(t, 4, s.admits)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestAStoreThatFailsIsTriedAgainAndToldOfOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stub{fault: errors.New("disk full")}
		r := newRig(t, admit.Config{}, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		<-time.After(time.Second) // of the test's clock
		cancel()
		require.NoError(t, <-done)
		require.Greater(t, s.rounds, 4)
		require.Equal(t, 1, bytes.Count(r.log.Bytes(), []byte("disk full\\ndisk full")), r.log.String())
	})
}

func TestNewRefusesMissingDependencies(t *testing.T) {
	t.Parallel()
	_, err := admit.New(admit.Config{}, admit.Deps{})
	require.Error(t, err)
}
