package dataset

import (
	"context"
	"iter"

	"golang.org/x/sync/errgroup"
)

// ordered does items, jobs of them at once, and emits results in the order of the items. At most four results a job wait for an earlier one.
func ordered[T, R any](ctx context.Context, jobs int, items iter.Seq2[T, error], do func(context.Context, T) (R, error), emit func(R) error) error {
	group, ctx := errgroup.WithContext(ctx)
	slots, queue := make(chan struct{}, jobs), make(chan chan R, 4*jobs)
	group.Go(func() error {
		defer close(queue)
		for item, err := range items {
			if err != nil {
				return err
			}
			result := make(chan R, 1)
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			group.Go(func() error {
				defer func() { <-slots }()
				r, err := do(ctx, item)
				if err != nil {
					return err
				}
				result <- r
				return nil
			})
			select {
			case queue <- result:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	group.Go(func() error {
		for result := range queue {
			select {
			case r := <-result:
				if err := emit(r); err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return group.Wait()
}
