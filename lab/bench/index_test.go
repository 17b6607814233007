package bench

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// A manifest names every item once, and files that are there.
func TestTheCatalogueOfTheBenchmark(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := IndexConfig{Items: 12}
	music, manifest := filepath.Join(dir, "music"), filepath.Join(dir, "items.csv")
	require.NoError(t, cfg.catalogue(music, manifest))
	f, err := os.Open(manifest)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 13)
	seen := map[string]bool{}
	for _, row := range rows[1:] {
		require.False(t, seen[row[0]], row[0])
		seen[row[0]] = true
		require.FileExists(t, row[1])
	}
}

// The stand-in's records are such as the stages make: they pass the checks of the recorder, one outcome for each question.
func TestTheStandInAnswersEveryQuestion(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	job := &eventpb.Job{JobId: event.NewJobID(), Audio: &eventpb.Audio{Sha256: sum}, Questions: []*eventpb.Question{{Text: "a?"}, {Index: 1, Text: "b?"}}}
	recs, err := answersTo(job)
	require.NoError(t, err)
	require.Len(t, recs, 3)
	plan, err := event.DecodeAs[*eventpb.JobPlan](recs[0])
	require.NoError(t, err)
	require.EqualValues(t, 2, plan.GetQuestions())
	for i, rec := range recs[1:] {
		o, err := event.DecodeAs[*eventpb.Outcome](rec)
		require.NoError(t, err)
		require.EqualValues(t, i, o.GetQuestion().GetIndex())
		require.Equal(t, plan.GetWindows()[0].GetHash(), o.GetWindow().GetHash())
	}
}

func TestIndexReportTellsHowTheCostGrows(t *testing.T) {
	t.Parallel()
	r := newIndexReport(IndexConfig{Items: 200, Databases: []string{SQLite}})
	r.Rounds = []IndexRound{{
		Database: SQLite, FillS: 2, Fill: map[string]float64{"gateway": 0.1}, ExportS: 3, Export: map[string]float64{"gateway": 0.2},
		Parts: []IndexPart{
			{Items: 100, Seconds: 1, Processor: map[string]float64{"gateway": 0.2, "broker": 0.1}, Anonymous: map[string]int64{"gateway": 50e6}, StatusMS: 7},
			{Items: 200, Seconds: 2, Processor: map[string]float64{"gateway": 0.3}},
		},
		Peak: map[string]int64{"gateway": 90e6},
	}}
	require.InDelta(t, 1.5, r.Rounds[0].Later(), 1e-9)
	clock, processor := r.Rounds[0].Slopes()
	require.InDelta(t, math.Log2(3), clock, 1e-9)
	require.InDelta(t, math.Log2(2.5), processor, 1e-9)
	var text strings.Builder
	r.Write(&text)
	require.Contains(t, text.String(), "`lark bench index --items 200 --databases sqlite`")
	require.Contains(t, text.String(), "costs the gateway 1.50 times after the first tenth")
	require.Contains(t, text.String(), "| 100 | 100 | 2.00 ms | 1.00 ms | 50 MB | 0 MB | 7 ms |")
	require.Contains(t, text.String(), "| 200 | 50 | 3.00 ms |")
}
