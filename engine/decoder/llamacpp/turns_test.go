package llamacpp

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
)

// Conversations become the ids that the families' own chat templates and tokenizers make of them (testdata/turns.py).
func TestConversationsAreThoseOfTheChatTemplate(t *testing.T) {
	t.Parallel()
	if os.Getenv(audiotest.DirEnv) != "" {
		t.Skip("the ids are those of the tokenizers that lie in this repository")
	}
	raw, err := os.ReadFile("testdata/turns.json")
	require.NoError(t, err)
	var golden map[string]map[string]struct {
		Turns       []contract.Turn
		Placeholder int
		IDs         []int
	}
	require.NoError(t, json.Unmarshal(raw, &golden))
	require.Len(t, golden, len(audiotest.Families))
	for family, cases := range golden {
		require.Len(t, cases, 4)
		b := audiotest.Bundle(t, family, "hf")
		v, release, err := OpenVocabulary(b.LLMPath(), exact(t).NativeDir, deps().Log)
		require.NoError(t, err)
		template, err := prompt.New(b.Prompt, v)
		require.NoError(t, err)
		for name, c := range cases {
			system, turns := "", c.Turns
			if turns[0].Role == "system" {
				system, turns = turns[0].Text, turns[1:]
			}
			ids, err := template.PrefixFor(system)
			require.NoError(t, err)
			last := len(turns) - 1
			after, err := template.After(turns[last].Text, turns[:last]...)
			require.NoError(t, err)
			require.Equal(t, c.IDs, append(append(ids, c.Placeholder), after...), "%s: %s", family, name)
		}
		require.NoError(t, release())
	}
}

// A conversation is answered in a batch as it is alone, whatever else is asked of the window; system texts and turns change the answer.
func TestConversationsAreAnswered(t *testing.T) {
	t.Parallel()
	b := qwen(t, "qwen2.5-omni")
	e := start(t, b, exact(t))
	soft := decodertest.Soft(4, 30, b.LLM.Hidden)
	history := []contract.Turn{{Role: contract.RoleUser, Text: "What is the tempo?"}, {Role: contract.RoleAssistant, Text: "Fast."}}
	questions := []contract.Question{{Index: 0, Text: "Why?"}, {Index: 1, Text: "Why?", History: history}, {Index: 2, Text: "Why?", History: append(history, history...)}}
	ask := func(system string, questions ...contract.Question) []contract.Result {
		results, err := e.Answer(t.Context(), contract.Request{Soft: soft, System: system, Questions: questions})
		require.NoError(t, err)
		return results
	}
	together := ask("", questions...)
	texts := map[string]bool{}
	for i, q := range questions {
		require.NoError(t, together[i].Err)
		alone := ask("", q)[0]
		require.Equal(t, alone.Text, together[i].Text)
		require.Equal(t, alone.PromptTokens, together[i].PromptTokens)
		texts[alone.Text] = true
	}
	texts[ask("Be short.", questions[0])[0].Text] = true
	require.Len(t, texts, 4)
	broken := ask("", contract.Question{Text: "Why?", History: history[:1]}, questions[0])
	require.ErrorContains(t, broken[0].Err, "the last turn is the user's")
	require.Equal(t, together[0].Text, broken[1].Text)

	b.Prompt.Turn, b.Prompt.System = "", ""
	e = start(t, b, exact(t))
	plain := ask("", questions[1], questions[0])
	require.ErrorIs(t, plain[0].Err, contract.ErrNoTurns)
	require.Equal(t, together[0].Text, plain[1].Text)
	require.ErrorIs(t, ask("Be short.", questions[0])[0].Err, contract.ErrNoSystem)
}
