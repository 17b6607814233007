package audio

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum of the format, no protection
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/mewkiz/flac/frame"
)

const (
	// maxFLACFrame bounds the bytes of a frame: 65,535 samples of 8 channels and 32 bits, and a little.
	maxFLACFrame = 65535*8*4 + 4096
	// usualFLACFrame is how far a frame is looked for at first.
	usualFLACFrame = 64 << 10
	// maxFLACRescan bounds the bytes that are decoded in vain behind damage, beside a multiple of what the file has.
	maxFLACRescan = 64 << 20
)

// errFLACShort says that a frame needs more bytes than there are.
var errFLACShort = errors.New("the flac frame is cut")

// flacReader decodes frames, and goes on at the next sound frame behind damage.
type flacReader struct {
	src   *source
	ahead lookahead
	info  flacInfo
	f     *Faults

	at        int64   // frames (samples of a channel) decoded
	seconds   float64 // of sound decoded
	bits      uint8   // of the frame before
	consumed  int64   // bytes of sound frames
	rescanned int64   // bytes decoded in vain
	sum       hash.Hash
	raw       []byte
	out       []float32
	whole     bool // no damage so far
}

func openFLAC(_ context.Context, in *file) (*source, error) {
	info, err := readFLACInfo(in.Reader)
	if err != nil {
		return nil, err
	}
	s := &source{rate: info.rate, channels: info.channels, declared: info.samples}
	if err := s.check(); err != nil {
		return nil, err
	}
	d := &flacReader{src: s, ahead: lookahead{r: in}, info: info, f: in.faults, bits: info.bits, whole: true, sum: md5.New()} //nolint:gosec // as above
	if head := d.ahead.peek(4); len(head) == 4 && isFLACSync(head) {
		if err := readByGo(head); err != nil {
			return nil, err
		}
	}
	s.next = d.next
	return s, nil
}

func (d *flacReader) next() ([]float32, error) {
	skipped, why := 0, error(nil)
	for {
		head := d.ahead.peek(4)
		if err := d.ahead.fault(); err != nil {
			return nil, fmt.Errorf("reading flac: %w", err)
		}
		if len(head) < 4 {
			return nil, d.end(skipped, why)
		}
		if !isFLACSync(head) || skipped > 0 && !d.plausible() {
			skipped += d.toNextSync()
			continue
		}
		f, size, err := d.parse()
		if err == nil {
			if skipped > 0 {
				d.damage(f)
			}
			d.ahead.discard(size)
			d.consumed += int64(size)
			return d.take(f)
		}
		if d.rescanned > maxFLACRescan+8*(d.consumed+int64(skipped)) {
			return nil, undecodable("the flac file is damaged in too many places")
		}
		why = err
		d.ahead.discard(1)
		skipped++
	}
}

// end tells how the stream ended: in the middle of a frame, or cleanly, perhaps with a tag behind the sound.
func (d *flacReader) end(skipped int, why error) error {
	d.checksum(why)
	if errors.Is(why, errFLACShort) || skipped > 0 && d.info.samples > d.at {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// toNextSync passes over bytes up to the next that may begin a frame, or over all that are in hand.
func (d *flacReader) toNextSync() int {
	buf := d.ahead.peek(usualFLACFrame)
	n := len(buf)
	for i := 1; i+1 < len(buf); i++ {
		if buf[i] == 0xff && buf[i+1]&0xfe == 0xf8 {
			n = i
			break
		}
	}
	if n == len(buf) && n > 1 {
		n-- // the last byte may begin one
		if d.ahead.err != nil {
			n++
		}
	}
	d.ahead.discard(n)
	return n
}

// plausible checks the header's own checksum before a whole frame is decoded in vain.
func (d *flacReader) plausible() bool {
	head := d.ahead.peek(16)
	if readByGo(head) != nil {
		return false
	}
	f, err := frame.New(bytes.NewReader(head))
	return err == nil && f.Channels.Count() == d.src.channels
}

// parse decodes the frame at the reader and returns its size in bytes.
func (d *flacReader) parse() (f *frame.Frame, size int, err error) {
	if err := readByGo(d.ahead.peek(4)); err != nil {
		return nil, 0, err
	}
	for want := usualFLACFrame; ; want *= 2 {
		buf := d.ahead.peek(want)
		r := bytes.NewReader(buf)
		f, err = parseFLACFrame(r)
		size = len(buf) - r.Len()
		if err == nil {
			return f, size, nil
		}
		d.rescanned += int64(size)
		if !atEnd(err) {
			return nil, size, err
		}
		if len(buf) < want {
			return nil, size, errFLACShort
		}
		if want > maxFLACFrame {
			return nil, size, errors.New("the flac frame is longer than frames can be")
		}
	}
}

// parseFLACFrame turns a panic of the library into damage.
func parseFLACFrame(r io.Reader) (f *frame.Frame, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("decoding flac frame: %v", p)
		}
	}()
	return frame.Parse(r)
}

// damage notes what lies between the frames before and f, by the number that each frame carries.
func (d *flacReader) damage(f *frame.Frame) {
	d.whole = false
	position := int64(f.Num)
	if f.HasFixedBlockSize {
		position *= int64(d.info.block)
	}
	lost := position - d.at
	if lost <= 0 || d.info.samples > 0 && position > d.info.samples || lost > maxLost*int64(d.src.rate) {
		d.f.add(DamagedFrames, d.seconds, "bytes after %.1f s are damaged and were left out", d.seconds)
		return
	}
	gone := float64(lost) / float64(d.src.rate)
	if d.info.samples == 0 { // else the length in the header tells it
		d.f.MissingS += gone
	}
	d.f.add(DamagedFrames, d.seconds, "%.2f s of sound after %.1f s are damaged and were left out", gone, d.seconds)
}

// maxLost bounds the seconds that a frame's number may claim to be lost.
const maxLost = 3600

func (d *flacReader) take(f *frame.Frame) ([]float32, error) {
	rate := int(f.SampleRate)
	if rate == 0 {
		rate = d.info.rate
	}
	if f.BitsPerSample != d.bits {
		d.f.add(FormatChanged, d.seconds, "the sample size changes from %d to %d bits at %.1f s", d.bits, f.BitsPerSample, d.seconds)
		d.bits, d.whole = f.BitsPerSample, false
	}
	if d.at == 0 && (rate != d.info.rate || len(f.Subframes) != d.info.channels) {
		d.f.whole(StaleHeader, "the flac header tells of %d Hz and %d channels, the frames of %d Hz and %d channels: these are taken",
			d.info.rate, d.info.channels, rate, len(f.Subframes))
	}
	d.src.rate, d.src.channels = rate, len(f.Subframes)
	n := len(f.Subframes[0].Samples)
	d.at += int64(n)
	d.seconds += float64(n) / float64(max(1, rate))
	return d.interleave(f, n), nil
}

func (d *flacReader) interleave(f *frame.Frame, n int) []float32 {
	channels := len(f.Subframes)
	d.out = resize(d.out, n*channels)
	scale := 1 / float32(int64(1)<<(f.BitsPerSample-1))
	width := int(f.BitsPerSample+7) / 8
	hashed := d.whole && d.info.hasSum()
	d.raw = d.raw[:0]
	for i := range n {
		for c, sub := range f.Subframes {
			v := sub.Samples[i]
			d.out[i*channels+c] = float32(v) * scale
			if hashed {
				d.raw = binary.LittleEndian.AppendUint32(d.raw, uint32(v))[:len(d.raw)+width]
			}
		}
	}
	d.sum.Write(d.raw)
	return d.out
}

// checksum compares the sound with the MD5 of the header (RFC 9639, section 8.2) where nothing else has told of damage.
func (d *flacReader) checksum(why error) {
	known := !d.whole || why != nil || d.info.samples > 0 && d.at != d.info.samples
	if known || d.at == 0 || !d.info.hasSum() || bytes.Equal(d.sum.Sum(nil), d.info.sum[:]) {
		return
	}
	d.f.whole(ChecksumDisagrees, "the sound is not what the flac file's checksum was made of: the file is cut short or was altered")
}

func isFLACSync(head []byte) bool { return head[0] == 0xff && head[1]&0xfc == 0xf8 }

// readByGo looks at the header of a frame (RFC 9639, section 9.1) for what the library does not read: sample sizes
// that only the stream information tells, and two sample rates at which it writes a line to the standard logger for each frame.
func readByGo(head []byte) error {
	rate, size := head[2]&0x0f, head[3]>>1&7
	if size == 0 || size == 7 || rate == 2 || rate == 7 {
		return fmt.Errorf("flac frame with rate code %d and size code %d: %w", rate, size, errUnsupported)
	}
	return nil
}
