package rounds_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/rounds"
)

// TestLoop: steps follow each other at once, an idle or failing round waits, Wake ends the wait, and trouble is logged once.
func TestLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := rounds.New(time.Minute, "runs", slog.New(slog.NewTextHandler(&log, nil)))
		begun := time.Now()
		var at []time.Duration
		steps := []struct {
			busy bool
			err  error
		}{{busy: true}, {}, {err: errors.New("away")}, {busy: true, err: errors.New("away")}, {}, {}}
		ctx, cancel := context.WithCancel(t.Context())
		err := l.Run(ctx, func(context.Context) (bool, error) {
			step := steps[len(at)]
			if at = append(at, time.Since(begun)); len(at) == 5 {
				l.Wake()
				l.Wake()
			}
			if len(at) == len(steps) {
				cancel()
			}
			return step.busy, step.err
		})
		require.NoError(t, err)
		require.Equal(t, []time.Duration{0, 0, time.Minute, 2 * time.Minute, 3 * time.Minute, 3 * time.Minute}, at)
		require.Equal(t, 1, strings.Count(log.String(), "work does not go on; trying again\" work=runs"))
	})
}
