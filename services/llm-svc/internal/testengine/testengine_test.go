package testengine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/services/llm-svc/internal/engine"
	"github.com/larkstream/larkstream/services/llm-svc/internal/engine/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBehaviour(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, 8, func(*testing.T) engine.Engine { return New(8, 0) })
}

func TestDelayIsPerQuestionAndEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(8, time.Second)
		req := engine.Request{Soft: enginetest.Soft(1, 4, 8), Questions: make([]engine.Question, 3)}
		began := time.Now()
		_, err := e.Answer(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.EqualValues(t, 3, e.Answered())

		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1500*time.Millisecond, cause)
		defer cancel()
		_, err = e.Answer(ctx, req)
		require.ErrorIs(t, err, cause)
		require.EqualValues(t, 4, e.Answered())
	})
}
