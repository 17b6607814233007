package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Without the URL of a Redis, the cache is the object store alone.
func ExampleOpen() {
	ctx := context.Background()
	store, err := blob.Open(ctx, "mem://")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()
	embeddings, err := cache.Open(ctx, "", store, cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = embeddings.Close() }()

	const key = "emb/v1/nano/window"
	_, err = embeddings.Get(ctx, key, cache.Shape{})
	fmt.Println("known:", !errors.Is(err, cache.ErrMiss))

	if err := embeddings.Put(ctx, key, tensor.Matrix{Rows: 1, Cols: 2, Data: []float32{0.5, -1}}); err != nil {
		fmt.Println(err)
		return
	}
	embedding, err := embeddings.Get(ctx, key, cache.Shape{})
	fmt.Println(embedding.Rows, embedding.Cols, embedding.Data, err)
	// Output:
	// known: false
	// 1 2 [0.5 -1] <nil>
}
