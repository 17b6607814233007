package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/filetags"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/readers"
)

// TestTagsOfARunReachItsFiles: lark index write-tags shows what it would write, writes it and takes it back. What the model hears of a track of which the score is known is read by
// mutagen in the file, and by DuckDB and pyarrow in the export.
func TestTagsOfARunReachItsFiles(t *testing.T) {
	onlyEmbedded(t)
	music := t.TempDir()
	song, err := os.ReadFile(filepath.Join(world.root, "models", "demo", "larksong.mp3"))
	require.NoError(t, err)
	write(t, filepath.Join(music, "song.mp3"), song)
	write(t, filepath.Join(music, "other.wav"), melody(seedOf(t), 26))
	write(t, filepath.Join(music, "text.mp3"), []byte("this is no music\n"))

	s := start(t, options{data: t.TempDir(), env: []string{"LARK_SOURCES=" + music}})
	run, err := s.CreateRun(t.Context(), client.RunSubmission{Options: client.Options{ResponseSchema: client.SchemaTags}})
	require.NoError(t, err)
	_, err = index.Filling{Gateway: s.Client}.Fill(t.Context(), run.ID, index.Source{Name: music})
	require.NoError(t, err)
	_, err = s.MoveRun(t.Context(), run.ID, "start")
	require.NoError(t, err)
	run = s.followRun(t, run.ID)
	require.Equal(t, []int{2, 1}, []int{run.Counts.Succeeded, run.Counts.Failed})

	list := filepath.Join(t.TempDir(), "list")
	tags := func(code int, args ...string) map[string]index.FileTags {
		t.Helper()
		stdout, stderr, got := s.lark(t, append([]string{"index", "write-tags", run.ID, "--backup", list, "--json"}, args...)...)
		require.Equal(t, code, got, "%s%s", stdout, stderr)
		files := map[string]index.FileTags{}
		for lines := json.NewDecoder(strings.NewReader(stdout)); lines.More(); {
			var f index.FileTags
			require.NoError(t, lines.Decode(&f))
			files[filepath.Base(f.File)] = f
		}
		return files
	}
	state := func(files map[string]index.FileTags) map[string]string {
		states := map[string]string{}
		for name, f := range files {
			states[name] = f.State
		}
		return states
	}
	others := func(song string) map[string]string {
		return map[string]string{"song.mp3": song, "other.wav": index.FileNotSupported, "text.mp3": index.FileNothing}
	}

	// A dry run tells what would be written, and writes neither a file nor a list.
	const partial = 3
	shown := tags(partial, "--dry-run")
	require.Equal(t, others(index.FileShown), state(shown))
	require.Equal(t, []string{"G"}, shown["song.mp3"].New[filetags.Key])
	requireSong := func(want []byte) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(music, "song.mp3"))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	requireSong(song)
	require.NoFileExists(t, list)
	stdout, _, code := s.lark(t, "index", "write-tags", run.ID, "--dry-run", "--fields", "key")
	require.Equal(t, partial, code)
	require.Contains(t, stdout, filepath.Join(music, "song.mp3")+": would write\n  key          nothing -> G\n")
	for _, wrong := range [][]string{{}, {"--dry-run", "--apply"}, {"--apply", "--fields", "colour"}} {
		_, _, code := s.lark(t, append([]string{"index", "write-tags", run.ID}, wrong...)...)
		require.Equal(t, 2, code, "%v is wrong usage", wrong)
	}

	written := tags(partial, "--apply")
	require.Equal(t, others(index.FileWritten), state(written))
	require.Equal(t, shown["song.mp3"].New, written["song.mp3"].New)
	out := t.TempDir()
	_, err = index.Export{Gateway: s.Client, Format: "parquet", Dir: out, PartRows: 2}.Run(t.Context(), run)
	require.NoError(t, err)

	var read struct {
		Key, DuckDB, Arrow string
		Rows               [2]int
		Instruments        []string
	}
	require.NoError(t, json.Unmarshal(readers.Run(t, `
import json, sys, glob
import duckdb, mutagen, pyarrow.parquet as pq
song, out = sys.argv[1], sys.argv[2]
rows = duckdb.sql(f"SELECT key, mode, instruments FROM '{out}/tracks-*.parquet' WHERE uri LIKE '%song.mp3'").fetchall()
n = duckdb.sql(f"SELECT count(*) FROM '{out}/tracks-*.parquet'").fetchall()[0][0]
tables = [pq.read_table(f) for f in sorted(glob.glob(out + "/tracks-*.parquet"))]
arrow = [r for t in tables for r in t.to_pylist() if r["uri"].endswith("song.mp3")]
print(json.dumps({"key": str(mutagen.File(song)["TKEY"]), "duckdb": " ".join(rows[0][:2]), "instruments": rows[0][2],
                  "arrow": arrow[0]["key"] + " " + arrow[0]["mode"], "rows": [n, sum(t.num_rows for t in tables)]}))
`, filepath.Join(music, "song.mp3"), out), &read))
	require.Equal(t, []string{"G", "G major", "G major"}, []string{read.Key, read.DuckDB, read.Arrow})
	require.Equal(t, [2]int{3, 3}, read.Rows)
	require.Contains(t, read.Instruments, "piano")

	require.Equal(t, others(index.FileSame), state(tags(partial, "--apply")))
	require.Equal(t, map[string]string{"song.mp3": index.FileUndone}, state(tags(0, "--undo")))
	requireSong(song)
	require.NoFileExists(t, list, "all of it is undone")
	_, stderr, code := s.lark(t, "index", "write-tags", run.ID, "--undo", "--backup", list)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "there is no list of what was replaced")
}
