package batches

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// resultPage is how many results are read at once.
const resultPage = 200

// finalize writes the files of a batch, then ends it. Their names follow from the batch's, so that doing it again after a crash changes nothing.
func (c *Controller) finalize(ctx context.Context, b store.Batch) error {
	output, err := c.write(ctx, b, "output", store.BatchItemCompleted)
	if err != nil {
		return err
	}
	faults, err := c.write(ctx, b, "error", store.BatchItemFailed, store.BatchItemLeft)
	if err != nil {
		return err
	}
	_, err = c.deps.Store.EndBatch(ctx, b.ID, output, faults)
	return err
}

// write writes the results in some states to the object store, and returns their file; nil where there are none.
func (c *Controller) write(ctx context.Context, b store.Batch, kind string, states ...string) (*store.File, error) {
	spool, err := os.CreateTemp(c.deps.SpoolDir, "lark-batch-*")
	if err != nil {
		return nil, fmt.Errorf("writing results: %w", err)
	}
	defer func() { _ = spool.Close() }()
	if err := os.Remove(spool.Name()); err != nil {
		return nil, fmt.Errorf("unlinking results: %w", err)
	}
	w := bufio.NewWriter(spool)
	for after := 0; ; {
		items, err := c.deps.Store.BatchItems(ctx, b.ID, after, resultPage, states...)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.Line == "" {
				it.Line = lineOf(b, it, nil, left(b))
			}
			_, _ = w.WriteString(it.Line + "\n") // Flush tells
			after = it.N
		}
		if len(items) < resultPage {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("writing results: %w", err)
	}
	size, err := spool.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return nil, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	id := "file-" + strings.TrimPrefix(b.ID, openai.BatchPrefix) + "-" + kind
	if _, err := c.deps.Blobs.Put(ctx, store.FileKey(id), spool, math.MaxInt64); err != nil {
		return nil, err
	}
	now := c.now().UTC().Truncate(time.Millisecond)
	return &store.File{
		ID: id, Tenant: b.Tenant, Purpose: openai.PurposeOutput, Name: b.ID + "_" + kind + ".jsonl", Bytes: size, Created: now, Expires: now.Add(time.Duration(b.Spec.KeepS) * time.Second),
	}, nil
}

// left is why a request of a batch has no answer.
func left(b store.Batch) *openai.LineError {
	if !b.Times[store.BatchCancelling].IsZero() {
		return &openai.LineError{Code: "batch_cancelled", Message: "This request was not answered before the batch was cancelled."}
	}
	return &openai.LineError{Code: "batch_expired", Message: "This request was not answered before the completion window expired."}
}
