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
