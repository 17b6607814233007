package dataset

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/dataset/llm"
	"github.com/larkstream/larkstream/lab/dataset/llm/fake"
)

// Parts of a step are taken over by a run of the whole: nothing is asked twice, and what a part has not done is done.
func TestPartsAreTakenOver(t *testing.T) {
	t.Parallel()
	const clips = 20 // and one that is missing
	alone := labelled(t, clips)
	cfg := asking(t, &fake.Server{})
	_, err := Generate(t.Context(), alone, cfg)
	require.NoError(t, err)

	s, server := labelled(t, clips), &fake.Server{}
	cfg = asking(t, server)
	run := func(p Part) Generated {
		cfg.Part = p
		got, err := Generate(t.Context(), s, cfg)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, 7, run(Part{1, 3}).Clips)
	require.Equal(t, 7, run(Part{3, 3}).Clips)
	require.Equal(t, 7, run(Part{3, 3}).Kept, "run again it does nothing")
	require.EqualValues(t, 7+6, server.Requests.Load())
	v, err := Verify(t.Context(), s, VerifyConfig{})
	require.NoError(t, err)
	require.Len(t, v.Faults, 2)
	require.Contains(t, v.Faults[0], "without --part")

	// The last row of a part was cut off by a kill.
	path := s.path("songs", "pairs.understanding.llm.1-of-3.jsonl")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw[:len(raw)-10], 0o600))
	got := run(Part{})
	require.Equal(t, clips+1, got.Clips)
	require.EqualValues(t, clips+1, server.Requests.Load(), "7 and 6 by the parts, 7 that were missing, and the row that was cut off")
	require.Equal(t, pairRows(t, alone, "pairs.understanding.llm"), pairRows(t, s, "pairs.understanding.llm"))
	require.NoFileExists(t, path)
	v, err = Verify(t.Context(), s, VerifyConfig{})
	require.NoError(t, err)
	require.Empty(t, v.Faults)

	// A part takes over what the whole has.
	require.Equal(t, 7, run(Part{2, 3}).Kept)
	require.EqualValues(t, clips+1, server.Requests.Load())
	// Other settings, and another division, are refused.
	cfg.Part, cfg.LLM.Temperature = Part{}, 0.1
	_, err = Generate(t.Context(), s, cfg)
	require.ErrorContains(t, err, "has other settings")
	cfg.LLM.Temperature = 0
	require.NoError(t, os.WriteFile(s.path("songs", "pairs.understanding.llm.1-of-2.jsonl"), nil, 0o600))
	_, err = Generate(t.Context(), s, cfg)
	require.ErrorContains(t, err, "another number of parts")
}

// Parts keep the bound of the cost together.
func TestPartsShareTheMoney(t *testing.T) {
	t.Parallel()
	s, server := labelled(t, 20), &fake.Server{}
	cfg := asking(t, server)
	cfg.LLM.Price, cfg.LLM.MaxCost = llm.Price{Input: 1, Output: 2}, 0.015
	sum := 0.0
	for _, p := range []Part{{1, 3}, {2, 3}, {3, 3}, {1, 3}, {}} {
		cfg.Part = p
		_, err := Generate(t.Context(), s, cfg)
		require.ErrorContains(t, err, "cost", p)
		sum, err = s.spent(Part{})
		require.NoError(t, err)
		require.LessOrEqual(t, sum, 0.015)
	}
	require.Positive(t, sum)
}

func TestParsePart(t *testing.T) {
	t.Parallel()
	p, err := ParsePart("2/8")
	require.NoError(t, err)
	require.Equal(t, Part{2, 8}, p)
	for _, bad := range []string{"0/2", "3/2", "2", "a/b", "1/2x", "-1/2", " 1/2", "01/2"} {
		_, err := ParsePart(bad)
		require.Error(t, err, bad)
	}
}
