package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// TestACatalogueIsIndexed runs a catalogue with good and broken items, kills the gateway and the stages in the middle, and reconciles everything: each
// item has one state with the right reason, no window is encoded twice, and the export holds what the ledger holds.
func TestACatalogueIsIndexed(t *testing.T) {
	music := t.TempDir()
	want := map[string]string{} // code by id, "" for success
	const good = 12
	for i := range good {
		name := fmt.Sprintf("album %d/%02d ü#%%.wav", i%3, i)
		write(t, filepath.Join(music, name), melody(seedOf(t)+uint64(i), 26))
		want[name] = ""
	}
	write(t, filepath.Join(music, "empty.wav"), nil)
	write(t, filepath.Join(music, "text.mp3"), []byte("this is no music\n"))
	write(t, filepath.Join(music, "short.wav"), melody(1, 1)[:5000])
	require.NoError(t, os.Symlink("nowhere", filepath.Join(music, "dangling.flac")))
	require.NoError(t, os.Symlink("loop.flac", filepath.Join(music, "loop.flac")))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(music, "outside.mp3")))
	for name, code := range map[string]string{
		"empty.wav": event.CodeAudioEmpty, "text.mp3": event.CodeAudioUndecodable, "short.wav": event.CodeAudioTooShort,
		"dangling.flac": event.CodeSourceMissing, "loop.flac": event.CodeSourceUnreadable, "outside.mp3": event.CodeSourceUnreadable,
	} {
		want[name] = code
	}

	opts := options{data: t.TempDir(), env: append(testEngines(), "LARK_SOURCES="+music)}
	s := start(t, opts)
	asked := client.RunSubmission{Name: "albums", Questions: []string{"What is the tempo?", "What key is it in?"}}
	src := index.Source{Name: music}
	planning := index.Planning{Filling: index.Filling{Gateway: s.Client}, Asked: asked, ReadBytes: -1}
	plan, err := planning.Run(t.Context(), src)
	require.NoError(t, err)
	require.Equal(t, []int{len(want), good, good, 2 * good, 0, 0}, []int{plan.Items, plan.Good, plan.Windows, plan.Answers, plan.WindowsKnown, plan.AnswersKnown})
	require.Nil(t, plan.Estimate, "nothing was measured yet")
	jobs, err := s.List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, jobs.Jobs, "a plan makes no job")
	run, err := s.CreateRun(t.Context(), asked)
	require.NoError(t, err)
	filled, err := index.Filling{Gateway: s.Client}.Fill(t.Context(), run.ID, src)
	require.NoError(t, err)
	require.Equal(t, len(want), filled.Items)
	_, err = s.MoveRun(t.Context(), "albums", "start")
	require.NoError(t, err)
	for _, stage := range []string{up.Gateway, up.Chunker, up.Encoder, up.LLM} {
		s.kill(t, stage)
		s.ready(t)
	}
	run = s.followRun(t, "albums")
	require.Equal(t, client.RunPartial, run.State)
	require.Equal(t, []int{good, len(want) - good}, []int{run.Counts.Succeeded, run.Counts.Failed})
	require.Equal(t, good, run.Work.Windows)
	require.Equal(t, 2*good, run.Work.Answers)
	require.NoError(t, index.EachItem(t.Context(), s.Client, run.ID, "", false, func(it client.RunItem) error {
		id, ok := strings.CutPrefix(it.URI, "file://"+music+"/")
		require.True(t, ok)
		require.Equal(t, want[unescape(t, id)], it.Code, "%s: %s", it.ID, it.Message)
		require.NotContains(t, it.Message, music)
		return nil
	}))

	out := t.TempDir()
	m, err := index.Export{Gateway: s.Client, Format: "parquet", Dir: out, PartRows: 10}.Run(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, map[string]int{client.StateSucceeded: good, client.StateFailed: len(want) - good}, m.States)
	tracks, err := parquet.ReadFile[index.Track](filepath.Join(out, "tracks-00000.parquet"))
	require.NoError(t, err)
	require.Len(t, tracks, 10)
	v, err := index.Verify(t.Context(), s.Client, run, &src, out)
	require.NoError(t, err)
	require.Empty(t, v.Differences)
	write(t, filepath.Join(out, "tracks-00001.parquet"), []byte("damaged"))
	v, err = index.Verify(t.Context(), s.Client, run, &src, out)
	require.NoError(t, err)
	require.Len(t, v.Differences, 1)

	// A plan of the same and one more question knows what the run has left.
	planning.Asked.Questions = append(planning.Asked.Questions, "What is played?")
	plan, err = planning.Run(t.Context(), src)
	require.NoError(t, err)
	require.Equal(t, []int{good, good, 3 * good, 2 * good}, []int{plan.Windows, plan.WindowsKnown, plan.Answers, plan.AnswersKnown})
	require.NotNil(t, plan.Estimate)
	require.Zero(t, plan.Estimate.EncoderS)

	// What has not changed is skipped; what has is asked again; nothing that is known is encoded.
	write(t, filepath.Join(music, "text.mp3"), melody(seedOf(t), 26))
	second, err := s.CreateRun(t.Context(), client.RunSubmission{Questions: run.Asked.Questions, ChangedSince: "albums"})
	require.NoError(t, err)
	_, err = index.Filling{Gateway: s.Client}.Fill(t.Context(), second.ID, src)
	require.NoError(t, err)
	_, err = s.MoveRun(t.Context(), second.ID, "start")
	require.NoError(t, err)
	second = s.followRun(t, second.ID)
	require.Equal(t, []int{good, 1, len(want) - good - 1}, []int{second.Counts.Skipped, second.Counts.Succeeded, second.Counts.Failed})
	require.Zero(t, second.Work.Encoded, "the track was known under another name")

	// A run that is cancelled ends every item.
	third, err := s.CreateRun(t.Context(), client.RunSubmission{Questions: []string{"q"}})
	require.NoError(t, err)
	_, err = index.Filling{Gateway: s.Client}.Fill(t.Context(), third.ID, src)
	require.NoError(t, err)
	for _, verb := range []string{"start", "cancel"} {
		_, err = s.MoveRun(t.Context(), third.ID, verb)
		require.NoError(t, err)
	}
	third = s.followRun(t, third.ID)
	require.Equal(t, client.RunCancelled, third.State)
	require.Equal(t, third.Items, third.Counts.Ended())
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}

func (s *stack) followRun(t *testing.T, id string) client.Run {
	t.Helper()
	run, err := index.Follow(t.Context(), s.Client, id, func(client.Run) {}, func(error) {})
	require.NoError(t, err)
	return run
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func unescape(t *testing.T, path string) string {
	t.Helper()
	text, err := url.PathUnescape(path)
	require.NoError(t, err)
	return text
}
