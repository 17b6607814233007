package audio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// Format tags of a WAVE fmt chunk (RFC 2361).
const (
	wavPCM        = 1
	wavFloat      = 3
	wavExtensible = 0xfffe
)

// unknownSize stands in a header written to a pipe, where the length could not be filled in.
const unknownSize = 0xffffffff

// sizeUnknown tells the sizes that writers to a pipe leave: 0, the largest number of 31, 32 or 33 bits, or a little less (ffmpeg writes ffffffff,
// sox 7ffff000, others subtract their header).
func sizeUnknown(size uint32) bool {
	const little = 64 << 10
	return size == 0 || size >= unknownSize-little || size >= 1<<31-1-little && size <= 1<<31
}

// Blocks of wav have at most so many frames, and samples of all channels: a header of many channels must not take much memory.
const (
	blockFrames = 4096
	blockValues = 1 << 14
)

type wavFormat struct {
	tag, channels, rate int
	bits                int // as samples are stored: whole bytes
}

func (f wavFormat) frameBytes() int { return f.channels * f.bits / 8 }

// openWAV reads the chunks before the samples. PCM of 1 to 32 bits and float of 32 and 64 are read; any other codec is errUnsupported.
func openWAV(_ context.Context, in *file) (*source, error) {
	if _, err := in.Discard(12); err != nil {
		return nil, undecodable("reading wav header: %w", err)
	}
	w := &wavReader{file: in}
	size, err := w.findData()
	if err != nil {
		return nil, err
	}
	return w.source(size)
}

// wavReader reads the data chunks of a WAVE file.
type wavReader struct {
	*file
	src    *source
	format *wavFormat
	left   int64 // bytes of the data chunk in hand, negative if it goes on to the end of the file
	raw    []byte
	sized  bool // the header tells a length
	joins  int  // files that were joined to the first
	kept   int  // bytes of a frame at the beginning of raw that a data chunk has ended in
	out    []float32
}

// findData passes over chunks up to the samples.
func (w *wavReader) findData() (size uint32, err error) {
	for {
		id, size, err := w.chunkHeader()
		if err != nil {
			return 0, err
		}
		switch id {
		case "fmt ":
			if err := w.readFormat(size); err != nil {
				return 0, err
			}
		case "data":
			if w.format == nil {
				return 0, undecodable("wav has samples before their format")
			}
			return size, nil
		default:
			if _, err := w.Discard(int(size) + int(size&1)); err != nil {
				return 0, undecodable("the wav chunk %q of %d bytes is longer than the file: no samples were found", id, size)
			}
		}
	}
}

func (w *wavReader) chunkHeader() (string, uint32, error) {
	var h [8]byte
	if _, err := io.ReadFull(w, h[:]); err != nil {
		return "", 0, undecodable("the wav file ends before its samples: %w", err)
	}
	return string(h[:4]), binary.LittleEndian.Uint32(h[4:]), nil
}

// readFormat takes the first fmt chunk, as other readers do; a later one that contradicts it is noted.
func (w *wavReader) readFormat(size uint32) error {
	if size < 14 || size > 4096 {
		return undecodable("wav format chunk of %d bytes", size)
	}
	b := make([]byte, max(16, size+size&1))
	if _, err := io.ReadFull(w, b[:size+size&1]); err != nil {
		return undecodable("the wav file ends in its header: %w", err)
	}
	if w.format != nil {
		if f, err := parseWAVFormat(b, size); err != nil || *f != *w.format {
			w.faults.whole(StaleHeader, "the wav file has two formats that contradict each other: the first is taken")
		}
		return nil
	}
	f, err := parseWAVFormat(b, size)
	w.format = f
	return err
}

func parseWAVFormat(b []byte, size uint32) (*wavFormat, error) {
	f := &wavFormat{
		tag:      int(binary.LittleEndian.Uint16(b)),
		channels: int(binary.LittleEndian.Uint16(b[2:])),
		rate:     int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)),
	}
	if f.tag == wavExtensible && size >= 40 {
		f.tag = int(binary.LittleEndian.Uint16(b[24:])) // the sub-format GUID begins with the tag
	}
	if f.tag != wavPCM && f.tag != wavFloat {
		return nil, fmt.Errorf("wav codec 0x%04x: %w", f.tag, errUnsupported)
	}
	bits, align := int(binary.LittleEndian.Uint16(b[14:])), int(binary.LittleEndian.Uint16(b[12:]))
	f.bits = (bits + 7) / 8 * 8 // samples of 12 or 20 bits fill the upper bits of whole bytes
	switch {
	case bits == 0 || decodeWAV(f.tag, f.bits) == nil:
		return nil, undecodable("wav samples of %d bits are not read here: export the file with 16, 24 or 32 bits", bits)
	case align != 0 && align != f.frameBytes():
		return nil, undecodable("the wav header contradicts itself: %d channels of %d bits take %d bytes a frame, not %d: export the file again",
			f.channels, bits, f.frameBytes(), align)
	}
	return f, nil
}

func (w *wavReader) source(size uint32) (*source, error) {
	f := w.format
	w.src = &source{next: w.next}
	if err := w.begin(size); err != nil {
		return nil, err
	}
	switch {
	case size == 0 && w.empty():
		return nil, &Error{Code: Empty, Err: errors.New("the wav file holds no samples")}
	case w.left >= 0:
		w.src.declared = int64(size) / int64(f.frameBytes())
		w.sized = w.src.declared > 0
	}
	return w.src, nil
}

// begin takes the format in hand for a data chunk.
func (w *wavReader) begin(size uint32) error {
	f := w.format
	w.src.rate, w.src.channels = f.rate, f.channels
	if err := w.src.check(); err != nil {
		return err
	}
	w.left, w.kept = int64(size), 0
	if sizeUnknown(size) {
		w.left = -1
	}
	frames := min(blockFrames, blockValues/f.channels)
	w.raw = make([]byte, frames*f.frameBytes())
	w.out = make([]float32, frames*f.channels)
	return nil
}

// joined begins the wav file that follows another in the same bytes, behind the 8 bytes of its first header.
func (w *wavReader) joined() bool {
	head, err := peek(w.Reader, 4)
	if err != nil || !hasMagic(head, 0, "WAVE") || w.joins == maxParts {
		return false
	}
	_, _ = w.Discard(4)
	w.joins++
	first := w.format
	w.format = nil
	size, err := w.findData()
	if err == nil {
		err = w.begin(size)
	}
	if err != nil {
		w.format = first
		w.faults.whole(StaleHeader, "another wav file follows the first in the same bytes and could not be read: %v", err)
		return false
	}
	w.faults.whole(StaleHeader, "another wav file follows the first in the same bytes and was read")
	return true
}

func (w *wavReader) next() ([]float32, error) {
	for {
		size := w.format.frameBytes()
		raw := w.raw[w.kept:]
		if w.left >= 0 {
			raw = raw[:min(int64(len(raw)), w.left)]
		}
		n, err := io.ReadFull(w, raw)
		if err != nil && !atEnd(err) {
			return nil, fmt.Errorf("reading wav samples: %w", err)
		}
		if w.left >= 0 {
			w.left -= int64(n)
		}
		n, w.kept = n+w.kept, 0
		if frames := n / size; frames > 0 {
			block := w.out[:frames*w.format.channels]
			decodeWAV(w.format.tag, w.format.bits)(block, w.raw)
			w.kept = copy(w.raw, w.raw[frames*size:n])
			return block, nil
		}
		if w.left != 0 || !w.more(n) {
			return nil, io.EOF
		}
	}
}

// more looks behind a data chunk that has ended: for another, or for samples beyond the size that a stale header tells. These go on with the
// frame that the chunk has ended in, after so many bytes of it.
func (w *wavReader) more(part int) bool {
	if w.samplesFollow() {
		w.left, w.kept = -1, part
		if !w.sized { // else the length in the header tells it
			w.faults.whole(StaleHeader, "samples follow beyond the size that the wav header tells, and were read")
		}
		return true
	}
	for {
		id, size, err := w.chunkHeader()
		switch {
		case err != nil:
			return false
		case id == "data" && size > 0:
			w.left = int64(size)
			return true
		case id == "RIFF" && w.joined():
			return true
		case id == "fmt " && w.readFormat(size) == nil: // notes a contradiction
			continue
		case !isChunkID([]byte(id)) && id != "\x00\x00\x00\x00":
			w.faults.whole(StaleHeader, "bytes that are no chunk follow the samples of the wav file and were not read")
			return false
		}
		if _, err := w.Discard(int(size) + int(size&1)); err != nil {
			return false
		}
	}
}

// samplesFollow tells whether what follows is neither a chunk or tag, whose name is text, nor padding, nor a few odd bytes.
func (w *wavReader) samplesFollow() bool {
	const some = 1024
	head, err := peek(w.Reader, some)
	if len(head) > 4 && head[0] == 0 && isChunkID(head[1:]) { // behind an odd size
		_, _ = w.Discard(1)
		return false
	}
	return err == nil && len(head) == some && !isChunkID(head[:4]) && slices.ContainsFunc(head, func(b byte) bool { return b != 0 })
}

func isChunkID(b []byte) bool {
	return !slices.ContainsFunc(b[:3], func(c byte) bool { return c < ' ' || c > '~' })
}

// usualChunks are what may follow a data chunk that is truly empty.
var usualChunks = []string{"LIST", "fact", "cue ", "smpl", "bext", "iXML", "junk", "JUNK", "PAD ", "FLLR", "inst", "id3 ", "ID3 ", "_PMX"}

// empty tells whether a data chunk of size 0 is the end of the sound, not a size that its writer could not know.
func (w *wavReader) empty() bool {
	head, err := peek(w.Reader, 8)
	return err != nil || len(head) < 8 || slices.Contains(usualChunks, string(head[:4]))
}

// wavDecoders convert little-endian samples, by tag and bits.
var wavDecoders = map[[2]int]func(dst []float32, src []byte){
	{wavPCM, 8}:  decodeEach(1, func(b []byte) float32 { return float32(int(b[0])-128) / (1 << 7) }),
	{wavPCM, 16}: decodeEach(2, func(b []byte) float32 { return float32(int16(binary.LittleEndian.Uint16(b))) / (1 << 15) }),
	{wavPCM, 24}: decodeEach(3, func(b []byte) float32 {
		return float32(int32(b[0])<<8|int32(b[1])<<16|int32(b[2])<<24) / (1 << 31)
	}),
	{wavPCM, 32}:   decodeEach(4, func(b []byte) float32 { return float32(int32(binary.LittleEndian.Uint32(b))) / (1 << 31) }),
	{wavFloat, 32}: decodeEach(4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }),
	{wavFloat, 64}: decodeEach(8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }),
}

// decodeWAV returns the conversion of little-endian samples, nil where there is none.
func decodeWAV(tag, bits int) func(dst []float32, src []byte) { return wavDecoders[[2]int{tag, bits}] }

func decodeEach(width int, one func([]byte) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = one(src[i*width : (i+1)*width])
		}
	}
}
