package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/filetags"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/readers"
)

// TestTagsOfARunReachItsFiles: what the model hears of a track of which the score is known is read by mutagen in the file, by DuckDB and by pyarrow in the export, and the
// file becomes what it was.
func TestTagsOfARunReachItsFiles(t *testing.T) {
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

	list, err := filetags.OpenList(filepath.Join(t.TempDir(), "list"))
	require.NoError(t, err)
	defer func() { require.NoError(t, list.Close()) }()
	states := map[string]string{}
	w := index.WriteTags{Gateway: s.Client, Fields: filetags.Usual(), List: list}
	tell := func(f index.FileTags) error {
		states[filepath.Base(f.File)] = f.State
		return nil
	}
	require.NoError(t, w.Run(t.Context(), run, tell))
	require.Equal(t, map[string]string{"song.mp3": index.FileWritten, "other.wav": index.FileNotSupported, "text.mp3": index.FileNothing}, states)
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

	require.NoError(t, w.Run(t.Context(), run, tell))
	require.Equal(t, index.FileSame, states["song.mp3"])
	require.NoError(t, index.Undo(t.Context(), list, tell))
	back, err := os.ReadFile(filepath.Join(music, "song.mp3"))
	require.NoError(t, err)
	require.Equal(t, song, back)
}
