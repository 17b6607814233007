package audio

import "math"

// Parameters of the downmix.
const (
	// segmentValues bounds the samples of all channels over which it is decided whether the channels cancel each other.
	segmentValues = 1 << 17
	// cancelled is how much of the energy that independent channels would keep is left in their mean where they are said to cancel:
	// -10 dB. What is left then is mostly the noise in which they differ.
	cancelled = 0.1
	// audible is the mean square above which a channel is worth hearing: -60 dB.
	audible = 1e-6
)

// mixer makes mono: the mean of the channels, or the loudest channel where the mean cancels. It decides for a second at a
// time, counted from the start of the part, so that the samples do not depend on how much of the track is wanted.
type mixer struct {
	rate, channels int
	values         int // in a whole segment
	chosen         int // channel that is heard where they cancel
	segment        []float32
	energy         []float64
	mono           []float32
	before, frames int64 // samples at 44.1 kHz before this part, frames mixed
	faults         *Faults
}

func newMixer(rate, channels int, before int64, faults *Faults) *mixer {
	frames := min(rate, segmentValues/channels)
	return &mixer{
		rate: rate, channels: channels, values: frames * channels, before: before, faults: faults, energy: make([]float64, channels),
	}
}

// push takes interleaved samples and hands each whole segment on as mono.
func (m *mixer) push(block []float32, take func([]float32) error) error {
	if m.channels == 1 {
		m.mono = resize(m.mono, len(block))
		for i, v := range block {
			m.mono[i] = bounded(v)
		}
		return take(m.mono)
	}
	for len(block) > 0 {
		n := min(len(block), m.values-len(m.segment))
		m.segment = append(m.segment, block[:n]...)
		block = block[n:]
		if len(m.segment) == m.values {
			if err := m.flush(take); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush hands on what is there.
func (m *mixer) flush(take func([]float32) error) error {
	if len(m.segment) == 0 {
		return nil
	}
	mono := m.mean()
	if m.cancels(mono) {
		for i := range mono {
			mono[i] = bounded(m.segment[i*m.channels+m.chosen])
		}
		at := float64(m.before)/SampleRate + float64(m.frames)/float64(m.rate)
		m.faults.add(ChannelsCancel, at, "the channels cancel each other when mixed: channel %d is heard in place of their mean", m.chosen+1)
	}
	m.frames += int64(len(mono))
	m.segment = m.segment[:0]
	return take(mono)
}

// mean is the mean of the channels. Values that are no sound (not finite, or far beyond full scale) are silenced or
// bounded, so that they cannot spoil their neighbours in the resampler.
func (m *mixer) mean() []float32 {
	m.mono = resize(m.mono, len(m.segment)/m.channels)
	for i := range m.mono {
		sum := float32(0)
		for _, v := range m.segment[i*m.channels : (i+1)*m.channels] {
			sum += finite(v)
		}
		m.mono[i] = bounded(sum / float32(m.channels))
	}
	return m.mono
}

// cancels tells whether the mean of the segment has lost nearly all of its channels' energy, and chooses the loudest channel. A channel once
// chosen stays unless another has twice its energy: sides that cancel are equally loud, and to change between them is a click.
func (m *mixer) cancels(mono []float32) bool {
	clear(m.energy)
	for i, v := range m.segment {
		b := float64(bounded(v))
		m.energy[i%m.channels] += b * b
	}
	all, kept := 0.0, 0.0
	for c, e := range m.energy {
		all += e
		if e > 2*m.energy[m.chosen] {
			m.chosen = c
		}
	}
	for _, v := range mono {
		kept += float64(v) * float64(v)
	}
	independent := all / float64(m.channels*m.channels)
	return m.energy[m.chosen] > audible*float64(len(mono)) && kept < cancelled*independent
}

func bounded(v float32) float32 { return max(-2, min(2, finite(v))) }

// finite silences NaN and infinities.
func finite(v float32) float32 {
	if v-v != 0 {
		return 0
	}
	return v
}

func resize(b []float32, n int) []float32 {
	if cap(b) < n {
		return make([]float32, n)
	}
	return b[:n]
}

// Bounds on the level of a track.
const (
	fullScale    = 32767.0 / 32768
	clippedShare = 0.01
	quietSwing   = 1e-3 // -60 dB
	largeOffset  = 0.1
)

// level gathers what is said of a track's samples.
type level struct {
	values, notFinite, atFull int64
	low, high                 float32 // of the mono samples
	sum                       float64 // of the mono samples
	mono                      int64
}

// look inspects the samples of all channels, which begin at a time in seconds.
func (l *level) look(block []float32, seconds float64, faults *Faults) {
	before := l.notFinite
	for _, v := range block {
		switch {
		case v-v != 0: // NaN and infinities
			l.notFinite++
		case v >= fullScale || v <= -fullScale:
			l.atFull++
		}
	}
	l.values += int64(len(block))
	if before == 0 && l.notFinite > 0 {
		faults.add(NotFinite, seconds, "samples are no numbers (NaN or infinite): they are taken as silence")
	}
}

func (l *level) measure(mono []float32) {
	for _, v := range mono {
		l.low, l.high, l.sum = min(l.low, v), max(l.high, v), l.sum+float64(v)
		if l.mono++; l.mono == 1 {
			l.low, l.high = v, v
		}
	}
}

func (l *level) report(faults *Faults) {
	if offset := l.sum / float64(max(1, l.mono)); math.Abs(offset) > largeOffset {
		faults.whole(DCOffset, "the sound swings around %+.2f of full scale in place of 0", offset)
	}
	if l.mono > 0 && float64(l.high-l.low)/2 < quietSwing {
		faults.whole(TooQuiet, "the track is silent or nearly so: it swings by less than a thousandth of full scale")
	}
	if float64(l.atFull) > clippedShare*float64(l.values) {
		faults.whole(Clipped, "%.0f %% of the samples lie at full scale: the recording is clipped", 100*float64(l.atFull)/float64(l.values))
	}
}
