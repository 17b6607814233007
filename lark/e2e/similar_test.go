package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/readers"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// TestSimilarTracksOfARun: a re-encoded copy is found and told as a near-duplicate, other music is not; what was evicted is told as missing; and DuckDB and pyarrow find in
// the exported embeddings what the gateway finds.
func TestSimilarTracksOfARun(t *testing.T) {
	onlyEmbedded(t)
	music := t.TempDir()
	song, err := os.ReadFile(filepath.Join(world.root, "models", "demo", "larksong.mp3"))
	require.NoError(t, err)
	write(t, filepath.Join(music, "song.mp3"), song)
	write(t, filepath.Join(music, "copy.mp3"), song)
	write(t, filepath.Join(music, "again.ogg"), byFFmpeg(t, song, "ogg", "-c:a", "libvorbis", "-q:a", "3"))
	write(t, filepath.Join(music, "other.wav"), melody(seedOf(t), 26))
	write(t, filepath.Join(music, "text.mp3"), []byte("this is no music\n"))

	s := start(t, options{data: t.TempDir(), env: []string{"LARK_SOURCES=" + music}})
	asked := client.RunSubmission{Name: "one", Questions: []string{"What is the tempo?"}}
	run := s.indexed(t, asked, index.Source{Name: music})
	require.Equal(t, []int{4, 1}, []int{run.Counts.Succeeded, run.Counts.Failed})
	similar := func(run string) (found client.Similar) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(s.larkOK(t, "index", "similar", run, "song.mp3", "--json")), &found))
		return found
	}
	found := similar("one")
	require.Equal(t, []int{3, 0, 0, 3}, []int{found.Compared, found.Missing, found.Other, len(found.Tracks)})
	copied, again, other := found.Tracks[0], found.Tracks[1], found.Tracks[2]
	require.Equal(t, []string{"copy.mp3", "again.ogg", "other.wav"}, []string{copied.ID, again.ID, other.ID})
	require.Equal(t, []bool{true, true}, []bool{copied.SameFile, copied.Duplicate})
	require.Equal(t, []bool{false, true}, []bool{again.SameFile, again.Duplicate}, "similarity %f", again.Similarity)
	require.Equal(t, []bool{false, false}, []bool{other.SameFile, other.Duplicate}, "similarity %f", other.Similarity)
	require.InDelta(t, 1, copied.Similarity, 1e-6)
	text := s.larkOK(t, "index", "similar", "one", "file://"+filepath.Join(music, "song.mp3"), "-n", "1")
	require.Contains(t, text, "copy.mp3  same file\ncompared with 3 tracks\n")
	_, stderr, code := s.lark(t, "index", "similar", "one", "text.mp3")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "the item is failed and has no pooled embedding")

	// A gateway that died does not matter: vectors are written with the ends of items.
	s.kill(t, up.Gateway)
	s.ready(t)
	require.Equal(t, found, similar(run.ID))

	out := t.TempDir()
	s.larkOK(t, "index", "export", "one", "--out", out, "--embeddings", "--part-rows", "3")
	s.larkOK(t, "index", "verify", "one", "--export", out)
	lines := t.TempDir()
	s.larkOK(t, "index", "export", "one", "--out", lines, "--embeddings", "--format", "jsonl")
	var read struct {
		Rows, Width, Nulls int
		Type               string
		Duck, Arrow, JSON  float64
	}
	require.NoError(t, json.Unmarshal(readers.Run(t, `
import json, sys, glob
import duckdb, pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc
out, lines = sys.argv[1], sys.argv[2]
table = pa.concat_tables(pq.read_table(f) for f in sorted(glob.glob(out + "/embeddings-*.parquet")))
width = len(table["embedding"][0])
fixed = table["embedding"].combine_chunks().cast(pa.list_(pa.float32(), width))
rows = dict(zip(table["item_id"].to_pylist(), fixed.to_pylist()))
cosine = lambda v: sum(a * b for a, b in zip(v["song.mp3"], v["again.ogg"]))
duck = duckdb.sql(f"""WITH e AS (SELECT item_id, embedding::FLOAT[{width}] AS v FROM '{out}/embeddings-*.parquet')
  SELECT array_cosine_similarity(a.v, b.v) FROM e a, e b WHERE a.item_id = 'song.mp3' AND b.item_id = 'again.ogg'""").fetchall()[0][0]
text = duckdb.sql(f"SELECT item_id, embedding::FLOAT[{width}] FROM read_json('{lines}/embeddings-*.jsonl')").fetchall()
print(json.dumps({"rows": table.num_rows, "width": width, "nulls": fixed.null_count, "type": str(table.schema.field("embedding").type), "duck": duck, "arrow": cosine(rows),
                  "json": cosine(dict(text))}))
`, out, lines), &read))
	require.Equal(t, []any{4, 192, 0}, []any{read.Rows, read.Width, read.Nulls})
	require.Contains(t, read.Type, "list<")
	for name, got := range map[string]float64{"DuckDB": read.Duck, "pyarrow": read.Arrow, "JSON lines": read.JSON} {
		require.InDelta(t, again.Similarity, got, 1e-5, name)
	}
}
