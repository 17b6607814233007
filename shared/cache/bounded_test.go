package cache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// TestACommandIsGivenUpAsAWhole: one limit for the dial, the greeting and the command, and not one for each of them.
func TestACommandIsGivenUpAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		err := bounded{}.ProcessHook(func(ctx context.Context, _ redis.Cmder) error {
			<-ctx.Done()
			return ctx.Err()
		})(t.Context(), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, giveUp, time.Since(begun))
		err = bounded{}.ProcessPipelineHook(func(ctx context.Context, _ []redis.Cmder) error {
			<-ctx.Done()
			return ctx.Err()
		})(t.Context(), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*giveUp, time.Since(begun))
	})
}
