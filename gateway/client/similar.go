package client

import (
	"context"
	"fmt"
	"strconv"
)

// NearDuplicateAbove is the cosine similarity above which two tracks are told as near-duplicates unless the caller says another one. It was measured with
// lark-nano, see docs/catalogues.md.
const NearDuplicateAbove = 0.97

// Similar are the tracks of a run that sound most like one of them.
type Similar struct {
	Item     SimilarItem    `json:"item"`
	Encoder  string         `json:"encoder" doc:"Encoder, weights and precision of the embeddings"`
	Compared int            `json:"compared" doc:"Other tracks of the run that were compared: all that have an embedding by this encoder"`
	Missing  int            `json:"missing" doc:"Tracks that were answered about and have no pooled embedding: it was no longer stored when the item ended, or the run is older than this function"`
	Other    int            `json:"other_encoder" doc:"Tracks whose embeddings are by another encoder and cannot be compared"`
	Tracks   []SimilarTrack `json:"tracks" doc:"The most similar first"`
}

// SimilarItem names an item.
type SimilarItem struct {
	ID     string            `json:"id"`
	URI    string            `json:"uri"`
	Fields map[string]string `json:"fields,omitempty"`
}

// SimilarTrack is a track with its similarity to another one.
type SimilarTrack struct {
	SimilarItem
	Similarity float64 `json:"similarity" doc:"Cosine of the pooled embeddings, -1 to 1"`
	SameFile   bool    `json:"same_file,omitempty" doc:"The files have the same SHA-256"`
	Duplicate  bool    `json:"near_duplicate,omitempty" doc:"The similarity is at least near_duplicate: probably the same recording. It is told and never merged"`
}

// SimilarOptions say what is looked for.
type SimilarOptions struct {
	// N is how many tracks, 1 to 100; 0 means 10.
	N int
	// NearDuplicate is the similarity from which a track is told as a near-duplicate; 0 means NearDuplicateAbove.
	NearDuplicate float64
}

// Embeddings is a page of the pooled embeddings of a run.
type Embeddings struct {
	Embeddings []Embedding `json:"embeddings" doc:"In the order of the items. Items without one are left out"`
	Next       *string     `json:"next,omitempty" doc:"Cursor of the next page; left out = there is none"`
}

// Embedding is the pooled embedding of a track: the mean over the frames of all windows that were heard, with length 1.
type Embedding struct {
	Number  int       `json:"number"`
	ItemID  string    `json:"item_id"`
	Encoder string    `json:"encoder" doc:"Encoder, weights and precision: embeddings of one encoder have one length and can be compared"`
	Values  []float32 `json:"values"`
}

// Similar finds the tracks of a run that sound most like one of them, by its id or URI.
func (c *Client) Similar(ctx context.Context, run, item string, opts SimilarOptions) (found Similar, err error) {
	u := c.base.JoinPath("/v1/runs", run, "similar")
	asked := map[string]string{"item": item, "n": number(opts.N)}
	if opts.NearDuplicate != 0 {
		asked["near_duplicate"] = strconv.FormatFloat(opts.NearDuplicate, 'g', -1, 64)
	}
	u.RawQuery = query(asked)
	if err := c.get(ctx, u, &found); err != nil {
		return Similar{}, fmt.Errorf("looking for tracks like %.200s in run %s: %w", item, run, err)
	}
	return found, nil
}

// RunEmbeddings returns a page of the pooled embeddings of a run.
func (c *Client) RunEmbeddings(ctx context.Context, run, cursor string) (page Embeddings, err error) {
	u := c.base.JoinPath("/v1/runs", run, "embeddings")
	u.RawQuery = query(map[string]string{"cursor": cursor})
	if err := c.get(ctx, u, &page); err != nil {
		return Embeddings{}, fmt.Errorf("reading embeddings of run %s: %w", run, err)
	}
	return page, nil
}
