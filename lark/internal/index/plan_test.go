package index

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// TestTwinsAreCounted: equal bytes, equal sound in other bytes, and sound that is known of files that were not read.
func TestTwinsAreCounted(t *testing.T) {
	t.Parallel()
	w, err := newTwins()
	require.NoError(t, err)
	for i := range 1000 {
		require.NoError(t, w.add("bytes"+strconv.Itoa(i), "sound"+strconv.Itoa(i)))
	}
	for _, add := range [][2]string{{"bytes1", "sound1"}, {"bytes1", "sound1"}, {"other", "sound2"}, {"", "sound3"}, {"plain", ""}, {"plain", ""}, {"", ""}} {
		require.NoError(t, w.add(add[0], add[1]))
	}
	bytes, sound, err := w.count()
	require.NoError(t, err)
	require.Equal(t, []int{3, 2}, []int{bytes, sound})
	require.NoError(t, w.close())
	_, err = os.Stat(w.dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAPlanEstimates(t *testing.T) {
	t.Parallel()
	p := Plan{
		Good: 10, NoLength: 5, Windows: 20, WindowsKnown: 10, HeardS: 500, Answers: 40, AnswersKnown: 30,
		Rates: client.Rates{Windows: 1, Answers: 1, EncoderS: 2, DecoderS: 1, PromptTokens: 100, OutputTokens: 10, Prices: &client.UnitPrices{Currency: "EUR", AudioSecond: 0.001, EncoderSecond: 0.01, PromptToken: 0.0001, OutputToken: 0.001}},
	}
	e := p.estimate()
	require.Equal(t, []float64{60, 50, 8000, 800}, []float64{e.EncoderS, e.DecoderS, e.PromptTokens, e.OutputTokens})
	require.InDelta(t, 1+0.6+0.8+0.8, *e.Amount, 1e-9)
	require.Equal(t, []float64{80, 80}, []float64{e.Without.EncoderS, e.Without.DecoderS})
	p.Rates.Answers = 0
	require.Nil(t, p.estimate())
}
