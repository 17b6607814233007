package index

import (
	"context"

	"github.com/larkstream/larkstream/gateway/client"
)

// EmbeddingRow is a row of embeddings: one for each track that has a pooled embedding. Lists of one encoder have one length.
type EmbeddingRow struct {
	Number  int64  `json:"number" parquet:"number"`
	ItemID  string `json:"item_id" parquet:"item_id"`
	Encoder string `json:"encoder" parquet:"encoder,dict"`
	// Embedding is the mean over the frames of all windows that were heard, with length 1.
	Embedding []float32 `json:"embedding" parquet:"embedding,list"`
}

// maxPartValues is how many numbers a part of embeddings has at most, because a writer of Parquet holds them until the part ends: 64 MB.
const maxPartValues = 16 << 20

// exportEmbeddings writes the table of embeddings and returns its parts.
func (e Export) exportEmbeddings(ctx context.Context, to target, form format, run string) (parts []Part, err error) {
	rows := newTable(e, to, tableEmbeddings, form.embeddings)
	err = EachEmbedding(ctx, e.Gateway, run, func(v client.Embedding) error {
		rows.e.PartRows = min(rows.e.PartRows, max(1, maxPartValues/max(1, len(v.Values))))
		return rows.add(ctx, EmbeddingRow{Number: int64(v.Number), ItemID: v.ItemID, Encoder: v.Encoder, Embedding: v.Values})
	})
	if closed := rows.close(err == nil); err == nil {
		err = closed
	}
	return rows.parts, err
}

// EachEmbedding calls fn for each pooled embedding of a run, in the order of the items.
func EachEmbedding(ctx context.Context, gw *client.Client, run string, fn func(client.Embedding) error) error {
	cursor := ""
	for {
		page, err := gw.RunEmbeddings(ctx, run, cursor)
		if err != nil {
			return err
		}
		for _, v := range page.Embeddings {
			if err := fn(v); err != nil {
				return err
			}
		}
		if page.Next == nil {
			return nil
		}
		cursor = *page.Next
	}
}
