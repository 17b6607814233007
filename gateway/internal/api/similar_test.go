package api_test

import (
	"math"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/shared/event"
)

func degrees(d float64) float64 { return math.Cos(d * math.Pi / 180) }

func TestSimilarTracksAreFound(t *testing.T) {
	t.Parallel()
	r, ctx := setup(t), t.Context()
	r.settledRun(event.TenantDefault, "one", []string{"far", "near", "query", "copy", "bare", "failed"}, map[string]int{"far": 150, "near": 110, "query": 90, "copy": 91, "bare": 1})
	for _, name := range []string{"query", "file:///query"} {
		found, err := r.client.Similar(ctx, "one-name", name, client.SimilarOptions{N: 2})
		require.NoError(t, err)
		require.Equal(t, client.SimilarItem{ID: "query", URI: "file:///query"}, found.Item)
		require.Equal(t, []any{"test", 3, 1, 0}, []any{found.Encoder, found.Compared, found.Missing, found.Other})
		require.Len(t, found.Tracks, 2)
		for i, want := range []client.SimilarTrack{
			{SimilarItem: client.SimilarItem{ID: "copy", URI: "file:///copy"}, Similarity: degrees(1), SameFile: true, Duplicate: true},
			{SimilarItem: client.SimilarItem{ID: "near", URI: "file:///near"}, Similarity: degrees(20), SameFile: true},
		} {
			require.InDelta(t, want.Similarity, found.Tracks[i].Similarity, 1e-6)
			want.Similarity = found.Tracks[i].Similarity
			require.Equal(t, want, found.Tracks[i])
		}
	}
	found, err := r.client.Similar(ctx, "one", "query", client.SimilarOptions{NearDuplicate: degrees(25)})
	require.NoError(t, err)
	require.Len(t, found.Tracks, 3)
	require.Equal(t, []bool{true, true, false}, []bool{found.Tracks[0].Duplicate, found.Tracks[1].Duplicate, found.Tracks[2].Duplicate})

	for item, want := range map[string]struct {
		status int
		code   string
	}{
		"bare": {http.StatusConflict, "embedding_missing"}, "failed": {http.StatusConflict, "embedding_missing"}, "none": {http.StatusNotFound, "item_not_found"}, "": {http.StatusUnprocessableEntity, "invalid_request"},
	} {
		_, err := r.client.Similar(ctx, "one", item, client.SimilarOptions{})
		var p *client.Problem
		require.ErrorAs(t, err, &p, item)
		require.Equal(t, []any{want.status, want.code}, []any{p.Status, p.Code}, item)
	}
	for _, opts := range []client.SimilarOptions{{N: 101}, {N: -1}, {NearDuplicate: 1.1}} {
		_, err := r.client.Similar(ctx, "one", "query", opts)
		require.Error(t, err)
	}
}

// TestEmbeddingsAreListedInPagesOfBoundedSize: each once, in the order of the items.
func TestEmbeddingsAreListedInPagesOfBoundedSize(t *testing.T) {
	t.Parallel()
	r, ctx := setup(t), t.Context()
	r.settledRun(event.TenantDefault, "one", []string{"a", "b", "c", "d"}, map[string]int{"a": 10, "b": 20, "c": 1, "d": 30})
	page, err := r.client.RunEmbeddings(ctx, "one", "")
	require.NoError(t, err)
	require.Nil(t, page.Next)
	require.Len(t, page.Embeddings, 3)
	require.Equal(t, []any{1, "a", "test"}, []any{page.Embeddings[0].Number, page.Embeddings[0].ItemID, page.Embeddings[0].Encoder})
	require.InDelta(t, degrees(10), page.Embeddings[0].Values[0], 1e-6)

	names := []string{"0", "1", "2", "3", "4"}
	r.settledRunWith(event.TenantDefault, "wide", names, map[string]int{"0": 2, "1": 2, "2": 2, "3": 2, "4": 2}, func(int) []float32 { return make([]float32, 100_000) })
	var seen []string
	cursor := ""
	for {
		page, err := r.client.RunEmbeddings(ctx, "wide", cursor)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Embeddings), 2, "256 Ki numbers")
		for _, e := range page.Embeddings {
			seen = append(seen, e.ItemID)
			require.Len(t, e.Values, 100_000)
		}
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	require.Equal(t, names, seen)
	_, err = r.client.RunEmbeddings(ctx, "one", "nonsense")
	require.ErrorContains(t, err, "cursor")
}

// TestVectorsOfAnotherTenantAreNotShown in either way.
func TestVectorsOfAnotherTenantAreNotShown(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	r.settledRun("acme", "one", []string{"a", "b"}, map[string]int{"a": 10, "b": 20})
	for _, name := range []string{"one", "one-name"} {
		_, err := r.as("other", auth.ScopeRuns).Similar(t.Context(), name, "a", client.SimilarOptions{})
		var p *client.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, "run_not_found", p.Code)
		_, err = r.as("other", auth.ScopeRuns).RunEmbeddings(t.Context(), name, "")
		require.ErrorAs(t, err, &p)
		require.Equal(t, "run_not_found", p.Code)
	}
}
