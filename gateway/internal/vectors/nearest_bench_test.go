package vectors_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // reads and writes the database

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/internal/vectors"
)

// BenchmarkNearest searches the tracks of a run in SQLite: as many as LARK_BENCH_TRACKS says, 10,000 without it. Their vectors are random and as wide as those of
// lark-nano.
func BenchmarkNearest(b *testing.B) {
	const width = 192
	tracks := 10_000
	if n, err := strconv.Atoi(os.Getenv("LARK_BENCH_TRACKS")); err == nil {
		tracks = n
	}
	url := storetest.URL(b)
	s, err := store.Open(b.Context(), url)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	require.NoError(b, s.CreateRun(b.Context(), store.Run{ID: "run", Tenant: "default", State: store.RunLoading}))
	for at := 0; at < tracks; {
		var items []store.Item
		for ; len(items) < 1000 && at < tracks; at++ {
			items = append(items, store.Item{ID: fmt.Sprintf("item%07d", at), URI: fmt.Sprintf("/music/%d.flac", at)})
		}
		_, err := s.AddItems(b.Context(), "run", items)
		require.NoError(b, err)
	}
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite://"))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	tx, err := db.BeginTx(b.Context(), nil)
	require.NoError(b, err)
	vector, err := tx.PrepareContext(b.Context(), `INSERT INTO run_vectors (run_id, n, space, vector) VALUES ('run', ?, 'nano', ?)`)
	require.NoError(b, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= tracks; n++ {
		values, square := make([]float64, width), 0.0
		for i := range values {
			values[i] = rng.NormFloat64()
			square += values[i] * values[i]
		}
		raw := make([]byte, 0, 4*width)
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v/math.Sqrt(square))))
		}
		_, err := vector.ExecContext(b.Context(), n, raw)
		require.NoError(b, err)
	}
	require.NoError(b, tx.Commit())
	of, err := s.Vectors(b.Context(), "run", 0, 1)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		found, err := vectors.Nearest(b.Context(), s, "run", of[0], 10)
		require.NoError(b, err)
		require.Equal(b, tracks-1, found.Compared)
		require.Len(b, found.Nearest, 10)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(tracks), "µs/track")
}
