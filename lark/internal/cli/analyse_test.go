package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/analyse"
)

var larksong = filepath.Join("..", "..", "..", "models", "demo", "larksong.mp3")

func TestAnalyseTheDemoPiece(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, "analyse", "--json", larksong)
	require.Equal(t, exitOK, code, errs)
	var got analyse.Report
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, 1, strings.Count(out, "\n"), "one line per file")
	require.InDelta(t, 104, got.Tempo.BPM, 0.5)
	require.True(t, got.Tempo.Steady)
	require.Equal(t, "G major", got.Key.Name)
	require.Equal(t, "4/4", got.Metre.Name)
	require.EqualValues(t, "music", got.Content.Kind)
	require.InDelta(t, 100, len(got.Beats), 6)
	require.Equal(t, "G", got.Chords[0].Name)
	require.InDelta(t, 60, got.Chords[len(got.Chords)-1].To, 0.1)
}

func TestAnalysePartAndTable(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, "analyse", "--from", "0:20", "--to", "35.5", "--beats", larksong)
	require.Equal(t, exitOK, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.InDelta(t, 27, len(lines), 2)
	require.Regexp(t, `^2\d\.\d{3}\t[1-4]\t\S+$`, lines[0], "times are those of the file")
	code, out, errs = run(t, "analyse", "--from", "20", "--to", "30", larksong)
	require.Equal(t, exitOK, code, errs)
	for _, want := range []string{"length    10.0 s", "tempo ", "key ", "LUFS integrated", "not clipped"} {
		require.Contains(t, out, want)
	}
}

func TestAnalyseSilence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "silence.wav")
	wav := append([]byte("RIFF\xa4\x58\x01\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00\x88\x58\x01\x00\x02\x00\x10\x00data\x88\x58\x01\x00"), make([]byte, 88200)...)
	require.NoError(t, os.WriteFile(path, wav, 0o600))
	code, out, errs := run(t, "analyse", "--json", path)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, `"tempo":null,"metre":null,"key":null`)
	require.Contains(t, out, `"integrated_lufs":null`)
	require.Contains(t, out, `"kind":"silence"`)
}

// TestAnalyseFlagsDamage: a file that was cut is measured, and each form of the output says that it was cut.
func TestAnalyseFlagsDamage(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(larksong)
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut.mp3")
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)/4], 0o600))
	const want = "the file breaks off after 15.0 s"
	code, out, errs := run(t, "analyse", cut)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, "warning .*"+want, out)
	for _, form := range []string{"--beats", "--chords"} {
		code, out, errs = run(t, "analyse", form, cut)
		require.Equal(t, exitOK, code, errs)
		require.Contains(t, errs, want)
		require.NotContains(t, out, want)
	}
	for file, codes := range map[string][]string{cut: {"truncated"}, larksong: {}} {
		code, out, errs = run(t, "analyse", "--json", file)
		require.Equal(t, exitOK, code, errs)
		var got analyse.Report
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		told := []string{}
		for _, w := range got.Warnings {
			told = append(told, w.Code)
		}
		require.Equal(t, codes, told)
	}
}

func TestAnalyseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "gone.mp3")
	for want, c := range map[string]struct {
		code int
		args []string
	}{
		"no such file":                       {exitFailed, []string{gone}},
		"it ends after 59.98 s":              {exitFailed, []string{"--from", "2:00", larksong}},
		`--from: "1:75" is no time`:          {exitUsage, []string{"--from", "1:75", larksong}},
		"--to 5 must be after --from 10":     {exitUsage, []string{"--from", "10", "--to", "5", larksong}},
		"requires at least 1 arg":            {exitUsage, nil},
		"only one can be given":              {exitUsage, []string{"--json", "--beats", larksong}},
		"--beats and --chords take one file": {exitUsage, []string{"--beats", larksong, gone}},
	} {
		code, out, errs := run(t, append([]string{"analyse"}, c.args...)...)
		require.Equal(t, c.code, code, errs)
		require.Contains(t, errs, want)
		require.Empty(t, out)
	}
	code, out, errs := run(t, "analyse", "--to", "8", gone, larksong)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "gone.mp3")
	require.Contains(t, out, "larksong.mp3", "the other files are measured all the same")
}
