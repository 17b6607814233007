package mir

import (
	"encoding/binary"
	"math"
	"reflect"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTempoOfClicks(t *testing.T) {
	t.Parallel()
	for _, bpm := range []float64{40, 55, 72, 90, 104, 120, 141.5, 168, 190, 220} {
		t.Run(strconv.FormatFloat(bpm, 'g', -1, 64), func(t *testing.T) {
			t.Parallel()
			got, beats := Analyse(clicks(25, bpm, 0).pcm())
			require.NotEmpty(t, beats)
			octaves := math.Log2(got.Tempo.BPM / bpm)
			require.InDelta(t, math.Round(octaves), octaves, 0.01, "%.2f BPM is no reading of %.2f", got.Tempo.BPM, bpm)
			require.True(t, got.Tempo.Steady)
			found := math.Abs(octaves) < 0.5
			for _, a := range got.Tempo.Alternatives {
				found = found || math.Abs(math.Log2(a.BPM/bpm)) < 0.02
			}
			require.True(t, found, "the tempo or an alternative: %+v", got.Tempo)
			if bpm >= 70 && bpm <= 150 {
				require.InDelta(t, bpm, got.Tempo.BPM, 0.005*bpm, "where one level is clear, it is the tempo")
			}
		})
	}
}

func TestBeatsLieOnClicks(t *testing.T) {
	t.Parallel()
	_, beats := Analyse(clicks(20, 100, 4).pcm())
	require.InDelta(t, 33, len(beats), 1)
	for _, b := range beats {
		off := math.Mod(b.Seconds-0.3+0.3, 0.6) - 0.3
		require.InDelta(t, 0, off, 0.03, "beat at %.3f s", b.Seconds)
	}
}

func TestTempoThatDriftsIsFollowed(t *testing.T) {
	t.Parallel()
	s, truth := silence(40), []float64{}
	for at := 0.5; at < 39; {
		s.click(at, 0.6)
		truth = append(truth, at)
		at += 60 / (100 + 40*at/40) // 100 to 140 BPM
	}
	got, beats := Analyse(s.pcm())
	require.False(t, got.Tempo.Steady, "%+v", got.Tempo)
	require.InDelta(t, 105, got.Tempo.Low, 8)
	require.InDelta(t, 135, got.Tempo.High, 8)
	hits := 0
	for _, b := range beats {
		for _, at := range truth {
			if math.Abs(at-b.Seconds) < 0.04 {
				hits++
				break
			}
		}
	}
	require.Greater(t, hits, len(truth)*8/10, "of %d clicks", len(truth))
}

func TestKeyTuningAndChords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chords []int
		shift  int
		key    string
	}{
		"C major": {[]int{0, 5, 7, 0}, 0, "C major"},
		"A minor": {[]int{-10, -3, 4, -10}, 0, "A minor"}, // Am Dm E Am
		"E major": {[]int{4, 9, 11, 4}, 0, "E major"},
	} {
		for _, cents := range []float64{-45, -30, 0, 20, 45} {
			t.Run(name+strconv.Itoa(int(cents)), func(t *testing.T) {
				t.Parallel()
				got, beats := Analyse(progression(10, 110, cents, c.chords).pcm())
				require.Equal(t, c.key, got.Key.String())
				require.InDelta(t, cents, got.TuningCents, 4)
				require.NotEqual(t, got.Key.String(), got.RunnerUp.String())
				right := 0
				for _, b := range beats {
					want := c.chords[min(int((b.Seconds+0.05)/(4*60/110.0)), 9)%len(c.chords)]
					truth := Chord{Root: want}
					if want < 0 {
						truth = Chord{Root: -want - 1, Minor: true}
					}
					if b.Chord == truth {
						right++
					}
				}
				require.GreaterOrEqual(t, right, len(beats)*8/10, "chords of %d beats", len(beats))
			})
		}
	}
}

func TestScaleHasItsKey(t *testing.T) {
	t.Parallel()
	s := silence(25)
	steps := []float64{0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2, 0, 0}
	for i := range 48 {
		s.note(float64(i)*0.5, 0.48, 62+steps[i%len(steps)], 0.3)
	}
	got, _ := Analyse(s.pcm())
	require.Equal(t, "D major", got.Key.String())
	require.Equal(t, Music, got.Content.Kind)
}

func TestNotMusic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal sound
		kind   Kind
	}{
		"silence":     {silence(10), Silence},
		"dither":      {silence(10).noise(1.0 / 32768), Silence},
		"white noise": {silence(12).noise(0.3), Noise},
		"quiet noise": {silence(12).noise(0.01), Noise},
		"sine":        {silence(12).sine(0, 12, 440, 0.5), Tone},
		"low sine":    {silence(12).sine(0, 12, 82.4, 0.3), Tone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := Analyse(c.signal.pcm())
			require.Equal(t, c.kind, got.Content.Kind, "%+v", got.Content)
			require.False(t, got.Tempo.Steady, "%+v", got.Tempo)
		})
	}
	got, _ := Analyse(babble(15).pcm())
	require.NotEqual(t, Music, got.Content.Kind, "syllables are no music: %+v", got.Content)
	require.False(t, got.Tempo.Steady, "%+v", got.Tempo)
}

func TestHowTheStreamIsCutChangesNothing(t *testing.T) {
	t.Parallel()
	pcm := progression(6, 96, 12, []int{0, 5, 7, -10}).pcm()
	whole, beats := Analyse(pcm)
	for _, size := range []int{1, 997, 44100} {
		if size == 1 {
			size = 3
		}
		var got []Beat
		a := New(func(b Beat) { got = append(got, b) })
		for at := 0; at < len(pcm); at += size {
			a.Write(pcm[at:min(len(pcm), at+size)])
		}
		require.Equal(t, whole, a.Finish())
		require.Equal(t, beats, got)
	}
}

// 25 minutes are cut into sections: memory stays, the tempo stays, and the beats go on across the cuts.
func TestLongStreamIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("analyses 25 minutes")
	}
	block := clicks(60, 120, 4)[:0]
	for i := range 60 * SampleRate { // a minute that repeats without a seam
		v := 0.0
		if phase := i % (SampleRate / 2); phase < 700 {
			v = 0.5 * math.Exp(-float64(phase)/150) * math.Sin(float64(phase)*float64(phase)*0.01)
		}
		block = append(block, v)
	}
	pcm := block.pcm()
	var last, gap float64
	n := 0
	a := New(func(b Beat) {
		if n > 0 {
			gap = max(gap, math.Abs(b.Seconds-last-0.5))
		}
		last, n = b.Seconds, n+1
	})
	var most uint64
	for range 25 {
		a.Write(pcm)
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	got := a.Finish()
	require.Less(t, most, uint64(80<<20))
	require.InDelta(t, 120, got.Tempo.BPM, 0.5)
	require.InDelta(t, 3000, n, 6)
	require.Less(t, gap, 0.05, "no beat is lost or doubled where sections meet")
	require.InDelta(t, 1500, got.Seconds, 0.01)
}

func TestShortInputs(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 100, 4410, 22050, 44100} {
		got, _ := Analyse(make(sound, n).noise(0.5).pcm())
		requireFinite(t, got)
		require.InDelta(t, float64(n)/SampleRate, got.Seconds, 1e-9)
	}
}

// requireFinite checks that no number of a result is NaN, and none infinite but levels of nothing.
func requireFinite(t *testing.T, r Result) {
	t.Helper()
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Float64:
			require.False(t, math.IsNaN(v.Float()), path)
			require.False(t, math.IsInf(v.Float(), 1), path)
			if math.IsInf(v.Float(), -1) {
				require.Contains(t, []string{".Loudness.Integrated", ".Loudness.Momentary", ".Loudness.ShortTerm", ".Levels.Peak"}, path)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i), path)
			}
		default:
		}
	}
	walk(reflect.ValueOf(r), "")
}

func FuzzAnalyse(f *testing.F) {
	f.Add([]byte{}, uint16(1))
	f.Add([]byte{0, 0x80, 0xff, 0x7f}, uint16(9000))
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, uint16(30000))
	f.Fuzz(func(t *testing.T, data []byte, repeat uint16) {
		var pcm []int16
		for i := 0; i+1 < len(data); i += 2 {
			pcm = append(pcm, int16(binary.LittleEndian.Uint16(data[i:])))
		}
		a := New(func(b Beat) { require.False(t, math.IsNaN(b.Seconds)) })
		for n := 0; n < 1+int(repeat) && n*len(pcm) < 5*SampleRate; n++ {
			a.Write(pcm)
		}
		requireFinite(t, a.Finish())
	})
}
