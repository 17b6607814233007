package ask

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

func TestParseWindows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		plan  string
		spans []client.Span
	}{
		"":                     {client.PlanAuto, nil},
		"auto":                 {client.PlanAuto, nil},
		"all":                  {client.PlanAll, nil},
		"30-55":                {client.PlanExplicit, []client.Span{{StartS: 30, EndS: 55}}},
		"0-25, 1:30-1:55.5":    {client.PlanExplicit, []client.Span{{EndS: 25}, {StartS: 90, EndS: 115.5}}},
		"1:00:00-1:00:25":      {client.PlanExplicit, []client.Span{{StartS: 3600, EndS: 3625}}},
		"0.5-10.25,0.5-10.25 ": {client.PlanExplicit, []client.Span{{StartS: 0.5, EndS: 10.25}, {StartS: 0.5, EndS: 10.25}}},
	} {
		plan, spans, err := ParseWindows(text)
		require.NoError(t, err, text)
		require.Equal(t, want.plan, plan, text)
		require.Equal(t, want.spans, spans, text)
	}
	for _, text := range []string{"some", "30", "55-30", "10-10", "-5-10", "1:75-2:00", "1.5:00-2:00", "a-b", "0-25,", "NaN-3", "0-Inf", "1:2:3:4-5"} {
		_, _, err := ParseWindows(text)
		require.Error(t, err, text)
	}
}

func TestHeardIsAPlanOrItsSpans(t *testing.T) {
	t.Parallel()
	for in, want := range map[[2]string]string{
		{"", ""}: "", {"auto", ""}: "auto", {"all", ""}: "all", {"explicit", "0-25"}: "0-25", {"", "0-25,30-55"}: "0-25,30-55",
	} {
		text, err := Heard(in[0], in[1])
		require.NoError(t, err, in)
		require.Equal(t, want, text)
	}
	for _, in := range [][2]string{{"explicit", ""}, {"all", "0-25"}, {"auto", "0-25"}, {"0-25", ""}, {"every", ""}} {
		_, err := Heard(in[0], in[1])
		require.Error(t, err, in)
	}
}

func FuzzParseWindows(f *testing.F) {
	for _, seed := range []string{"auto", "0-25,1:30-1:55", "1:00:00-1:00:25.5", "--", ":-:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		plan, spans, err := ParseWindows(text)
		if err != nil {
			return
		}
		require.Equal(t, plan == client.PlanExplicit, len(spans) > 0)
		for _, s := range spans {
			require.True(t, s.StartS >= 0 && s.EndS > s.StartS)
		}
	})
}

func TestClock(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "0:00", 25: "0:25", 61.54: "1:01.5", 59.96: "1:00", 3661: "61:01"} {
		require.Equal(t, want, clock(seconds))
	}
}
