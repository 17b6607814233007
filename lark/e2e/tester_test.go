package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// traces receives what the tester installation sends.
var traces = sync.OnceValue(startReceiver)

// tester is the installation with test engines that most tests share: each looks at its own jobs only. It runs until a test
// starts an installation of its own, since two of them cannot share the topics of one Kafka.
func tester(t *testing.T) *stack {
	t.Helper()
	if world.tester == nil {
		dir := filepath.Join(world.dir, "tester")
		require.NoError(t, os.MkdirAll(dir, 0o750))
		s, err := launch(t.Context(), options{data: dir, env: append(testEngines(), traces().env()...)})
		require.NoError(t, err)
		world.tester = s
	}
	s := world.tester
	t.Cleanup(func() {
		if t.Failed() {
			s.showLogs(t)
		}
	})
	return s
}

// parkTester stops the tester; its next user starts it again on the same data.
func parkTester() {
	if world.tester != nil {
		world.tester.halt()
		world.tester = nil
	}
}

// requireWorks asks one question about a track and checks that it is answered.
func (s *stack) requireWorks(t *testing.T) {
	t.Helper()
	job := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}})
	job, _ = s.finish(t, job.ID)
	require.Equal(t, client.StateSucceeded, job.State)
}

// seedOf is a seed for audio that no other test has put into the cache.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	return lastSeed.Add(1)
}

var lastSeed atomic.Uint64
