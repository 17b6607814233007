package audio

import (
	"bytes"
	"encoding/binary"
)

// oggInspector walks over the pages of an Ogg file (RFC 3533, section 6): each has a checksum and a number, and the last of a stream says so.
type oggInspector struct {
	f       *Faults
	buf     []byte
	streams map[uint32]*oggStream
	rate    int // of the sound that began last
	codec   string
	seconds float64
	skipped bool
	vain    int64 // bytes whose checksum was made for nothing
}

// oggStream is one stream of sound.
type oggStream struct {
	rate  int
	page  uint32 // number of the page that follows
	ended bool
}

const (
	oggHeader     = 27
	maxOggPage    = oggHeader + 255 + 255*255
	maxOggStreams = 64
	maxOggVain    = 256 << 20
	oggBegins     = 2
	oggEnds       = 4
)

func newOggInspector(f *Faults) inspector {
	return &oggInspector{f: f, streams: map[uint32]*oggStream{}}
}

func (o *oggInspector) Write(b []byte) (int, error) {
	o.buf = append(o.buf, b...)
	rest := o.buf
	for len(rest) >= maxOggPage {
		n, _ := o.step(rest)
		rest = rest[n:]
	}
	o.buf = o.buf[:copy(o.buf, rest)]
	return len(b), nil
}

func (o *oggInspector) end() {
	for rest := o.buf; len(rest) > 0; {
		n, cut := o.step(rest)
		if cut {
			break
		}
		rest = rest[n:]
	}
	for _, s := range o.streams {
		if !s.ended {
			o.f.add(Truncated, o.seconds, "the ogg file breaks off after %.1f s: it has no last page", o.seconds)
			return
		}
	}
}

// step passes over one page, or to what may be the next. cut says that the page is longer than what is there.
func (o *oggInspector) step(b []byte) (n int, cut bool) {
	if !hasMagic(b, 0, "OggS") {
		o.skipped = true
		if at := bytes.Index(b[1:], []byte("OggS")); at >= 0 {
			return 1 + at, false
		}
		return max(1, len(b)-3), false
	}
	size := oggPageSize(b)
	if size == 0 || size > len(b) {
		return len(b), true
	}
	if o.vain > maxOggVain {
		return len(b), false // hostile: not looked at further
	}
	if binary.LittleEndian.Uint32(b[22:]) != oggSum(b[:size]) {
		o.skipped, o.vain = true, o.vain+int64(size)
		return 4, false
	}
	o.page(b[:size])
	return size, false
}

func oggPageSize(b []byte) int {
	if len(b) < oggHeader || len(b) < oggHeader+int(b[26]) {
		return 0
	}
	size := oggHeader + int(b[26])
	for _, v := range b[oggHeader:size] {
		size += int(v)
	}
	return size
}

func (o *oggInspector) page(b []byte) {
	serial, number := binary.LittleEndian.Uint32(b[14:]), binary.LittleEndian.Uint32(b[18:])
	body := b[oggHeader+int(b[26]):]
	if b[5]&oggBegins != 0 && len(o.streams) < maxOggStreams {
		o.open(serial, number, body)
		return
	}
	s := o.streams[serial]
	if s == nil {
		return
	}
	if number != s.page || o.skipped {
		o.f.add(DamagedFrames, o.seconds, "pages of the ogg file after %.1f s are damaged or missing", o.seconds)
	}
	s.page, o.skipped = number+1, false
	if at := int64(binary.LittleEndian.Uint64(b[6:])); at > 0 && s.rate > 0 {
		o.seconds = float64(at) / float64(s.rate)
	}
	s.ended = s.ended || b[5]&oggEnds != 0
}

func (o *oggInspector) open(serial, number uint32, body []byte) {
	codec, rate := oggSound(body)
	if rate == 0 {
		return // no sound that is known
	}
	switch {
	case o.codec != "" && o.codec != codec:
		o.f.add(FormatChanged, o.seconds, "the ogg file goes on in another codec (%s after %s) after %.1f s: what is in %[1]s was left out", codec, o.codec, o.seconds)
	case o.rate > 0 && o.rate != rate:
		o.f.whole(SampleRateChanged, "the ogg file holds parts of %d and of %d Hz", o.rate, rate)
	}
	if codec == "opus" && o.codec == codec {
		o.f.opusLinks++
	}
	o.codec, o.rate = codec, rate
	o.streams[serial] = &oggStream{rate: rate, page: number + 1}
}

// oggSound reads the codec and the unit of positions from the first packet of a stream of sound; 0 if it is none.
func oggSound(b []byte) (codec string, rate int) {
	switch {
	case hasMagic(b, 0, "\x01vorbis") && len(b) >= 16:
		return "vorbis", int(binary.LittleEndian.Uint32(b[12:]))
	case hasMagic(b, 0, "OpusHead"):
		return "opus", 48000
	case hasMagic(b, 0, "\x7fFLAC") && len(b) >= 31:
		return "flac", int(binary.BigEndian.Uint32(b[27:]) >> 12)
	case hasMagic(b, 0, "Speex   ") && len(b) >= 40:
		return "speex", int(binary.LittleEndian.Uint32(b[36:]))
	}
	return "", 0
}

// oggTable is of the CRC of RFC 3533, section 6, field 7: polynomial 04c11db7, not reflected.
var oggTable = func() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			r = r<<1 ^ r>>31*0x04c11db7
		}
		t[i] = r
	}
	return t
}()

// oggSum is the checksum of a page, whose own field counts as zero.
func oggSum(page []byte) (sum uint32) {
	for i, v := range page {
		if i >= 22 && i < 26 {
			v = 0
		}
		sum = sum<<8 ^ oggTable[byte(sum>>24)^v]
	}
	return sum
}
