package dataset

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/dataset/rules"
)

const nano = "../../models/lark-nano"

// whole makes a set with frames of lark-nano, pairs by rules, and splits.
func whole(t *testing.T) *Set {
	t.Helper()
	s := songs(t)
	_, err := Annotate(t.Context(), s, AnnotateConfig{})
	require.NoError(t, err)
	_, err = Generate(t.Context(), s, GenerateConfig{Families: []string{rules.Understanding}, Seed: 1})
	require.NoError(t, err)
	tally, err := Encode(t.Context(), s, EncodeConfig{Model: nano})
	require.NoError(t, err)
	require.Equal(t, Tally{Clips: 5, Failed: 2, Missing: 1}, tally)
	_, err = Split(t.Context(), s, SplitConfig{Seed: 1})
	require.NoError(t, err)
	return s
}

func framesOf(t *testing.T, s *Set) (out []framesRow) {
	t.Helper()
	for f, err := range rows[framesRow](s.path("songs", stepFrames+".jsonl")) {
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

func TestTheWholeWay(t *testing.T) {
	t.Parallel()
	s := whole(t)
	first := framesOf(t, s)
	require.False(t, first[0].Known)
	require.Positive(t, first[0].Rows)

	// What the store knows is not computed again, and comes out the same.
	_, err := Encode(t.Context(), s, EncodeConfig{Model: nano, RunOptions: RunOptions{Anew: true}})
	require.NoError(t, err)
	second := framesOf(t, s)
	require.True(t, second[0].Known)
	second[0].Known = false
	require.Equal(t, first[0], second[0])

	for _, format := range Formats() {
		out := t.TempDir()
		m, err := Export(t.Context(), s, ExportConfig{Out: out, Format: format})
		require.NoError(t, err)
		require.Equal(t, map[string]int{splitTrain: 2}, m.Clips)
		require.Equal(t, map[string]int{"without audio": 1, "without frames": 2}, m.LeftClips)
		require.Positive(t, m.Pairs[splitTrain])
		require.Equal(t, map[string]int{"Apache-2.0": m.Pairs[splitTrain]}, m.Licences)
		sums := m.Files
		m, err = Export(t.Context(), s, ExportConfig{Out: out, Format: format})
		require.NoError(t, err)
		require.Equal(t, sums, m.Files, "equal sets give equal files")
		v, err := Verify(t.Context(), s, VerifyConfig{Export: out})
		require.NoError(t, err)
		require.Empty(t, v.Faults)
		require.Equal(t, 5, v.Clips)
		require.Equal(t, 2, v.Frames)
		compareExport(t, out, format, m)
	}

	var page bytes.Buffer
	require.NoError(t, WriteReport(t.Context(), &page, s, 1))
	require.Contains(t, page.String(), "data:audio/wav;base64,")
	require.Contains(t, page.String(), "songs/a")
}

// compareExport reads an export back.
func compareExport(t *testing.T, dir, format string, m Manifest) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, m.Files[0].Name))
	require.NoError(t, err)
	defer file.Close()
	pairs := 0
	switch format {
	case FormatWebdataset:
		var names []string
		r := tar.NewReader(file)
		for {
			head, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if names = append(names, head.Name); strings.HasSuffix(head.Name, ".json") {
				var d described
				require.NoError(t, json.NewDecoder(r).Decode(&d))
				require.Equal(t, "Apache-2.0", d.Licence)
				pairs += len(d.Response)
			}
		}
		require.Equal(t, []string{"songs__a.audio_encoding.npy", "songs__a.json", "songs__b.audio_encoding.npy", "songs__b.json"}, names)
	case FormatJSONL:
		for line, err := range rows[jsonlLine](file.Name()) {
			require.NoError(t, err)
			require.FileExists(t, filepath.Join(dir, line.Frames))
			pairs += len(line.Response)
		}
	case FormatParquet:
		info, err := file.Stat()
		require.NoError(t, err)
		records, err := parquet.Read[pairRecord](file, info.Size())
		require.NoError(t, err)
		pairs = len(records)
		require.Len(t, records[0].Frames, 4*int(records[0].Rows)*int(records[0].Cols))
	}
	require.Equal(t, m.Pairs[splitTrain], pairs)
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := whole(t)
	damage := func(step, old, with string) {
		path := s.path("songs", step+".jsonl")
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(raw), old)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(raw), old, with, 1)), 0o600))
	}
	find := func(want string) {
		t.Helper()
		v, err := Verify(t.Context(), s, VerifyConfig{})
		require.NoError(t, err)
		require.Contains(t, strings.Join(v.Faults, "\n"), want)
	}
	damage("pairs.understanding.rules", " LUFS.", "9 LUFS, by Chopin.")
	find("an accepted pair of clip")
	damage(stepSplit, `"songs/b"`, `"songs/c"`)
	find("a row of clip songs/c where clips.jsonl has songs/b")
	require.NoError(t, os.RemoveAll(filepath.Join(s.Dir, "frames")))
	find("are gone: run lark dataset encode --anew")
	_, err := Export(t.Context(), s, ExportConfig{Out: t.TempDir(), Format: FormatJSONL})
	require.Error(t, err)
}

func TestExportByLicenceAndBalance(t *testing.T) {
	t.Parallel()
	p := &picker{cfg: ExportConfig{Licences: []string{"CC-BY-4.0", "cc0*"}}}
	for licence, want := range map[string]bool{"CC-BY-4.0": true, "CC-BY-NC-4.0": false, "CC0-1.0": true, "GPL-2": false} {
		require.Equal(t, want, p.licensed(licence), licence)
	}
	require.Equal(t, map[string]float64{"a": 0.5, "b": 1, "c": 1}, keep(map[string]float64{"a": 800, "b": 400, "c": 7}, map[string]float64{"a": 0.5, "b": 0.5}))
	require.Error(t, Balance{Families: map[string]float64{"a": 0.7, "b": 0.7}}.check())
	_, err := Export(t.Context(), &Set{}, ExportConfig{Out: "x", Format: "csv"})
	require.ErrorContains(t, err, "the formats are webdataset")
}

func TestThinning(t *testing.T) {
	t.Parallel()
	thin := newThinner(ThinConfig{Within: 0.8, Same: 2})
	pair := func(q, a string) exportPair { return exportPair{Question: q, Answer: a} }
	thin.begin()
	require.Empty(t, thin.reason(pair("What is the tempo of this clip?", "The tempo is 120 BPM.")))
	require.NotEmpty(t, thin.reason(pair("What is the tempo of the clip?", "The tempo is 120 BPM.")), "nearly the same words")
	require.Empty(t, thin.reason(pair("Which key?", "C major.")))
	for i, answer := range []string{"The tempo is 90 BPM.", "The tempo is 91.5 BPM."} {
		thin.begin()
		require.Equal(t, i == 1, thin.reason(pair("What is the tempo of this clip?", answer)) != "", "two may have these words, numbers aside")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	s := labelled(t, 300)
	got, err := Split(t.Context(), s, SplitConfig{Seed: 1, Validation: 0.1, Test: 0.2})
	require.NoError(t, err)
	require.Equal(t, 300, got.Splits[splitTrain]+got.Splits[splitValidation]+got.Splits[splitTest])
	require.InDelta(t, 60, got.Splits[splitTest], 35)
	require.Equal(t, map[string]int{"it has no audio": 1}, got.Left)
	v, err := Verify(t.Context(), s, VerifyConfig{})
	require.NoError(t, err)
	require.Empty(t, v.Faults, "three clips of each artist stay together")
	first, err := os.ReadFile(s.path("songs", stepSplit+".jsonl"))
	require.NoError(t, err)
	_, err = Split(t.Context(), s, SplitConfig{Seed: 1, Validation: 0.1, Test: 0.2})
	require.NoError(t, err)
	second, err := os.ReadFile(s.path("songs", stepSplit+".jsonl"))
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}

func TestSplitKeepsWhatIsTestedOnOut(t *testing.T) {
	t.Parallel()
	g := newGroups()
	g.join("t|a|1", "a|a|bach")
	g.join("t|a|2", "a|a|bach")
	g.join("t|b|9", "w|same")
	g.join("t|a|2", "w|same")
	g.strictest[g.find("t|a|1")] = 3
	cfg := SplitConfig{}
	for _, c := range []struct {
		clip        Clip
		split, left string
	}{
		{Clip{Dataset: "a", Track: "1", Split: splitTest}, splitTest, ""},
		{Clip{Dataset: "a", Track: "2", Split: splitTrain}, "", leftArtist},
		{Clip{Dataset: "b", Track: "9"}, splitTest, ""},
		{Clip{Dataset: "b", Track: "8", Split: splitTrain}, splitTrain, ""},
	} {
		split, left := g.base(c.clip, cfg)
		require.Equal(t, c.split, split, c.clip.Track)
		require.Equal(t, c.left, left, c.clip.Track)
	}

	// An evaluation set with the song itself.
	song, err := filepath.Abs(demoSong)
	require.NoError(t, err)
	s := setOf(t, Clip{ID: "songs/a", Track: "a", Audio: song, Span: Span{0, 25}}, Clip{ID: "songs/b", Track: "b", Audio: song, Span: Span{8, 12}})
	_, err = Encode(t.Context(), s, EncodeConfig{Model: nano})
	require.NoError(t, err)
	eval := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(eval, "set.jsonl"), []byte(`{"id":"x","audio":"`+song+`","labels":{}}`), 0o600))
	_, err = Split(t.Context(), s, SplitConfig{KeepOut: []string{eval}})
	require.ErrorContains(t, err, "name the model")
	got, err := Split(t.Context(), s, SplitConfig{KeepOut: []string{eval}, Encode: EncodeConfig{Model: nano}})
	require.NoError(t, err)
	require.Equal(t, SplitResult{Splits: map[string]int{splitTrain: 1}, Left: map[string]int{leftEval: 1}}, got)
}

func TestClipsThatAreNearlyAlike(t *testing.T) {
	t.Parallel()
	frames := func(base float32, at int) []float32 {
		m := tensor.Matrix{Rows: 2, Cols: 64, Data: make([]float32, 128)}
		for i := range m.Data {
			m.Data[i] = 10 // what all clips have in common
		}
		m.Data[at], m.Data[64+at] = m.Data[at]+base, m.Data[64+at]+base
		return sketch(m)
	}
	k := &tested{alike: 0.9, mean: make([]float64, sketchSize)}
	for i, v := range frames(0, 0) {
		k.mean[i] = float64(v)
	}
	other := frames(3, 5)
	k.centre(other)
	k.sketches = append(k.sketches, other)
	require.True(t, k.near(frames(2.9, 5)))
	require.False(t, k.near(frames(3, 6)), "without the common part they are nothing alike")
	require.False(t, k.near(nil))
}

func TestPickle(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	writePickle(&b, tensor.Matrix{Rows: 2, Cols: 3, Data: []float32{1, -2, 0.5, 4, 5, 6.25}})
	golden, err := os.ReadFile("testdata/frames.pyd") // training/llark/tests/test_data.py reads it as Python does
	require.NoError(t, err)
	require.Equal(t, golden, b.Bytes())
}
