package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// begin starts a run of one question over a source.
func (s *stack) begin(t *testing.T, name, source string) {
	t.Helper()
	s.larkOK(t, "index", "run", source, "What is the tempo?", "--name", name, "--detach")
}

// reaches waits until a run is as wanted, and requires that nothing of it fails meanwhile.
func (s *stack) reaches(t *testing.T, name, what string, wanted func(client.Run) bool) {
	t.Helper()
	var last client.Run
	require.Eventually(t, func() bool {
		run, err := s.Run(t.Context(), name)
		require.NoError(t, err)
		require.Zero(t, run.Counts.Failed)
		last = run
		return wanted(run)
	}, patience, poll, "%s", what)
	t.Logf("%s: %d of %d items have ended; %s", what, last.Counts.Ended(), last.Items, last.Reason)
}

// allSucceed waits for a run's end.
func (s *stack) allSucceed(t *testing.T, name string, items int) {
	t.Helper()
	run := s.followRun(t, name)
	require.Equal(t, []int{items, items, items}, []int{run.Counts.Succeeded, run.Work.Encoded, run.Work.Answers})
	require.Empty(t, run.Reason)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}

// TestARunWaitsForItsBucket: the store of the audio goes away in the middle of a run. The run says so, fails nothing, and goes on.
func TestARunWaitsForItsBucket(t *testing.T) {
	onlyEmbedded(t)
	const items = 8
	objects := map[string][]byte{}
	for i := range items {
		objects[fmt.Sprintf("music/%d.wav", i)] = melody(seedOf(t)+uint64(i), 2)
	}
	b := startBucket(t, objects)
	s := start(t, options{data: t.TempDir(), env: append(append(testEngines(), bucketKeys()...), "LARK_SOURCES="+b.at("music"), "LARK_GATEWAY_RUNS_IN_FLIGHT=2")})
	s.begin(t, "bucket", b.at("music"))
	s.reaches(t, "bucket", "works", func(r client.Run) bool { return r.Counts.Ended() > 0 })
	b.away.Store(true)
	s.reaches(t, "bucket", "waits", func(r client.Run) bool { return strings.Contains(r.Reason, "waiting: ") })
	b.away.Store(false)
	s.allSucceed(t, "bucket", items)
}

// TestARunWaitsForTheDisk: the disk of the object store fills up. The chunker waits, the run says that nothing ends, and goes on when there is room.
func TestARunWaitsForTheDisk(t *testing.T) {
	onlyEmbedded(t)
	if out, err := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("this machine lets nobody mount a small disk: %v: %s", err, out)
	}
	const items, diskMB = 6, 64
	music, data := t.TempDir(), t.TempDir()
	for i := range items {
		write(t, filepath.Join(music, fmt.Sprintf("%d.wav", i)), melody(seedOf(t)+uint64(i), 26))
	}
	require.NoError(t, os.Mkdir(filepath.Join(data, "blobs"), 0o700))
	s := start(t, options{data: data, blobsMB: diskMB, env: append(testEngines(), "LARK_SOURCES="+music, "LARK_GATEWAY_RUNS_STALLED_AFTER=1s")})
	filler := filepath.Join("/proc", strconv.Itoa(s.pid(up.Gateway)), "root", data, "blobs", "filler")
	write(t, filler, make([]byte, diskMB<<20-1<<20))
	s.begin(t, "disk", music)
	require.Eventually(t, func() bool { return s.metric(t, up.Chunker, "lark_stage_paused") == 1 }, patience, poll, "the chunker waits for room")
	s.reaches(t, "disk", "waits", func(r client.Run) bool { return strings.Contains(r.Reason, "waiting: no item has ended since") })
	require.NoError(t, os.Remove(filler))
	s.allSucceed(t, "disk", items)
}

// TestARunOutlivesRedis: Redis goes in the middle of a run and comes back empty. It is a hint; nothing is encoded twice.
func TestARunOutlivesRedis(t *testing.T) {
	if world.redis == nil {
		t.Skip("no redis-server on this machine")
	}
	const items = 8
	music := t.TempDir()
	for i := range items {
		write(t, filepath.Join(music, fmt.Sprintf("%d.wav", i)), melody(seedOf(t)+uint64(i), 2))
	}
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), "LARK_SOURCES="+music, "LARK_GATEWAY_RUNS_IN_FLIGHT=2")})
	s.begin(t, "redis", music)
	s.reaches(t, "redis", "works", func(r client.Run) bool { return r.Counts.Ended() > 0 })
	world.redis.stop()
	t.Cleanup(func() { require.NoError(t, world.redis.start(context.Background())) }) // t.Context has ended by then
	s.allSucceed(t, "redis", items)
}
