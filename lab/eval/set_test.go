package eval

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// newSet writes a set of lines; $N in them is the audio of clip N, which is there.
func newSet(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 40 {
		pcm := make([]int16, 66150)
		for k := range pcm {
			pcm[k] = int16(8000 * ((k/(40+i))%2*2 - 1))
		}
		if i < len(lines) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.wav", i)), Wav(pcm, 44100), 0o600))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, SetFile), []byte(strings.Join(lines, "\n")), 0o600))
	return dir
}

func TestReadSet(t *testing.T) {
	t.Parallel()
	dir := newSet(
		t,
		"\ufeff"+`{"id":"a","audio":"0.wav","labels":{"tempo_bpm":90,"key":"Eb minor","metre":"7/8","instruments":["Violin"],"drums":false,"beats":1}}`,
		"",
		`{"id":"b","audio":"1.wav","labels":{"genre":"Rock","genre_choices":["rock","pop"],"unanswerable":true,"temp":90},"note":"x"}`,
		`{"id":"c","audio":"2.wav"}`,
	)
	set, err := ReadSet(dir, 0)
	require.NoError(t, err)
	require.Len(t, set.Clips, 3)
	require.Equal(t, []string{"beats", "temp"}, set.Ignored)
	require.Equal(t, filepath.Join(dir, "0.wav"), set.Path(set.Clips[0]))
	require.False(t, *set.Clips[0].Labels.Drums)
	require.Nil(t, set.Clips[1].Labels.Drums)
	set, err = ReadSet(dir, 2)
	require.NoError(t, err)
	require.Len(t, set.Clips, 2)
}

func TestBadSetsNameTheirLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`nonsense`:                               "no JSON object",
		`{"audio":"0.wav"}`:                      "id is missing",
		`{"id":"x"}`:                             "audio is missing",
		`{"id":"x","audio":"none.wav"}`:          "none.wav is missing",
		`{"id":"x","audio":"."}`:                 "a folder",
		`{"id":"a","audio":"0.wav"}`:             "that of line 1 already",
		`{"id":"x","audio":"0.wav","labels":[]}`: "no JSON object",
		`{"id":"x","audio":"0.wav","labels":{"tempo_bpm":-1}}`:                                                        "tempo_bpm -1",
		`{"id":"x","audio":"0.wav","labels":{"key":"H minor"}}`:                                                       `key "H minor"`,
		`{"id":"x","audio":"0.wav","labels":{"metre":"waltz"}}`:                                                       `metre "waltz"`,
		`{"id":"x","audio":"0.wav","labels":{"genre":"jazz","genre_choices":["rock"]}}`:                               "not among its genre_choices",
		`{"id":"x","audio":"0.wav","labels":{"multiple_choice":[{"question":"q","choices":["a","b"],"answer":"c"}]}}`: "not among the choices",
		`{"id":"x","audio":"0.wav","labels":{"multiple_choice":[{"question":"q","choices":["a"],"answer":"a"}]}}`:     "1 choices",
		`{"id":"x","audio":"0.wav","labels":{"multiple_choice":[{"question":" ","choices":["a","b"],"answer":"a"}]}}`: "question is empty",
		`{"id":"x","audio":"0.wav","labels":{"multiple_choice":[{"question":"q","choices":["a"," "],"answer":"a"}]}}`: "one of its choices is empty",
		`{"id":"x","audio":"0.wav","labels":{"tempo_bpm":"fast"}}`:                                                    "no JSON object",
		`{"id":"x","audio":"0.wav","labels":{"caption":"` + strings.Repeat("long", maxLine/4) + `"}}`:                 "longer than",
	} {
		dir := newSet(t, `{"id":"a","audio":"0.wav"}`, line)
		_, err := ReadSet(dir, 0)
		require.ErrorContains(t, err, "line 2", want)
		require.ErrorContains(t, err, want)
	}
	_, err := ReadSet(t.TempDir(), 0)
	require.ErrorContains(t, err, "lark eval import")
	_, err = ReadSet(newSet(t, "", " "), 0)
	require.ErrorContains(t, err, "names no clip")
	_, err = ReadSet(newSet(t, strings.Split(strings.Repeat("bad\n", 30), "\n")...), 0)
	require.ErrorContains(t, err, "line 10")
	require.NotContains(t, err.Error(), "line 11")
	require.ErrorContains(t, err, "perhaps more")
}
