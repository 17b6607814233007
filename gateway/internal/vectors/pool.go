package vectors

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/event"
)

// Pooler makes the vectors of tracks from the embeddings that the encoder stage has stored.
type Pooler struct {
	bundle *model.Bundle
	cache  cache.Cache
}

// NewPooler refuses missing dependencies. The bundle is what the stages serve.
func NewPooler(b *model.Bundle, c cache.Cache) (*Pooler, error) {
	if b == nil || c == nil {
		return nil, errors.New("making pooler: bundle and cache are required")
	}
	return &Pooler{bundle: b, cache: c}, nil
}

// Pool returns the mean over the frames of all windows of an item of a tenant, with length 1. It returns nil without an error if there is none: an embedding is
// no longer stored or is that of another encoder, or the mean is 0. One window's embedding is in memory at a time.
func (p *Pooler) Pool(ctx context.Context, tenant string, it store.EndedItem) (*store.Vector, error) {
	scope := ""
	if it.Isolated {
		scope = event.ScopeOf(tenant)
	}
	sum, frames := make([]float64, p.bundle.Encoder.Width), 0
	for _, hash := range it.Windows {
		if hash == "" {
			return nil, nil
		}
		m, err := p.cache.Get(ctx, p.bundle.EmbeddingKey(hash)+scope, cache.Shape{Cols: len(sum)})
		if errors.Is(err, cache.ErrMiss) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading embedding: %w", err)
		}
		for r := range m.Rows {
			for i, v := range m.Data[r*m.Cols : (r+1)*m.Cols] {
				sum[i] += float64(v)
			}
		}
		frames += m.Rows
	}
	if frames == 0 {
		return nil, nil
	}
	values, ok := unit(sum)
	if !ok {
		return nil, nil
	}
	return &store.Vector{Space: p.bundle.EncoderKey(), Values: values}, nil
}

// unit scales a sum to length 1, which makes a mean of it as well. ok is false for a sum without a direction.
func unit(sum []float64) (values []float32, ok bool) {
	var squares float64
	for _, v := range sum {
		squares += v * v
	}
	norm := math.Sqrt(squares)
	if norm == 0 || math.IsInf(norm, 0) {
		return nil, false
	}
	values = make([]float32, len(sum))
	for i, v := range sum {
		values[i] = float32(v / norm)
	}
	return values, true
}
