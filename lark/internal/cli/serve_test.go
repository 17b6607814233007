package cli

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAttachedChildEndsWithItsParent(t *testing.T) {
	t.Parallel()
	parent, end := io.Pipe()
	err := runAttached(t.Context(), parent, time.Hour, func(ctx context.Context) error {
		require.NoError(t, end.Close())
		<-ctx.Done()
		return context.Cause(ctx)
	})
	require.ErrorIs(t, err, errOrphaned)
}

func TestAttachedChildThatHangsIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, end := io.Pipe()
		require.NoError(t, end.Close())
		release := make(chan struct{})
		began := time.Now()
		err := runAttached(t.Context(), parent, orphanLimit, func(context.Context) error {
			<-release
			return nil
		})
		require.ErrorIs(t, err, errOrphaned)
		require.Equal(t, orphanLimit, time.Since(began))
		close(release)
	})
}

func TestAttachedChildThatFailsByItself(t *testing.T) {
	t.Parallel()
	parent, end := io.Pipe()
	fault := errors.New("no model")
	err := runAttached(t.Context(), parent, time.Hour, func(context.Context) error { return fault })
	require.Equal(t, fault, err)
	require.NoError(t, end.Close())
}

func TestAttachedChildThatIsStoppedMayTakeItsTime(t *testing.T) {
	t.Parallel()
	parent, end := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	err := runAttached(ctx, parent, 0, func(ctx context.Context) error {
		stop()
		<-ctx.Done()
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, end.Close())
}
