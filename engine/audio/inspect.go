package audio

import "bytes"

// inspector looks at the bytes of a file on their way to ffmpeg, for faults that ffmpeg passes over in silence.
type inspector interface {
	Write([]byte) (int, error)
	// end is called once, behind the last byte.
	end()
}

// mp4Inspector refuses what is encrypted: ffmpeg decodes noise from it.
type mp4Inspector struct{ tail []byte }

func newMP4Inspector(*Faults) inspector { return &mp4Inspector{} }

// encryptedMarks are scheme type boxes (ISO 14496-12, section 8.12.5) of common encryption and of FairPlay.
var encryptedMarks = [][]byte{
	[]byte("schm\x00\x00\x00\x00cenc"), []byte("schm\x00\x00\x00\x00cens"), []byte("schm\x00\x00\x00\x00cbc1"),
	[]byte("schm\x00\x00\x00\x00cbcs"), []byte("schm\x00\x00\x00\x00itun"), []byte("schm\x00\x00\x00\x00piff"),
}

func (m *mp4Inspector) Write(b []byte) (int, error) {
	all := append(m.tail, b...)
	for _, mark := range encryptedMarks {
		if bytes.Contains(all, mark) {
			return 0, undecodable("the mp4 file is encrypted: only its rightful player reads it")
		}
	}
	m.tail = append(m.tail[:0], all[max(0, len(all)-len(encryptedMarks[0])+1):]...)
	return len(b), nil
}

func (m *mp4Inspector) end() {}

// adtsInspector walks over the frames of a bare AAC stream (ISO 13818-7, section 6.2).
type adtsInspector struct {
	f       *Faults
	buf     []byte
	frames  int
	bytes   int // of the frames
	rate    int // index of the sample rate, -1 before the first frame
	seconds float64
	skipped int
}

var aacRates = [13]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

const adtsHeader = 7

func newADTSInspector(f *Faults) inspector { return &adtsInspector{f: f, rate: -1} }

func (a *adtsInspector) Write(b []byte) (int, error) {
	a.buf = append(a.buf, b...)
	rest := a.buf
	for len(rest) >= 8192+adtsHeader { // the longest frame and the next header
		rest = rest[a.step(rest):]
	}
	a.buf = a.buf[:copy(a.buf, rest)]
	return len(b), nil
}

func (a *adtsInspector) end() {
	for rest := a.buf; len(rest) > 0; {
		if size := adtsSize(rest); size > len(rest) && a.skipped == 0 {
			a.f.add(Truncated, a.seconds, "the file breaks off after %.1f s", a.seconds)
			return
		}
		if isTag(rest) {
			return
		}
		rest = rest[a.step(rest):]
	}
	if a.skipped > adtsHeader {
		a.lost()
		a.f.add(DamagedFrames, a.seconds, "the last %d bytes, after %.1f s, are no frames of aac", a.skipped, a.seconds)
	}
}

// step passes over one frame, or over one byte that begins none.
func (a *adtsInspector) step(b []byte) int {
	size := adtsSize(b)
	rate := 0
	if size > 0 {
		rate = int(b[2] >> 2 & 0x0f)
	}
	follows := size == len(b) || len(b) >= size+adtsHeader && adtsSize(b[size:]) > 0
	sound := size > 0 && rate < len(aacRates) && (follows || a.skipped == 0 && rate == a.rate)
	if !sound {
		a.skipped++
		return 1
	}
	if a.skipped > 0 {
		a.lost()
		a.f.add(DamagedFrames, a.seconds, "%d bytes after %.1f s are no frames of aac and were left out", a.skipped, a.seconds)
		a.skipped = 0
	}
	if a.rate >= 0 && rate != a.rate {
		a.f.add(SampleRateChanged, a.seconds, "the sample rate changes from %d to %d Hz at %.1f s", aacRates[a.rate], aacRates[rate], a.seconds)
	}
	a.rate = rate
	a.frames++
	a.bytes += size
	a.seconds += 1024 * float64(b[6]&3+1) / float64(aacRates[rate])
	return min(size, len(b))
}

// lost counts what the bytes that were passed over held, by the mean size of the frames so far.
func (a *adtsInspector) lost() {
	if a.frames > 0 {
		a.f.MissingS += float64(a.skipped) / float64(a.bytes) * a.seconds
	}
}
