package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/vectors"
)

// maxSearches is how many searches one gateway does at once: each reads all vectors of a run.
const maxSearches = 2

type similarInput struct {
	ID        string  `path:"id" doc:"Id or name of a run" maxLength:"100"`
	Item      string  `query:"item" doc:"Id or URI of the item" required:"true" minLength:"1" maxLength:"2048"`
	N         int     `query:"n" doc:"How many tracks" minimum:"1" maximum:"100" default:"10"`
	Duplicate float64 `query:"near_duplicate" doc:"Similarity from which a track is told as a near-duplicate. The default was measured with lark-nano" exclusiveMinimum:"0" maximum:"1" default:"0.97"`
}

type similarOutput struct{ Body client.Similar }

type embeddingsInput struct {
	ID     string `path:"id" doc:"Id or name of a run" maxLength:"100"`
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
}

type embeddingsOutput struct{ Body client.Embeddings }

func (a *API) registerSimilar() {
	similar := a.operation("find-similar", http.MethodGet, "/v1/runs/{id}/similar", "Find similar tracks",
		"The tracks of the run whose pooled embeddings are nearest to an item's, by exact search: every track of the run that has one is compared.")
	similar.Tags = []string{"runs"}
	similar.Middlewares = huma.Middlewares{a.allowed, a.limited, a.audited, a.patient}
	huma.Register(a.huma, similar, a.findSimilar)
	list := a.operation("list-run-embeddings", http.MethodGet, "/v1/runs/{id}/embeddings", "List pooled embeddings",
		"The mean of each track's embedding over the frames of all windows that were heard, with length 1. In the order of the items, in pages of bounded size.")
	list.Tags = []string{"runs"}
	huma.Register(a.huma, list, a.listEmbeddings)
}

func (a *API) findSimilar(ctx context.Context, in *similarInput) (*similarOutput, error) {
	run, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	it, err := a.itemNamed(ctx, run.ID, in.Item)
	if err != nil {
		return nil, err
	}
	own, err := a.deps.Runs.Vectors(ctx, run.ID, it.N-1, 1)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	if len(own) == 0 || own[0].N != it.N {
		return nil, problem(http.StatusConflict, codeEmbeddingMissing, "the item is %s and has no pooled embedding: only items that were answered about have one, if their embeddings were "+
			"still stored when they ended and the gateway knew the model; another run over the same tracks makes what is missing", it.State)
	}
	if err := a.search.Acquire(ctx, 1); err != nil {
		return nil, a.fail(ctx, err)
	}
	defer a.search.Release(1)
	found, err := vectors.Nearest(ctx, a.deps.Runs, run.ID, own[0], in.N)
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	out := &similarOutput{Body: client.Similar{
		Item: itemName(it), Encoder: own[0].Space, Compared: found.Compared, Other: found.Other, Tracks: []client.SimilarTrack{},
		// The item itself has one. A run that goes on may have more by now than when it was read.
		Missing: max(0, run.Counts[store.ItemSucceeded]+run.Counts[store.ItemPartial]-found.Compared-found.Other-1),
	}}
	for _, near := range found.Nearest {
		other, err := a.deps.Runs.RunItems(ctx, run.ID, "", near.N-1, 1)
		if err != nil {
			return nil, a.failRun(ctx, err)
		}
		out.Body.Tracks = append(out.Body.Tracks, client.SimilarTrack{
			SimilarItem: itemName(other[0]), Similarity: near.Similarity, Duplicate: near.Similarity >= in.Duplicate,
			SameFile: it.SHA256 != "" && it.SHA256 == other[0].SHA256,
		})
	}
	return out, nil
}

// itemNamed finds an item by its id, or else by its URI.
func (a *API) itemNamed(ctx context.Context, run, name string) (store.Item, error) {
	items, err := a.deps.Runs.ItemsOf(ctx, run, []string{name})
	if err != nil {
		return store.Item{}, a.failRun(ctx, err)
	}
	if it, ok := items[name]; ok {
		return it, nil
	}
	it, found, err := a.deps.Runs.ItemAt(ctx, run, name)
	if err != nil {
		return store.Item{}, a.failRun(ctx, err)
	}
	if !found {
		return store.Item{}, problem(http.StatusNotFound, codeItemNotFound, "the run has no item with this id or URI")
	}
	return it, nil
}

func itemName(it store.Item) client.SimilarItem {
	return client.SimilarItem{ID: it.ID, URI: it.URI, Fields: it.Fields}
}

// pageValues is how many numbers a page of embeddings has at most, unless it is one embedding: about 3 MB of JSON.
const pageValues = 256 << 10

func (a *API) listEmbeddings(ctx context.Context, in *embeddingsInput) (*embeddingsOutput, error) {
	run, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after, err := openNumber("v", in.Cursor)
	if err != nil {
		return nil, err
	}
	out := &embeddingsOutput{Body: client.Embeddings{Embeddings: []client.Embedding{}}}
	page, err := a.deps.Runs.Vectors(ctx, run.ID, after, 1)
	if err == nil && len(page) > 0 { // the first one tells how many there is room for
		room := max(1, pageValues/max(1, len(page[0].Values)))
		if page, err = a.deps.Runs.Vectors(ctx, run.ID, after, room+1); len(page) > room {
			page = page[:room]
			out.Body.Next = makeCursor("v", strconv.Itoa(page[room-1].N))
		}
	}
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	for _, v := range page {
		out.Body.Embeddings = append(out.Body.Embeddings, client.Embedding{Number: v.N, ItemID: v.ItemID, Encoder: v.Space, Values: v.Values})
	}
	return out, nil
}
