package mir

import (
	"math"
)

// SampleRate of the PCM that is analysed, in Hz.
const SampleRate = 44100

// Beat is one beat of the music.
type Beat struct {
	// Seconds from the start of the recording.
	Seconds float64
	// InBar counts the beats of the bar from 1, which is the downbeat.
	InBar int
	// Chord that sounds until the next beat.
	Chord Chord
}

// Result is what a recording is measured to be.
type Result struct {
	// Seconds is its length.
	Seconds float64
	Content Content
	Tempo   Tempo
	Metre   Metre
	// Key is the most likely key and RunnerUp the next; both have a confidence of 0 where no pitch was heard.
	Key, RunnerUp Key
	// TuningCents is by how much the music is tuned above A4 = 440 Hz, -50 to 50 cents.
	TuningCents float64
	Loudness    Loudness
	Levels      Levels
	// OnsetsPerSecond is how many notes or strokes start in a second; simultaneous ones count once.
	OnsetsPerSecond float64
}

const (
	// blockSamples are converted at once.
	blockSamples = 4096
	// sectionFrames are analysed at once, ten minutes, as soon as tailFrames more are there: no section is shorter than two minutes but the only one.
	sectionFrames = 60_000
	tailFrames    = 12_000
)

// Analyser measures a stream of PCM. Its memory is bounded (about 20 MB) whatever the length of the stream. It is not safe for concurrent use.
type Analyser struct {
	onBeat   func(Beat)
	samples  int64
	block    []float64
	section  section
	front    *frontEnd
	loudness *loudnessMeter
	levels   levelMeter
	// origin is the frame of the stream at which the section in hand starts; pitchOrigin is the same in frames of pitch.
	origin, pitchOrigin int
	lastBeat            float64
	total               summary
}

// New returns an analyser that hands each beat to onBeat, in order, as soon as its section is analysed; onBeat may be nil.
func New(onBeat func(Beat)) *Analyser {
	if onBeat == nil {
		onBeat = func(Beat) {}
	}
	a := &Analyser{onBeat: onBeat, loudness: newLoudnessMeter(), block: make([]float64, 0, blockSamples), lastBeat: -1, total: newSummary()}
	a.front = newFrontEnd(&a.section)
	return a
}

// Write takes the next samples, mono at SampleRate. How the stream is cut into calls does not change the result.
func (a *Analyser) Write(pcm []int16) {
	for _, v := range pcm {
		a.block = append(a.block, float64(v)/32768)
		if len(a.block) == blockSamples {
			a.process()
		}
	}
}

func (a *Analyser) process() {
	a.samples += int64(len(a.block))
	a.loudness.process(a.block)
	a.levels.process(a.block)
	a.front.process(a.block)
	a.block = a.block[:0]
	if len(a.section.bands) >= sectionFrames+tailFrames {
		a.analyse(sectionFrames)
	}
}

// Finish returns the result for all that was written. The analyser must not be used after it.
func (a *Analyser) Finish() Result {
	a.process()
	a.front.flush()
	a.section.trim(a.samples, a.origin, a.pitchOrigin)
	a.analyse(len(a.section.bands))
	out := a.total.result()
	out.Seconds = float64(a.samples) / SampleRate
	out.Loudness, out.Levels = a.loudness.result(), a.levels.result()
	if out.Seconds > 0 {
		out.OnsetsPerSecond = a.total.texture.onsets / out.Seconds
	}
	if math.IsInf(out.Loudness.Integrated, -1) && !(out.Levels.Peak > -60) {
		out.silence()
	}
	return out
}

// silence forgets what was guessed of a recording in which nothing is heard.
func (r *Result) silence() {
	r.Content = Content{Silence, 1}
	r.Tempo, r.Metre, r.Key, r.RunnerUp, r.TuningCents, r.OnsetsPerSecond = Tempo{}, Metre{}, Key{}, Key{}, 0, 0
}

// Analyse measures a whole recording and returns its beats as well.
func Analyse(pcm []int16) (Result, []Beat) {
	var beats []Beat
	a := New(func(b Beat) { beats = append(beats, b) })
	a.Write(pcm)
	return a.Finish(), beats
}

// analyse reads the first frames of the section in hand and keeps what follows the last beat.
func (a *Analyser) analyse(frames int) {
	if frames == 0 {
		return
	}
	pitchFrames := min(len(a.section.peaks), int(math.Ceil(float64(frames)/framesPerSecond*pitchesPerSecond)))
	part := section{bands: a.section.bands[:frames], peaks: a.section.peaks[:pitchFrames]}
	m := measure(&part)
	a.total.add(m)
	period := 60 / max(1, m.tempo.BPM)
	for _, b := range m.beats {
		b.Seconds += float64(a.origin) / framesPerSecond
		if a.lastBeat < 0 || b.Seconds > a.lastBeat+period/2 {
			a.onBeat(b)
			a.lastBeat = b.Seconds
		}
	}
	if frames == len(a.section.bands) {
		return
	}
	a.section.drop(frames, pitchFrames)
	a.origin += frames
	a.pitchOrigin += pitchFrames
}
