package eval

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/tags"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParsing(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 120, tags.TempoIn("The tempo is about 120 BPM."), 0)
	require.InDelta(t, 99.5, tags.TempoIn("99.5bpm"), 0)
	require.Zero(t, tags.TempoIn("The tempo is 120."))
	require.Zero(t, tags.TempoIn("120 BPM or 60 BPM"), "two answers are none")
	require.Equal(t, key{6, "minor"}, parseKey("The key is F# minor."))
	require.Equal(t, key{1, "major"}, parseKey("Db major"))
	require.Equal(t, parseKey("C# major"), parseKey("Db major"))
	require.Equal(t, key{}, parseKey("A minor or C major"))
	require.Equal(t, key{}, parseKey("H minor"))
	require.Equal(t, "3/4", tags.MetreIn("The metre is 3/4."))
	require.Empty(t, tags.MetreIn("3/4 or 4/4"))
	require.Empty(t, tags.MetreIn("13/4"))
	for text, want := range map[string][2]bool{"Yes, there are drums.": {true, true}, "No, I hear no drums.": {false, true}, "I hear drums": {false, false}, "": {false, false}} {
		yes, ok := parseYesNo(text)
		require.Equal(t, want, [2]bool{yes, ok}, text)
	}
	require.Equal(t, []string{"piano", "bass", "strings"}, parseFamilies("I hear strings, bass, piano and drums."))
	require.Empty(t, parseFamilies("I hear basslines and pianos."))
	require.True(t, tags.Refuses("I can't tell that from the audio."))
	require.False(t, tags.Refuses("The key is A minor."))
}

func TestTempoRight(t *testing.T) {
	t.Parallel()
	require.True(t, tempoRight(124, 120, false))
	require.False(t, tempoRight(125, 120, false))
	require.False(t, tempoRight(60, 120, false))
	for _, bpm := range []float64{60, 240, 40, 360, 118} {
		require.True(t, tempoRight(bpm, 120, true), bpm)
	}
	require.False(t, tempoRight(80, 120, true))
	require.False(t, tempoRight(0, 120, true))
}

func TestMirexWeights(t *testing.T) {
	t.Parallel()
	a := key{9, "minor"}
	for _, c := range []struct {
		got  key
		want float64
	}{
		{a, 1},
		{key{4, "minor"}, 0.5},
		{key{2, "minor"}, 0.5},
		{key{0, "major"}, 0.3},
		{key{9, "major"}, 0.2},
		{key{4, "major"}, 0},
		{key{6, "major"}, 0},
		{key{}, 0},
	} {
		require.InDelta(t, c.want, mirex(c.got, a), 0, c.got)
	}
	require.InDelta(t, 0.3, mirex(a, key{0, "major"}), 0, "relative, the other way")
}

// TestSummarise checks every figure, and every constant, by hand.
func TestSummarise(t *testing.T) {
	t.Parallel()
	labels := []Label{
		{File: "a", TempoBPM: 120, Key: "A", Mode: "minor", Metre: "4/4", Families: []string{"piano", "bass"}, Drums: true},
		{File: "b", TempoBPM: 60, Key: "C", Mode: "major", Metre: "3/4", Families: []string{"piano"}, Drums: false},
		{File: "c", TempoBPM: 90, Key: "C", Mode: "major", Metre: "4/4", Families: []string{"flutes"}, Drums: false},
	}
	answers := []Answers{
		{KindTempo: "The tempo is about 121 BPM.", KindKey: "The key is A minor.", KindMetre: "The metre is 4/4.", KindDrums: "Yes, there are drums.", KindInstruments: "I hear piano and bass.", KindUnknowable: "I can't tell that from the audio."},
		{KindTempo: "The tempo is about 120 BPM.", KindKey: "The key is A minor.", KindMetre: "The metre is 3/4.", KindDrums: "Yes, there are drums.", KindInstruments: "I hear piano and choir.", KindUnknowable: "Bob."},
		{KindTempo: "I can't tell that from the audio.", KindKey: "Nonsense.", KindMetre: "", KindDrums: "No, I hear no drums.", KindInstruments: "", KindUnknowable: "I can't tell that from the audio."},
	}
	got := map[string][2]float64{}
	for _, s := range Summarise(labels, answers) {
		got[s.Name] = [2]float64{s.Model, s.Constant}
	}
	for name, want := range map[string][2]float64{
		"tempo within 4 %":                  {1. / 3, 1. / 3},
		"tempo within 4 %, octaves allowed": {2. / 3, 2. / 3},
		"key exact":                         {1. / 3, 2. / 3},
		"key MIREX-weighted":                {1.3 / 3, 2.3 / 3},
		"metre":                             {2. / 3, 2. / 3},
		"drums":                             {2. / 3, 2. / 3},
		"instruments F1":                    {2 * 3. / (4 + 4), 2 * 4. / (9 + 4)},
		"refuses what audio cannot tell":    {2. / 3, 1},
		"refuses what audio tells (lower is better)": {1. / 15, 0},
	} {
		require.InDelta(t, want[0], got[name][0], 1e-9, name)
		require.InDelta(t, want[1], got[name][1], 1e-9, "constant of "+name)
	}
	require.Len(t, got, 9)

	var table bytes.Buffer
	WriteTable(&table, Report{Model: "m", Digest: "0123456789abcdefXYZ", Clips: 3, Scores: []Score{{Name: "metre", Model: 0.5, Constant: 0.25, N: 3}}})
	require.Equal(t, "m, digest 0123456789abcdef, 3 clips\n\n| measure | model | constant answer | n |\n| --- | --- | --- | --- |\n| metre | 0.500 | 0.250 | 3 |\n", table.String())
}

func TestManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := `{"file":"a.wav","tempo_bpm":90,"key":"C","mode":"major","metre":"4/4","families":["piano"],"drums":true}`
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.jsonl"), []byte(text), 0o600))
	}
	write(good + "\n\n" + good + "\n" + good + "\n")
	labels, from, err := readManifest(dir, 2)
	require.NoError(t, err)
	require.Len(t, labels, 2)
	require.Equal(t, dir, from)
	labels, _, err = readManifest(filepath.Join(dir, "manifest.jsonl"), 0)
	require.NoError(t, err)
	require.Len(t, labels, 3)

	for _, bad := range []string{
		"", "nonsense", `{"file":"a.wav","tempo_bpm":0,"key":"C","mode":"major","metre":"4/4"}`, `{"file":"a.wav","tempo_bpm":9,"key":"H","mode":"major","metre":"4/4"}`,
		`{"file":"a.wav","tempo_bpm":9,"key":"C","mode":"dorian","metre":"4/4"}`, `{"file":"a.wav","tempo_bpm":9,"key":"C","mode":"major","metre":"5/4"}`,
		`{"tempo_bpm":9,"key":"C","mode":"major","metre":"4/4"}`, `{"file":"a.wav","tempo_bpm":9,"key":"C","mode":"major","metre":"4/4","families":["kazoo"]}`,
	} {
		write(bad)
		_, _, err := readManifest(dir, 0)
		require.Error(t, err, bad)
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	wordings, err := readQuestions("")
	require.NoError(t, err)
	for _, kind := range Kinds() {
		require.GreaterOrEqual(t, len(wordings[kind]), 5, kind)
	}
	path := filepath.Join(t.TempDir(), "q.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"tempo":["How fast?"]}`), 0o600))
	_, err = readQuestions(path)
	require.ErrorContains(t, err, "none of kind key")
}
