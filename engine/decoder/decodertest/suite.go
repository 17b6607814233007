// Package decodertest holds the behaviour that every engine must show.
package decodertest

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Run shows the behaviour on engines made by open for soft prompts of the given width.
func Run(t *testing.T, width int, open func(t *testing.T) contract.Engine) {
	t.Helper()
	s := suite{width: width, open: func(t *testing.T) contract.Engine {
		t.Helper()
		e := open(t)
		t.Cleanup(func() { require.NoError(t, e.Close()) })
		return e
	}}
	t.Run("answers in the order asked", s.order)
	t.Run("streams what it answers", s.stream)
	t.Run("answers the same again, alone or beside others", s.repeat)
	t.Run("ends when cancelled", s.cancel)
	t.Run("ends when closed", s.close)
	t.Run("refuses a soft prompt of another width", s.refuse)
}

type suite struct {
	width int
	open  func(t *testing.T) contract.Engine
}

// Soft is a soft prompt whose values depend on seed.
func Soft(seed, frames, width int) tensor.Matrix {
	data := make([]float32, frames*width)
	for i := range data {
		data[i] = float32(math.Sin(float64(i*7+seed*13+1))) * 1.5
	}
	return tensor.Matrix{Rows: frames, Cols: width, Data: data}
}

func (s suite) request(seed, questions int) contract.Request {
	req := contract.Request{Soft: Soft(seed, 20, s.width)}
	for i := range questions {
		req.Questions = append(req.Questions, contract.Question{Index: 3*i + 1, Text: strings.Repeat("what key ", i+1)})
	}
	return req
}

func (s suite) order(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	results, err := e.Answer(t.Context(), s.request(1, 9))
	require.NoError(t, err)
	require.Len(t, results, 9)
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, 3*i+1, r.Index)
		require.Greater(t, r.PromptTokens, 20)
		require.Equal(t, 20, r.AudioTokens)
		require.Positive(t, r.OutputTokens)
		require.Contains(t, []string{contract.FinishStop, contract.FinishLength}, r.Finish)
		require.False(t, r.Began.IsZero())
	}
	results, err = e.Answer(t.Context(), contract.Request{Soft: Soft(1, 3, s.width)})
	require.NoError(t, err)
	require.Empty(t, results)
}

func (s suite) stream(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	req := s.request(2, 5)
	streamed := map[int]string{}
	req.OnToken = func(index int, text string) {
		require.NotEmpty(t, text)
		streamed[index] += text
	}
	results, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	for _, r := range results {
		require.Equal(t, r.Text, streamed[r.Index])
	}
}

func (s suite) repeat(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	const windows = 6
	alone := make([][]contract.Result, windows)
	for i := range windows {
		for q := range s.request(i, 4).Questions {
			req := s.request(i, 4)
			req.Questions = req.Questions[q : q+1]
			results, err := e.Answer(t.Context(), req)
			require.NoError(t, err)
			alone[i] = append(alone[i], results...)
		}
	}
	together := make([][]contract.Result, windows)
	var group sync.WaitGroup
	for i := range windows {
		group.Go(func() {
			var err error
			together[i], err = e.Answer(t.Context(), s.request(i, 4))
			require.NoError(t, err)
		})
	}
	group.Wait()
	texts := map[string]bool{}
	for i := range windows {
		for q := range alone[i] {
			require.Equal(t, alone[i][q].Text, together[i][q].Text, "window %d question %d", i, q)
			require.Equal(t, alone[i][q].OutputTokens, together[i][q].OutputTokens)
			texts[alone[i][q].Text] = true
		}
	}
	require.Greater(t, len(texts), windows, "answers depend on window and question")
}

func (s suite) cancel(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	cause := errors.New("the user has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	req := s.request(3, 40)
	req.OnToken = func(int, string) { cancel(cause) }
	_, err := e.Answer(ctx, req)
	require.ErrorIs(t, err, cause)
	_, err = e.Answer(ctx, s.request(3, 1))
	require.ErrorIs(t, err, cause)
	results, err := e.Answer(t.Context(), s.request(3, 2))
	require.NoError(t, err, "others are not touched")
	require.Len(t, results, 2)
}

func (s suite) close(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	var closing sync.WaitGroup
	var once sync.Once
	req := s.request(4, 50)
	req.OnToken = func(int, string) {
		once.Do(func() { closing.Go(func() { require.NoError(t, e.Close()) }) })
	}
	var err error
	for err == nil { // until the closing, which has begun with the first token, is felt
		_, err = e.Answer(t.Context(), req)
	}
	require.ErrorIs(t, err, contract.ErrClosed)
	closing.Wait()
	_, err = e.Answer(t.Context(), s.request(4, 1))
	require.ErrorIs(t, err, contract.ErrClosed, "a closed engine stays closed")
	require.NoError(t, e.Close(), "closing twice is allowed")
}

func (s suite) refuse(t *testing.T) {
	t.Parallel()
	e := s.open(t)
	for name, soft := range map[string]tensor.Matrix{
		"wider": Soft(1, 3, s.width+1), "empty": {Cols: s.width}, "short": {Rows: 3, Cols: s.width, Data: make([]float32, 5)},
		"not a number": {Rows: 1, Cols: s.width, Data: append(make([]float32, s.width-1), float32(math.NaN()))},
	} {
		_, err := e.Answer(t.Context(), contract.Request{Soft: soft, Questions: []contract.Question{{Text: "x"}}})
		require.ErrorContains(t, err, "checking the soft prompt", name)
	}
}
