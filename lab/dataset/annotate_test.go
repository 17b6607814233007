package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/mir"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// TestMain plays the annotating command where a test asks for it.
func TestMain(m *testing.M) {
	if kind := os.Getenv("LARK_TEST_TOOL"); kind != "" {
		playTool(kind)
		return
	}
	goleak.VerifyTestMain(m)
}

func playTool(kind string) {
	dec, enc := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r toolRequest
		if err := dec.Decode(&r); err != nil || kind == "ends" {
			return
		}
		if kind == "talks" {
			_, _ = os.Stdout.WriteString("Loading the model ...\n")
			continue
		}
		_ = enc.Encode(map[string]any{"tempo_in_beats_per_minute_madmom": 120.5, "key": "A minor", "heard": []float64{r.Start, r.End}})
	}
}

const demoSong = "../../models/demo/larksong.mp3"

// songs makes a set of the demo song's two parts, a missing clip and a file that is no audio.
func songs(t *testing.T) *Set {
	t.Helper()
	song, err := filepath.Abs(demoSong)
	require.NoError(t, err)
	bad := filepath.Join(t.TempDir(), "bad.wav")
	require.NoError(t, os.WriteFile(bad, []byte("no audio"), 0o600))
	return setOf(t, Clip{ID: "songs/a", Track: "a", Artist: "x", Audio: song, Span: Span{0, 12}}, Clip{ID: "songs/gone", Track: "gone", Missing: "the video was removed"},
		Clip{ID: "songs/b", Track: "b", Artist: "y", Audio: song, Span: Span{4, 12}}, Clip{ID: "songs/bad", Track: "bad", Audio: bad, Span: Span{0, 4}},
		Clip{ID: "songs/late", Track: "late", Audio: song, Span: Span{1000, 1020}})
}

// setOf makes a set of clips.
func setOf(t *testing.T, clips ...Clip) *Set {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "songs"), 0o750))
	book, err := openLedger(filepath.Join(dir, "songs", clipsFile))
	require.NoError(t, err)
	for _, c := range clips {
		c.Dataset, c.Licence = "songs", "Apache-2.0"
		require.NoError(t, book.write(c))
	}
	require.NoError(t, book.close())
	s, err := Open(dir)
	require.NoError(t, err)
	return s
}

func annotations(t *testing.T, s *Set) map[string]annotation {
	t.Helper()
	out := map[string]annotation{}
	for a, err := range rows[annotation](s.path("songs", stepAnnotate+".jsonl")) {
		require.NoError(t, err)
		require.NotContains(t, out, a.Clip)
		out[a.Clip] = a
	}
	return out
}

func TestAnnotate(t *testing.T) {
	t.Parallel()
	s := songs(t)
	tally, err := Annotate(t.Context(), s, AnnotateConfig{RunOptions: RunOptions{Jobs: 2}})
	require.NoError(t, err)
	require.Equal(t, Tally{Clips: 5, Failed: 2, Missing: 1}, tally)
	got := annotations(t, s)
	require.Equal(t, outcome{"songs/gone", stateMissing, "the video was removed"}, got["songs/gone"].outcome)
	require.Contains(t, got["songs/late"].Reason, "before the clip starts")
	require.Equal(t, stateFailed, got["songs/bad"].State)

	a, b := got["songs/a"], got["songs/b"]
	require.InDelta(t, 12, a.Seconds, 1e-9)
	require.InDelta(t, 8, b.Seconds, 1e-9)
	for _, field := range []string{facts.Tempo + facts.Ours, facts.Beats + facts.Ours, facts.Chords, facts.Key, facts.Loudness} {
		require.Contains(t, a.Fields, field)
	}
	var beats []facts.Beat
	require.NoError(t, json.Unmarshal(b.Fields[facts.Beats+facts.Ours], &beats))
	require.Less(t, beats[0].Time, 2.0, "times are from the start of the clip, not of the track")
	var chords []facts.Chord
	require.NoError(t, json.Unmarshal(a.Fields[facts.Chords], &chords))
	require.InDelta(t, 12, chords[len(chords)-1].End, 1e-9)
	for _, c := range chords {
		require.Regexp(t, `^([A-G][b#]?:(maj|min)|N)$`, c.Chord)
	}

	// Another run does nothing; one with other settings is refused; one that begins anew is not.
	tally, err = Annotate(t.Context(), s, AnnotateConfig{})
	require.NoError(t, err)
	require.Equal(t, 5, tally.Kept)
	_, err = Annotate(t.Context(), s, AnnotateConfig{Confidence: 0.9})
	require.ErrorContains(t, err, "--anew")
	tally, err = Annotate(t.Context(), s, AnnotateConfig{Confidence: 1.1, RunOptions: RunOptions{Anew: true}})
	require.NoError(t, err)
	require.Zero(t, tally.Kept)
	require.NotContains(t, annotations(t, s)["songs/a"].Fields, facts.Key, "no reading is surer than sure")
}

func TestAnnotateGoesOn(t *testing.T) {
	t.Parallel()
	s := songs(t)
	_, err := Annotate(t.Context(), s, AnnotateConfig{})
	require.NoError(t, err)
	path := s.path("songs", stepAnnotate+".jsonl")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, size := range []int{10, len(whole) - 1} {
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		_, err := Annotate(t.Context(), s, AnnotateConfig{})
		require.NoError(t, err)
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(whole), string(again), "cut off after %d bytes", size)
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(whole), "songs/a", "songs/z", 1)), 0o600))
	_, err = Annotate(t.Context(), s, AnnotateConfig{})
	require.ErrorContains(t, err, "a row of clip songs/z where clips.jsonl has songs/a")
}

func TestAnnotateRetriesWhatFailed(t *testing.T) {
	t.Parallel()
	s := songs(t)
	_, err := Annotate(t.Context(), s, AnnotateConfig{})
	require.NoError(t, err)
	song, err := os.ReadFile(demoSong)
	require.NoError(t, err)
	for c, err := range s.Clips("songs") {
		if require.NoError(t, err); c.Track == "bad" {
			require.NoError(t, os.WriteFile(c.Audio, song, 0o600)) // it was fetched again
		}
	}
	before := annotations(t, s)

	// A retry that is stopped goes on where it was.
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	_, err = Annotate(ctx, s, AnnotateConfig{RunOptions: RunOptions{Retry: true, Progress: func(_ string, done int) {
		if done == 2 {
			cancel(stopped)
		}
	}}})
	require.ErrorIs(t, err, stopped)
	tally, err := Annotate(t.Context(), s, AnnotateConfig{RunOptions: RunOptions{Retry: true}})
	require.NoError(t, err)
	require.Equal(t, 1, tally.Failed)
	after := annotations(t, s)
	require.Equal(t, stateDone, after["songs/bad"].State)
	require.Equal(t, before["songs/a"], after["songs/a"])
	require.NoFileExists(t, s.path("songs", stepAnnotate+oldSuffix+".jsonl"))
}

func TestAnnotateByACommand(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	command := func(kind string) []string { return []string{"env", "LARK_TEST_TOOL=" + kind, self} }
	s := songs(t)
	_, err = Annotate(t.Context(), s, AnnotateConfig{Command: command("works")})
	require.NoError(t, err)
	b := annotations(t, s)["songs/b"]
	require.JSONEq(t, `"A minor"`, string(b.Fields[facts.Key]), "its fields replace ours")
	require.JSONEq(t, "[4,12]", string(b.Fields["heard"]))
	require.Contains(t, b.Fields, facts.Chords)

	_, err = Annotate(t.Context(), songs(t), AnnotateConfig{Command: command("talks")})
	require.ErrorContains(t, err, "no JSON object")
	_, err = Annotate(t.Context(), songs(t), AnnotateConfig{Command: command("ends")})
	require.ErrorContains(t, err, "must write one line of JSON")
	_, err = Annotate(t.Context(), songs(t), AnnotateConfig{Command: []string{"/nowhere/tool"}})
	require.ErrorContains(t, err, "starting the annotating command")
}

func TestFieldsOfSilence(t *testing.T) {
	t.Parallel()
	result, beats := mir.Analyse(make([]int16, mir.SampleRate*3))
	require.Empty(t, fieldsOf(result, beats, 0))
}
