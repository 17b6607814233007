package answers

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

func TestAnswersComeBackAsTheyWereStored(t *testing.T) {
	t.Parallel()
	for _, a := range []Answer{
		{}, {Text: "C minor.", PromptTokens: 280, OutputTokens: 4, AudioTokens: 240, Finish: "stop", Confidence: 0.75}, {Text: strings.Repeat("\x01", event.MaxAnswerBytes), PromptTokens: 1, OutputTokens: 1},
	} {
		raw, err := seal("answer/v1/a", a)
		require.NoError(t, err)
		require.LessOrEqual(t, len(raw), maxStored)
		back, err := unseal("answer/v1/a", raw)
		require.NoError(t, err)
		require.Equal(t, a, back)
		_, err = unseal("answer/v1/b", raw)
		require.ErrorIs(t, err, errOtherKey)
	}
	for _, a := range []Answer{{Text: "\xff"}, {Text: strings.Repeat("x", event.MaxAnswerBytes+1)}, {PromptTokens: -1}, {OutputTokens: 1 << 40}, {Confidence: -0.1}, {Confidence: 1.1}, {AudioTokens: -1}, {Finish: "tired"}} {
		_, err := seal("answer/v1/a", a)
		require.Error(t, err)
	}
}

func TestNewRefusesMissingDependencies(t *testing.T) {
	t.Parallel()
	_, err := New(Deps{})
	require.Error(t, err)
}

// FuzzUnseal: whatever is accepted, behind any checksum, is an answer that may be stored.
func FuzzUnseal(f *testing.F) {
	const key = "answer/v1/a"
	good, err := seal(key, Answer{Text: "C minor.", PromptTokens: 280, OutputTokens: 4, AudioTokens: 240, Finish: "stop", Confidence: 0.75})
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"key":"answer/v1/a","text":"x","prompt_tokens":-1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sum := sha256.Sum256(raw)
		for _, value := range [][]byte{raw, append(sum[:], raw...)} {
			if a, err := unseal(key, value); err == nil {
				_, err = seal(key, a)
				require.NoError(t, err)
			}
		}
	})
}
