package llm

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/lab/dataset/llm/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	t.Parallel()
	pairs, err := Parse("  [{\"question\": \"Q?\", \"answer\": \" A. \"}]\n")
	require.NoError(t, err)
	require.Equal(t, "A.", pairs[0].Answer)
	for reply, want := range map[string]string{
		"": "empty", "Here you are: []": "begins with", "[]": "has 0 pairs", `[{"question":"Q?"`: "cut off", `[{"question":"Q?"}]`: "no answer",
		`[{"question":"Q?","answer":"A."}] Enjoy!`: "goes on behind", `[1]`: "no list of question and answer", "[" + `{"question":"Q?","answer":3}]`: "no list",
	} {
		_, err := Parse(reply)
		require.ErrorContains(t, err, want, reply)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("```json\n[{\"question\":\"Q\",\"answer\":\"A\"}]\n```")
	f.Fuzz(func(t *testing.T, reply string) {
		pairs, err := Parse(reply)
		require.Equal(t, err == nil, len(pairs) > 0)
	})
}

func TestClientTriesAgain(t *testing.T) {
	t.Parallel()
	kinds := []fake.Kind{fake.TooMany, fake.Broken, fake.Well}
	server := &fake.Server{Answers: func(n int, _ string) fake.Kind { return kinds[n] }}
	h := httptest.NewServer(server)
	defer h.Close()
	defer h.Client().CloseIdleConnections()
	c, err := New(Config{URL: h.URL + "/v1", Model: "m", MaxTokens: 10, Client: h.Client()})
	require.NoError(t, err)
	reply, err := c.Complete(t.Context(), []Message{{"user", "{}"}})
	require.NoError(t, err)
	require.Positive(t, reply.CompletionTokens)
	require.EqualValues(t, 3, server.Requests.Load())
}

func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{URL: "http://x/v1", Model: "m", MaxTokens: 1, PerMinute: 30})
		require.NoError(t, err)
		begun := time.Now()
		for range 5 {
			require.NoError(t, c.turn(t.Context()))
		}
		require.Equal(t, 8*time.Second, time.Since(begun), "the first at once, then one every two seconds")
	})
}

func TestBudget(t *testing.T) {
	t.Parallel()
	b := NewBudget(Price{Input: 1e6, Output: 2e6}, 10, 1)
	done, err := b.Reserve(2, 3) // 2 + 6 at worst
	require.NoError(t, err)
	_, err = b.Reserve(2, 3)
	require.ErrorContains(t, err, "--max-cost 10", "what is under way counts")
	require.InDelta(t, 3, done(Reply{PromptTokens: 1, CompletionTokens: 1}), 1e-9)
	require.InDelta(t, 4, b.Spent(), 1e-9)
	_, err = b.Reserve(0, 1)
	require.NoError(t, err)
}
