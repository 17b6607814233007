package runs

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

const (
	// settleWindows is how many windows the items of one round have at most whose embeddings are pooled, unless it is one item: a leader must not be away
	// for longer than its lease.
	settleWindows = 64
	// embeddingsAway begins the reason of a run that waits for the object store.
	embeddingsAway = "waiting for the embeddings of items that have ended: "
)

// settle ends the items whose jobs have ended, with their vectors, and returns how many. Vectors come first and are written with the items' ends, so that no
// crash leaves an item without the vector that it could have. While the object store does not answer, items wait, and the run says so.
func (c *Controller) settle(ctx context.Context, run store.Run) (int, error) {
	items, err := c.deps.Store.EndedItems(ctx, run.ID, c.cfg.Batch)
	if err != nil || len(items) == 0 {
		return 0, err
	}
	if c.deps.Pool != nil {
		items = affordableNow(items)
		if err := c.pool(ctx, run, items); err != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("%s%w", embeddingsAway, err)
				if noteErr := c.deps.Store.NoteRun(ctx, run.ID, err.Error()); noteErr != nil {
					return 0, noteErr
				}
			}
			return 0, err
		}
		if strings.HasPrefix(run.Reason, embeddingsAway) {
			if err := c.deps.Store.NoteRun(ctx, run.ID, ""); err != nil {
				return 0, err
			}
		}
	}
	return c.deps.Store.SettleItems(ctx, run.ID, items)
}

// affordableNow are the first items, whose windows can be pooled in one round.
func affordableNow(items []store.EndedItem) []store.EndedItem {
	windows := 0
	for i, it := range items {
		if windows += len(it.Windows); i > 0 && windows > settleWindows {
			return items[:i]
		}
	}
	return items
}

// pool sets the vectors of items, several at once.
func (c *Controller) pool(ctx context.Context, run store.Run, items []store.EndedItem) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.cfg.Readers)
	for i := range items {
		if len(items[i].Windows) == 0 {
			continue
		}
		group.Go(func() (err error) {
			items[i].Vector, err = c.deps.Pool(ctx, run.Tenant, items[i])
			return err
		})
	}
	return group.Wait()
}
