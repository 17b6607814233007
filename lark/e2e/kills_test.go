package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// killPatience is how long a job may take after kills: sessions of the dead run out, what was in hand is tried alone, and a job of which a record is
// lost is published again.
const killPatience = 10 * time.Minute

// TestKillsAtRandomMoments kills processes with kill -9, one after another, and asks of each job that all of its questions end once.
// LARK_CHAOS_KILLS is how many kills; `make chaos` sets it. LARK_CHAOS_TIME, such as 1h, begins no further job after so long. LARK_CHAOS_SEED repeats
// a run's choices, though not its moments.
func TestKillsAtRandomMoments(t *testing.T) {
	kills, err := strconv.Atoi(os.Getenv("LARK_CHAOS_KILLS"))
	if err != nil || kills < 1 {
		t.Skip("LARK_CHAOS_KILLS is not set; see make chaos")
	}
	seed, err := strconv.ParseUint(os.Getenv("LARK_CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("LARK_CHAOS_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := tester(t)
	victims := append(workStages(), up.Gateway)
	if os.Getenv("LARK_E2E_KAFKA") == "" {
		victims = append(victims, up.Broker)
	}
	begun, limit := time.Now(), killTime(t)
	for done := 0; done < kills && (limit == 0 || time.Since(begun) < limit); {
		s.ready(t)
		job := s.many(t)
		for range 1 + random.IntN(5) {
			s.reach(t, job.ID, random.IntN(manyWindows)) // a moment that the work itself decides
			s.killUnless(t, victims[random.IntN(len(victims))])
			if done++; done == kills {
				break
			}
		}
		s.requireOneEach(t, job.ID)
		t.Logf("%d of %d kills", done, kills)
	}
}

// killTime is the time for all kills, 0 for as long as they take.
func killTime(t *testing.T) time.Duration {
	t.Helper()
	text, set := os.LookupEnv("LARK_CHAOS_TIME")
	if !set || text == "" {
		return 0
	}
	limit, err := time.ParseDuration(text)
	require.NoError(t, err, "LARK_CHAOS_TIME")
	return limit
}

// killUnless kills the process of a stage if one runs at this moment: the one before may not have been replaced yet.
func (s *stack) killUnless(t *testing.T, stage string) {
	t.Helper()
	if pid := s.pid(stage); pid > 0 {
		err := syscall.Kill(pid, syscall.SIGKILL)
		require.Truef(t, err == nil || errors.Is(err, syscall.ESRCH), "killing %s: %v", stage, err)
	}
}

// requireOneEach waits for the end of a job and checks that every question of every window has ended once. A window that was in hand at
// three deaths may end as crashed_stage; every other answer must be there.
func (s *stack) requireOneEach(t *testing.T, id string) {
	t.Helper()
	require.Eventually(t, func() bool { return s.ended(t, id) == len(manyQuestions())*manyWindows }, killPatience, poll, "job %s has not ended", id)
	job, outcomes := s.finish(t, id)
	require.Equal(t, manyWindows, job.Counts.Windows)
	for _, o := range outcomes {
		if o.State != client.OutcomeAnswered {
			require.Equal(t, "crashed_stage", o.Error.Code, o.Error.Message)
		}
	}
	s.ready(t)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
