package caption

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type golden struct {
	Cases []struct {
		Got  string   `json:"got"`
		Refs []string `json:"refs"`
	} `json:"cases"`
	Bleu   []float64 `json:"bleu"`
	RougeL []float64 `json:"rouge_l"`
	Cider  []float64 `json:"cider"`
	Meteor []float64 `json:"meteor"`
}

func readGolden(t *testing.T) (golden, []Case) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(raw, &g))
	var cases []Case
	for _, c := range g.Cases {
		one := Case{Got: Tokens(c.Got)}
		require.Equal(t, strings.Fields(c.Got), one.Got, "the golden texts are tokens already")
		for _, r := range c.Refs {
			one.Refs = append(one.Refs, Tokens(r))
		}
		cases = append(cases, one)
	}
	return g, cases
}

// TestAsThePythonReferences compares with pycocoevalcap and NLTK; testdata/golden.py made the values.
func TestAsThePythonReferences(t *testing.T) {
	t.Parallel()
	g, cases := readGolden(t)
	var sum Bleu
	for _, c := range cases {
		sum.Add(NewBleu(c))
	}
	require.Len(t, g.Bleu, orders)
	for n, want := range g.Bleu {
		require.InDelta(t, want, sum.Score(n+1), 1e-9, "BLEU-%d", n+1)
	}
	cider := Cider(cases)
	for i, c := range cases {
		require.InDelta(t, g.RougeL[i], RougeL(c), 1e-9, "ROUGE-L of %v", c.Got)
		require.InDelta(t, g.Meteor[i], Meteor(c), 1e-9, "METEOR of %v", c.Got)
		require.InDelta(t, g.Cider[i], cider[i], 1e-9, "CIDEr of %v", c.Got)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"it", "'s", "a", "mid-tempo", "song", "in", "3/4", "f#", "minor", "it", "does", "n't", "stop"}, Tokens("It’s a mid-tempo song (in 3/4, F# minor). It doesn't... stop!"))
	require.Empty(t, Tokens(" ...!? "))
	require.LessOrEqual(t, len(Tokens(strings.Repeat("a ", 10*MaxTokens))), MaxTokens)
}

func TestEmptyCaptionsScoreNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []Case{{}, {Refs: [][]string{{}}}, {Refs: [][]string{{"a"}}}, {Got: []string{"a"}}} {
		require.Zero(t, RougeL(c))
		require.Zero(t, Meteor(c))
		b := NewBleu(c)
		require.InDelta(t, 0, b.Score(4), 1e-3)
		require.Equal(t, []float64{0, 0}, Cider([]Case{c, c}))
	}
}

func FuzzCaptions(f *testing.F) {
	f.Add("a slow piano", "a slow ballad")
	f.Add("don't", "\xff\x00 n't's")
	f.Fuzz(func(t *testing.T, got, ref string) {
		c := Case{Got: Tokens(got), Refs: [][]string{Tokens(ref)}}
		b := NewBleu(c)
		for _, v := range append(Cider([]Case{c, {Got: c.Refs[0], Refs: c.Refs}}), RougeL(c), Meteor(c), b.Score(1), b.Score(4)) {
			require.False(t, v < 0 || v > 10.0001, v)
		}
	})
}
