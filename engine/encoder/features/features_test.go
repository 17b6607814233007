package features

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// tone returns a sine of the given frequency and amplitude (1 is full scale).
func tone(samples int, hz, amplitude float64) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(amplitude * 32767 * math.Sin(2*math.Pi*hz*float64(i)/SampleRate))
	}
	return pcm
}

// clicks returns short bursts of noise at the given tempo.
func clicks(samples int, bpm float64) []int16 {
	r, pcm := rand.New(rand.NewPCG(1, 2)), make([]int16, samples)
	every := 60 / bpm * SampleRate
	for at := 0.0; int(at) < samples; at += every {
		for i := int(at); i < min(samples, int(at)+1500); i++ {
			pcm[i] = int16(r.IntN(40000) - 20000)
		}
	}
	return pcm
}

func argmax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

func extract(t *testing.T, pcm []int16) *Features {
	t.Helper()
	f, err := New().Extract(pcm)
	require.NoError(t, err)
	return f
}

func TestShapesFollowTheLength(t *testing.T) {
	t.Parallel()
	for samples, frames := range map[int]int{MinSamples: 10, MinSamples + 1: 10, 3*SampleRate + 77: 32, 10 * SampleRate: 107, MaxSamples: 269} {
		f := extract(t, tone(samples, 440, 0.5))
		require.Equal(t, frames, Frames(samples))
		require.Equal(t, [2]int{frames, Semitones}, [2]int{f.Semitones.Rows, f.Semitones.Cols})
		require.Equal(t, [2]int{frames, MelCols}, [2]int{f.Mel.Rows, f.Mel.Cols})
		require.Equal(t, [2]int{(frames + 15) / 16 * Lags, Groups}, [2]int{f.Tempograms.Rows, f.Tempograms.Cols})
	}
	require.InDelta(t, 10.7666, FrameRate, 1e-4)
}

// A waltz in which the first of three clicks is another sound: all onsets together repeat with the beat, band by band they repeat with the bar.
func TestThePulseShowsBeatAndBar(t *testing.T) {
	t.Parallel()
	const beat = 22.0 * melHop / halfRate // seconds: a whole number of mel frames
	pcm := make([]int16, MaxSamples)
	for n := 0; ; n++ {
		at := int(float64(n) * beat * SampleRate)
		if at+2000 > len(pcm) {
			break
		}
		hz := 3000.0
		if n%3 == 0 {
			hz = 300
		}
		copy(pcm[at:], tone(2000, hz, 0.6))
	}
	f := extract(t, pcm)
	require.Equal(t, [2]int{PulseLags, PulseCols}, [2]int{f.Pulse.Rows, f.Pulse.Cols})
	row := func(seconds float64) int { return int(math.Round(LagsPerOctave * math.Log2(seconds/shortestLag))) }
	const allBands = Groups + 1
	at := func(seconds float64) float32 { return f.Pulse.Row(row(seconds))[allBands] }
	require.Greater(t, at(beat), at(1.5*beat)+0.2)
	require.Greater(t, at(3*beat), at(beat)+0.2)
	require.Greater(t, at(3*beat), at(4*beat)+0.2)
	require.Greater(t, at(6*beat), at(4*beat)+0.2)
}

// Clicks whose distance lies anywhere between two whole numbers of mel frames read much the same at that distance.
func TestThePulseReadsLagsBetweenFrames(t *testing.T) {
	t.Parallel()
	const hop = float64(melHop) / halfRate
	var got []float32
	for _, frames := range []float64{18, 18.25, 18.5, 18.75} {
		beat := frames * hop
		f := extract(t, clicks(MaxSamples, 60/beat))
		got = append(got, f.Pulse.Row(int(math.Round(LagsPerOctave * math.Log2(beat/shortestLag))))[Groups+1])
	}
	require.Greater(t, slices.Min(got), 0.85*slices.Max(got), "%v", got)
}

// Clicks twice a second are heard at the lag of half a second, and a scale that ends where it began in the row of its tonic.
func TestWhatIsHeardLiesWhereItSounds(t *testing.T) {
	t.Parallel()
	heard := extract(t, clicks(MaxSamples, 120))
	require.Len(t, heard.Beats, PulseLags)
	row := int(math.Round(LagsPerOctave * math.Log2(0.5/shortestLag)))
	require.InDelta(t, row, argmax(heard.Beats), 1)
	require.Greater(t, heard.Beats[row], float32(0.7))

	const note = SampleRate / 2
	pcm := make([]int16, 0, 16*note)
	for _, steps := range []int{0, 2, 4, 5, 7, 9, 11, 12, 12, 11, 9, 7, 5, 4, 2, 0} { // D major
		pcm = append(pcm, tone(note, 293.66*math.Exp2(float64(steps)/12), 0.6)...)
	}
	keys := extract(t, pcm).Keys
	require.Equal(t, [2]int{12, KeyCols}, [2]int{keys.Rows, keys.Cols})
	major := make([]float32, keys.Rows)
	for c := range major {
		major[c] = keys.Row(c)[KeyCols-2]
	}
	require.Equal(t, 8, argmax(major), "D is eight semitones above F#: %v", major)
	require.Greater(t, major[8], float32(0.9))
}

func TestAShortWindowHasNoLongLags(t *testing.T) {
	t.Parallel()
	f := extract(t, clicks(2*SampleRate, 120))
	for _, v := range f.Pulse.Row(PulseLags - 1) {
		require.Zero(t, v)
	}
}

func TestWindowsOutsideTheLimitsAreRefused(t *testing.T) {
	t.Parallel()
	for samples, want := range map[int]error{0: ErrTooShort, MinSamples - 1: ErrTooShort, MaxSamples + 1: ErrTooLong} {
		_, err := New().Extract(make([]int16, samples))
		require.ErrorIs(t, err, want)
	}
}

func TestAToneShowsInItsSemitone(t *testing.T) {
	t.Parallel()
	for semitone, hz := range map[int]float64{15: 110, 39: 440, 40: 466.1638, 63: 1760} {
		f := extract(t, tone(2*SampleRate, hz, 0.5))
		for _, frame := range []int{5, 10, 15} {
			require.Equal(t, semitone, argmax(f.Semitones.Row(frame)), "%v Hz", hz)
		}
		// The peak is scaled to 0.9, the level is log(1+1000m), and the band averages over its bins.
		level := f.Semitones.Row(10)[semitone]
		require.Less(t, level, float32(math.Log1p(900)))
		require.Greater(t, level, float32(math.Log1p(40)))
	}
}

// A choir that sings a third of a semitone sharp is read in its own semitones, and so gives nearly what it gives in tune.
func TestMusicBesideTheUsualTuningIsReadInItsOwn(t *testing.T) {
	t.Parallel()
	chord := func(cents float64) []int16 {
		out := make([]int16, 3*SampleRate)
		for _, hz := range []float64{220, 277.183, 329.628, 440} {
			for i, v := range tone(len(out), hz*math.Exp2(cents/1200), 0.2) {
				out[i] += v
			}
		}
		return out
	}
	want := extract(t, chord(0)).Semitones
	for _, cents := range []float64{-45, -30, -10, 15, 35, 45} {
		got := extract(t, chord(cents)).Semitones
		for i, v := range want.Row(15) {
			if v < 2.5 {
				continue // not the chord but the sides of its partials
			}
			require.InDelta(t, v, got.Row(15)[i], 0.35, "%v cents, semitone %d", cents, i)
		}
	}
}

func TestNoiseHasNoTuning(t *testing.T) {
	t.Parallel()
	r, tuned := rand.New(rand.NewPCG(5, 6)), tuning{}
	spectrum := make([]float64, semitoneFFT/2+1)
	for range 200 {
		for i := range spectrum {
			spectrum[i] = r.ExpFloat64() * 0.01
		}
		tuned.add(spectrum)
	}
	require.Zero(t, tuned.semitones())
}

func TestSpectrogramAgreesWithADirectTransform(t *testing.T) {
	t.Parallel()
	e, audio := New(), make([]float64, 4*melHop)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range audio {
		audio[i] = r.Float64() - 0.5
	}
	got := e.spectrogram(audio, 4, melHop, e.melWindow, e.melBands)
	const row, band = 2, 7
	sum := 0.0
	for i, weight := range e.melBands[band].weights {
		var re, im float64
		for n, w := range e.melWindow {
			if at := row*melHop + melHop/2 - melFFT/2 + n; at >= 0 && at < len(audio) {
				phase := 2 * math.Pi * float64(e.melBands[band].first+i) * float64(n) / melFFT
				re, im = re+w*audio[at]*math.Cos(phase), im+w*audio[at]*math.Sin(phase)
			}
		}
		sum += weight * math.Hypot(re, im)
	}
	require.InDelta(t, math.Log1p(compression*sum), float64(got.Row(row)[band]), 1e-5)
}

func TestTempoShowsInTheTempogram(t *testing.T) {
	t.Parallel()
	for _, bpm := range []float64{75, 120, 150} {
		f := extract(t, clicks(MaxSamples, bpm))
		want := int(math.Round(LagsPerOctave * math.Log2(60/bpm/shortestLag)))
		middle := f.Tempograms.Rows / Lags / 2
		for g := range Groups {
			column := make([]float32, Lags)
			for i := range column {
				column[i] = f.Tempograms.Row(middle*Lags + i)[g]
			}
			require.InDelta(t, want, argmax(column[:want+12]), 1, "%v bpm, group %d", bpm, g)
			require.Greater(t, column[want], float32(0.6))
		}
	}
}

func TestLoudnessDoesNotMatter(t *testing.T) {
	t.Parallel()
	loud, soft := extract(t, tone(SampleRate, 300, 0.9)), extract(t, tone(SampleRate, 300, 0.09))
	for i, v := range loud.Semitones.Data {
		require.InDelta(t, v, soft.Semitones.Data[i], 0.15)
	}
}

func TestSilenceGivesZeros(t *testing.T) {
	t.Parallel()
	pcm := make([]int16, 2*SampleRate)
	pcm[1000] = silencePeak - 1
	f := extract(t, pcm)
	for _, m := range []Matrix{f.Semitones, f.Mel, f.Tempograms, f.Keys, {Data: f.Beats}} {
		for _, v := range m.Data {
			require.Zero(t, v)
		}
	}
}

// A constant level is no sound, also with the clicks that resampling leaves at its ends; music around a level is that music.
func TestAnOffsetIsNoSound(t *testing.T) {
	t.Parallel()
	level := make([]int16, 2*SampleRate)
	for i := range level {
		level[i] = 16384
	}
	level[0], level[len(level)-1] = 11441, 17656
	for _, v := range extract(t, level).Semitones.Data {
		require.Zero(t, v)
	}
	plain := tone(SampleRate, 300, 0.4)
	around := slices.Clone(plain)
	for i := range around {
		around[i] += 16384
	}
	want, got := extract(t, plain), extract(t, around)
	for i, v := range want.Semitones.Data {
		require.InDelta(t, v, got.Semitones.Data[i], 0.01)
	}
}

func TestTheLowestSampleValueIsAPeak(t *testing.T) {
	t.Parallel()
	pcm := make([]int16, SampleRate)
	pcm[20000] = math.MinInt16
	require.InDelta(t, targetPeak/32768, scale(pcm, 0), 1e-12)
	extract(t, pcm)
}

func TestHalvingKeepsLowAndDropsHighTones(t *testing.T) {
	t.Parallel()
	power := func(hz float64) float64 {
		pcm, sum := tone(SampleRate, hz, 0.5), 0.0
		for _, v := range halve(pcm, 0, scale(pcm, 0)) {
			sum += v * v / float64(len(pcm)/2)
		}
		return sum
	}
	want := targetPeak * targetPeak / 2
	require.InDelta(t, want, power(1000), 0.01*want)
	require.InDelta(t, want, power(8000), 0.05*want)
	require.Less(t, power(14000), 0.001*want)
}

func FuzzExtract(f *testing.F) {
	f.Add(uint32(MinSamples), int16(100), int16(-3))
	f.Add(uint32(MinSamples+12345), int16(math.MinInt16), int16(math.MaxInt16))
	e := New()
	f.Fuzz(func(t *testing.T, samples uint32, a, b int16) {
		pcm := make([]int16, samples%(4*SampleRate))
		for i := range pcm {
			pcm[i] = a
			if i%(1+int(uint16(b))) == 0 {
				pcm[i] = b
			}
		}
		got, err := e.Extract(pcm)
		if len(pcm) < MinSamples {
			require.ErrorIs(t, err, ErrTooShort)
			return
		}
		require.NoError(t, err)
		for _, m := range []Matrix{got.Semitones, got.Mel, got.Tempograms} {
			for _, v := range m.Data {
				require.False(t, math.IsNaN(float64(v)) || math.IsInf(float64(v), 0))
			}
		}
	})
}

func BenchmarkExtract(b *testing.B) {
	e, pcm := New(), clicks(MaxSamples, 120)
	for b.Loop() {
		if _, err := e.Extract(pcm); err != nil {
			b.Fatal(err)
		}
	}
}
