package testencoder

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFramesFollowFromThePCMAlone(t *testing.T) {
	t.Parallel()
	e := New(5, 10, 44100, 0)
	pcm := make([]int16, 2*44100)
	a, err := e.Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, []int{20, 5, 100}, []int{a.Rows, a.Cols, len(a.Data)})
	b, err := New(5, 10, 44100, 0).Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, a, b)
	pcm[7]++
	c, err := e.Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.NotEqual(t, a, c)
	require.EqualValues(t, 2, e.Encoded())

	short, err := e.Encode(t.Context(), pcm[:10])
	require.NoError(t, err)
	require.Equal(t, 1, short.Rows)
	_, err = e.Encode(t.Context(), nil)
	require.ErrorContains(t, err, "no samples")
}

func TestDelayEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(1, 10, 44100, time.Hour)
		begun := time.Now()
		_, err := e.Encode(t.Context(), make([]int16, 10))
		require.NoError(t, err)
		require.Equal(t, time.Hour, time.Since(begun), "of the test's clock")

		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(stop) })
		_, err = e.Encode(ctx, make([]int16, 10))
		require.ErrorIs(t, err, stop)
		require.EqualValues(t, 1, e.Encoded())
	})
}
