package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/shared/event"
)

// indexed makes a run over a source and follows it to its end.
func (s *stack) indexed(t *testing.T, asked client.RunSubmission, src index.Source) client.Run {
	t.Helper()
	run, err := s.CreateRun(t.Context(), asked)
	require.NoError(t, err)
	_, err = index.Filling{Gateway: s.Client}.Fill(t.Context(), run.ID, src)
	require.NoError(t, err)
	_, err = s.MoveRun(t.Context(), run.ID, "start")
	require.NoError(t, err)
	return s.followRun(t, run.ID)
}

// TestTwoRunsOverACatalogueDiffer where its files have: one has other sound, one is broken, one is gone and one is new.
func TestTwoRunsOverACatalogueDiffer(t *testing.T) {
	music := t.TempDir()
	place := func(name string) string { return filepath.Join(music, name+".wav") }
	for i, name := range []string{"same", "other", "broken", "gone"} {
		write(t, place(name), melody(seedOf(t)+uint64(i), 26))
	}
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), "LARK_SOURCES="+music)})
	asked := client.RunSubmission{Name: "before", Questions: []string{"What is the tempo?", "What key is it in?"}}
	before := s.indexed(t, asked, index.Source{Name: music})
	require.Equal(t, client.RunSucceeded, before.State)

	_, _, code := s.lark(t, "index", "diff", "before", before.ID, "--fail-on-change")
	require.Zero(t, code, "a run does not differ from itself")

	write(t, place("other"), melody(seedOf(t)+100, 26))
	write(t, place("broken"), []byte("this is no music\n"))
	write(t, place("new"), melody(seedOf(t)+101, 26))
	require.NoError(t, os.Remove(place("gone")))
	asked.Name = "after"
	after := s.indexed(t, asked, index.Source{Name: music})

	out, _, code := s.lark(t, "index", "diff", "before", "after", "--json", "--fail-on-change")
	require.Equal(t, 1, code)
	var d index.Diff
	require.NoError(t, json.Unmarshal([]byte(out), &d))
	require.Equal(t, []string{before.ID, after.ID}, []string{d.Before, d.After})
	require.Equal(t, client.DiffCounts{Same: 1, Changed: 1, Lost: 1, OnlyBefore: 1, OnlyAfter: 1}, d.Counts)
	require.Len(t, d.Fields, 2)
	for _, f := range d.Fields {
		require.Equal(t, []int{2, 1, 1}, []int{f.Compared, f.Changed, len(f.Examples)}, f.Question)
		e := f.Examples[0]
		require.True(t, e.AudioChanged)
		require.Equal(t, "file://"+place("other"), e.URI)
		require.NotEqual(t, e.Before, e.After)
	}
	kinds := map[string]string{}
	for _, it := range d.Items {
		kinds[it.Kind] = filepath.Base(it.URI) + " " + it.Code
	}
	require.Equal(t, map[string]string{
		client.DiffLost: "broken.wav " + event.CodeAudioUndecodable, client.DiffOnlyBefore: "gone.wav ", client.DiffOnlyAfter: "new.wav ",
	}, kinds)
	text := s.larkOK(t, "index", "diff", "before", "after") // to differ is no fault unless it is said to be
	require.Contains(t, text, "same 1, changed 1, answered no more 1, answered now 0, answered in neither 0, only before 1, only after 1")
}
