package batch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/encoder/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What waits while the device is busy runs together, no more than fit.
func TestWhatWaitsRunsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		hold, released := make(chan struct{}), false
		q := batch.New(batch.Config[int, int]{
			Most: 3, Release: func() { released = true },
			Run: func(in []int, _ func() bool) ([]int, error) {
				sizes = append(sizes, len(in))
				<-hold
				out := make([]int, len(in))
				for i, v := range in {
					out[i] = 10 * v
				}
				return out, nil
			},
		})
		results := make(chan [2]int, 6)
		for i := range 6 {
			go func() {
				out, err := q.Do(t.Context(), i)
				if err == nil {
					results <- [2]int{i, out}
				}
			}()
			synctest.Wait()
		}
		close(hold)
		for range 6 {
			r := <-results
			require.Equal(t, 10*r[0], r[1])
		}
		q.Close()
		require.Equal(t, []int{1, 3, 2}, sizes)
		require.True(t, released)
	})
}

func TestWorkEndsWithItsCallersAndWithTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun, gaveUp := make(chan struct{}), make(chan struct{}, 2)
		q := batch.New(batch.Config[int, int]{
			Most: 2, Release: func() {},
			Run: func(_ []int, gone func() bool) ([]int, error) {
				begun <- struct{}{}
				synctest.Wait() // until whoever ends it has done so
				if gone() {
					gaveUp <- struct{}{}
				}
				return nil, errors.New("ended")
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		_, err := q.Do(ctx, 1)
		require.ErrorIs(t, err, context.Canceled)
		<-gaveUp
		go func() { <-begun; go q.Close() }()
		_, err = q.Do(t.Context(), 2)
		require.ErrorIs(t, err, batch.ErrClosed)
		<-gaveUp
		q.Close()
		_, err = q.Do(t.Context(), 3)
		require.ErrorIs(t, err, batch.ErrClosed)
	})
}

// A batch goes on while anybody waits for any of it.
func TestABatchGoesOnForThoseWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun, hold := make(chan int), make(chan struct{})
		q := batch.New(batch.Config[int, int]{
			Most: 2, Release: func() {},
			Run: func(in []int, gone func() bool) ([]int, error) {
				begun <- len(in)
				<-hold
				if gone() {
					return nil, context.Canceled
				}
				return in, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ends := make(chan error, 3)
		ask := func(ctx context.Context, in int) {
			out, err := q.Do(ctx, in)
			if err == nil && out != in {
				err = errors.New("another's result")
			}
			ends <- err
		}
		go ask(t.Context(), 1)
		require.Equal(t, 1, <-begun)
		go ask(ctx, 2)
		go ask(t.Context(), 3)
		synctest.Wait()
		hold <- struct{}{}
		require.NoError(t, <-ends)
		require.Equal(t, 2, <-begun)
		cancel()
		require.ErrorIs(t, <-ends, context.Canceled)
		hold <- struct{}{}
		require.NoError(t, <-ends)
		q.Close()
	})
}
