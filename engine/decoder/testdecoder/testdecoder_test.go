package testdecoder

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBehaviour(t *testing.T) {
	t.Parallel()
	decodertest.Run(t, 8, func(*testing.T) contract.Engine { return New(8, 0) })
}

func TestDelayIsPerQuestionAndEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(8, time.Second)
		req := contract.Request{Soft: decodertest.Soft(1, 4, 8), Questions: make([]contract.Question, 3)}
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
