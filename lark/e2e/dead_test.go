package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// lostWindows is the size of a job whose audio disappears while it is worked on.
const lostWindows = 60

// TestDeadLettersAreSentBack: the object store loses a track and its windows while a catalogue's job on it runs, and gets the track back. What
// had failed is sent back with the leave of the job's owner and answered; the failures are kept.
func TestDeadLettersAreSentBack(t *testing.T) {
	s := tester(t)
	job := s.submit(t, melody(seedOf(t), lostWindows), client.Submission{
		Questions: []string{"What is the tempo?"}, Plan: client.PlanExplicit, Spans: spans(lostWindows), Options: client.Options{Lane: event.LaneBulk},
	})
	s.reach(t, job.ID, 3)
	restore := s.loseAudio(t, job.Audio.SHA256)
	job, outcomes := s.finish(t, job.ID)
	require.Equal(t, client.StatePartial, job.State)
	failed := job.Counts.Failed
	for _, o := range outcomes {
		if o.State != client.OutcomeAnswered {
			require.Equal(t, event.CodeAudioMissing, o.Error.Code)
		}
	}

	letters := jsonLines[client.DeadLetter](t, s.larkOK(t, "dead", "list", "--job", job.ID, "--json", "--limit", "1000"))
	require.Len(t, letters, failed)
	for _, d := range letters {
		require.Equal(t, []string{event.CodeAudioMissing, "lark.jobs.bulk.v1"}, []string{d.Reason, d.OriginTopic})
	}
	redrive := []string{"dead", "redrive", "--job", job.ID, "--rate", "1000"}
	stdout, stderr, code := s.lark(t, redrive...)
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "refused (not_allowed)")
	require.Contains(t, stdout, "0 sent back")

	restore()
	require.Contains(t, s.larkOK(t, "jobs", "supersede", job.ID), "may be replaced")
	s.larkOK(t, redrive...)
	require.Eventually(t, func() bool {
		now, err := s.Get(t.Context(), job.ID)
		return err == nil && now.State == client.StateSucceeded
	}, patience, poll)
	job, _ = s.finish(t, job.ID)
	require.Equal(t, lostWindows, job.Counts.Answered)
	replaced, err := s.Superseded(t.Context(), job.ID)
	require.NoError(t, err)
	require.Len(t, replaced, failed)
	by := map[int]bool{}
	for _, r := range replaced {
		require.Equal(t, event.CodeAudioMissing, r.Outcome.Error.Code)
		require.Greater(t, r.SupersededBy, r.Seq)
		by[r.SupersededBy] = true
	}
	require.Len(t, by, failed, "each has an answer of its own in its place")
	require.Empty(t, s.larkOK(t, "dead", "list", "--job", job.ID))
	require.Len(t, jsonLines[client.DeadLetter](t, s.larkOK(t, "dead", "list", "--job", job.ID, "--all", "--json", "--limit", "1000")), failed)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}

// loseAudio takes a track and the windows of all tracks out of the object store; restore brings the track back.
func (s *stack) loseAudio(t *testing.T, sha256 string) (restore func()) {
	t.Helper()
	blobs := filepath.Join(s.opts.data, "blobs")
	track := filepath.Join(blobs, filepath.FromSlash(event.AudioKey(sha256)))
	away := filepath.Join(t.TempDir(), "track")
	require.NoError(t, os.Rename(track, away))
	windows := filepath.Join(blobs, filepath.FromSlash(event.PCMKey("")))
	entries, err := os.ReadDir(windows)
	require.NoError(t, err)
	for _, e := range entries {
		if err := os.Remove(filepath.Join(windows, e.Name())); !errors.Is(err, os.ErrNotExist) { // the encoder may have been done with it
			require.NoError(t, err)
		}
	}
	return func() { require.NoError(t, os.Rename(away, track)) }
}

// lark runs a command that asks the installation's gateway.
func (s *stack) lark(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(world.bin, "lark"), append(args, "--server", s.gateway())...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.environ(), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// larkOK is lark for a command that succeeds.
func (s *stack) larkOK(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := s.lark(t, args...)
	require.Zero(t, code, "%s%s", stdout, stderr)
	return stdout
}

// jsonLines reads one object from each line.
func jsonLines[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v T
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		all = append(all, v)
	}
	return all
}
