package plan

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	jukeboxSpan = 1048576.0 / SampleRate // seconds that the reference encoder hears
)

func spans(times ...float64) []Span {
	var out []Span
	for i := 0; i < len(times); i += 2 {
		out = append(out, Span{StartS: times[i], EndS: times[i+1]})
	}
	return out
}

// at44 hears seconds at 44.1 kHz and takes no short end; at16 is the hearing of Whisper's kind.
func at44(seconds float64) Hearing { return Hearing{SpanS: seconds, Rate: SampleRate} }

var at16 = Hearing{SpanS: 30, Rate: 16000, ShortEnd: true}

// Encoders that hear 30 s at 16 kHz get windows of that length from 0 on, the last one as short as the track's end.
func TestWindowsOfEncodersThatHearMore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode    Mode
		spans   []Span
		samples int64
		want    []Range
	}{
		"all":                        {mode: All, samples: 667_200, want: []Range{{0, 480_000}, {480_000, 667_200}}},
		"all, whole windows":         {mode: All, samples: 960_000, want: []Range{{0, 480_000}, {480_000, 960_000}}},
		"all, one":                   {mode: All, samples: 480_000, want: []Range{{0, 480_000}}},
		"all, short track":           {mode: All, samples: 400, want: []Range{{0, 400}}},
		"all, an end without frames": {mode: All, samples: 480_000 + 1599, want: []Range{{0, 480_000}}},
		"all, a short end":           {mode: All, samples: 480_000 + 1600, want: []Range{{0, 480_000}, {480_000, 481_600}}},
		"auto":                       {mode: Auto, samples: 960_000, want: []Range{{480_000, 960_000}}},
		"auto, below a minute":       {mode: Auto, samples: 959_999, want: []Range{{0, 480_000}}},
		"explicit":                   {mode: Explicit, spans: spans(1, 31), samples: 960_000, want: []Range{{16_000, 496_000}}},
	} {
		got, err := NewRule(tc.mode, tc.spans, at16).Windows(tc.samples)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, got, name)
	}
	_, err := NewRule(Explicit, spans(0, 30.1), at16).Windows(960_000)
	require.ErrorIs(t, err, ErrOutOfRange)
	require.ErrorContains(t, err, "longer than 30 s")
	require.Equal(t, int64(960_000), NewRule(Auto, nil, at16).Keep())
	for _, mode := range []Mode{Auto, All, Explicit} {
		require.NotEqual(t, NewRule(mode, nil, Hearing{SpanS: 30, Rate: SampleRate}).Hash(), NewRule(mode, nil, at16).Hash())
	}
}

func seconds(windows []Range) []float64 {
	var out []float64
	for _, w := range windows {
		out = append(out, Seconds(w.Start, SampleRate), Seconds(w.End, SampleRate))
	}
	return out
}

func TestWindows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode  Mode
		spans []Span
		heard float64
		track float64
		want  []float64
	}{
		"Auto, long track":             {mode: Auto, heard: 25, track: 200, want: []float64{30, 55}},
		"Auto, exactly a minute":       {mode: Auto, heard: 25, track: 60, want: []float64{30, 55}},
		"Auto, just under a minute":    {mode: Auto, heard: 25, track: 59.99, want: []float64{0, 25}},
		"Auto, short track":            {mode: Auto, heard: 25, track: 3, want: []float64{0, 3}},
		"Auto, other encoder":          {mode: Auto, heard: jukeboxSpan, track: 60, want: []float64{30, 55}},
		"All, one window":              {mode: All, heard: 25, track: 25, want: []float64{0, 25}},
		"All, short track":             {mode: All, heard: 25, track: 0.5, want: []float64{0, 0.5}},
		"All, last aligned to the end": {mode: All, heard: 25, track: 60, want: []float64{0, 25, 25, 50, 35, 60}},
		"All, whole windows":           {mode: All, heard: 25, track: 50, want: []float64{0, 25, 25, 50}},
		"All, a sample more":           {mode: All, heard: 25, track: 25 + 1.0/SampleRate, want: []float64{0, 25, 1.0 / SampleRate, 25 + 1.0/SampleRate}},
		"explicit":                     {mode: Explicit, spans: spans(10, 20, 0, 25), heard: 25, track: 30, want: []float64{10, 20, 0, 25}},
		"Explicit, cut at the end":     {mode: Explicit, spans: spans(10, 20.05), heard: 25, track: 20, want: []float64{10, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			windows, err := NewRule(tc.mode, tc.spans, at44(tc.heard)).Windows(samples(tc.track, SampleRate))
			require.NoError(t, err)
			require.InDeltaSlice(t, tc.want, seconds(windows), 1e-9)
		})
	}
}

func TestExplicitWindowsOutsideTheTrack(t *testing.T) {
	t.Parallel()
	for name, s := range map[string][]Span{
		"too long": spans(0, 25.1), "past the end": spans(10, 31), "after the end": spans(40, 50), "too short": spans(1, 1.05),
		"second of two": spans(0, 10, 29, 31), "far away": spans(1e300, 1e301),
	} {
		_, err := NewRule(Explicit, s, at44(25)).Windows(30 * SampleRate)
		require.ErrorIs(t, err, ErrOutOfRange, name)
	}
	_, err := Rule{Mode: "other"}.Windows(1)
	require.ErrorContains(t, err, "not known")
	_, err = Rule{Mode: All}.Windows(1)
	require.ErrorContains(t, err, "hears 0 samples")
	_, err = NewRule(All, nil, at44(0.001)).Windows(3600 * SampleRate)
	require.ErrorIs(t, err, ErrOutOfRange)
}

// Whatever the encoder hears and however long the track is, with plan all every second of it is heard.
func TestAllHearsEverything(t *testing.T) {
	t.Parallel()
	for _, span := range []float64{25, jukeboxSpan, 10, 3.3} {
		for _, track := range []float64{0.1, span - 0.01, span, span + 0.01, 2 * span, 61.7, 3600} {
			rule := NewRule(All, nil, at44(span))
			windows, err := rule.Windows(samples(track, SampleRate))
			require.NoError(t, err)
			heard := int64(0)
			for _, w := range windows {
				require.LessOrEqual(t, w.Start, heard, "gap with span %g, track %g", span, track)
				require.LessOrEqual(t, w.Len(), rule.Heard)
				heard = min(w.End, w.Start+samples(span, SampleRate))
			}
			require.Equal(t, samples(track, SampleRate), heard)
			require.LessOrEqual(t, len(windows), MaxWindows)
		}
	}
}

func TestKeepCoversTheWindows(t *testing.T) {
	t.Parallel()
	require.Equal(t, int64(55*SampleRate), NewRule(Auto, nil, at44(25)).Keep())
	require.Equal(t, int64(40*SampleRate), NewRule(Explicit, spans(20, 40, 1, 5), at44(25)).Keep())
	require.Equal(t, int64(math.MaxInt64), NewRule(All, nil, at44(25)).Keep())
}

func TestHashTellsRulesApart(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range []Rule{
		NewRule(Auto, nil, at44(25)), NewRule(All, nil, at44(25)), NewRule(All, nil, at44(jukeboxSpan)),
		NewRule(Explicit, spans(0, 25), at44(25)), NewRule(Explicit, spans(0, 25, 0, 25), at44(25)), NewRule(Explicit, spans(0, 5, 5, 25), at44(25)),
	} {
		require.False(t, seen[r.Hash()], "%+v", r)
		seen[r.Hash()] = true
	}
	require.Equal(t, NewRule(Auto, nil, at44(25)).Hash(), NewRule(Auto, nil, at44(jukeboxSpan)).Hash(), "the windows of auto are the same for every encoder")
}

func TestSpansSurviveTheRecord(t *testing.T) {
	t.Parallel()
	for _, r := range []Range{{0, 1}, {12345, 1_114_845}, {317_519_999, 317_520_000}} {
		require.Equal(t, r, FromSpan(r.Span(SampleRate), SampleRate))
	}
}
