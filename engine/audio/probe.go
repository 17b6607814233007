package audio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Probed is what a file tells of itself without being decoded. A file that looks sound may turn out to be damaged when it is decoded.
type Probed struct {
	// Format by content, as in Info.
	Format string
	// Seconds of sound by the header; 0 where the header does not tell. Estimated: by the size of the file and the bit rate of its first frame.
	Seconds   float64
	Estimated bool
	// NeedsFFmpeg: the format or the variant cannot be decoded without ffmpeg.
	NeedsFFmpeg bool
	// SoundKind and the bytes From to To of the file determine the decoded sound of wav and mp3, whatever tags stand around them. SoundSum is the digest
	// of its sound that a flac file carries. Other formats tell nothing of the kind: SoundKind is empty.
	SoundKind string
	From, To  int64
	SoundSum  string
}

// maxProbeBoxes bounds the boxes of an mp4 file that are looked at.
const maxProbeBoxes = 256

// Probe reads the header of a file of so many bytes, and of some formats its end. A fault of the file is an *Error; other errors come from r.
func Probe(r io.ReaderAt, size int64) (p Probed, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = undecodable("reading %s header: %v", p.Format, v)
		}
	}()
	p, err = probe(r, size, 0)
	var tag *soundInTagError
	if errors.As(err, &tag) {
		p, err = probe(r, size, tag.at)
	}
	return p, err
}

func probe(r io.ReaderAt, size, from int64) (Probed, error) {
	if size == 0 {
		return Probed{}, &Error{Code: Empty, Err: errors.New("the file is empty")}
	}
	section := io.NewSectionReader(r, from, size-from)
	in := &file{Reader: bufio.NewReaderSize(section, peekBytes), faults: &Faults{}}
	ft, err := sniff(in)
	p := Probed{Format: ft.name, NeedsFFmpeg: ft.open == nil}
	if err != nil {
		return p, err
	}
	at := func() int64 { // where in stands in the file
		passed, _ := section.Seek(0, io.SeekCurrent) // cannot fail: it only asks
		return from + passed - int64(in.Buffered())
	}
	switch ft.name {
	case unknownName:
		return p, undecodable("its first bytes are those of no format of audio that is known here")
	case "wav":
		return p.wav(in, at, size)
	case "flac":
		return p.flac(in)
	case "mp3":
		return p.mp3(in, r, at(), size)
	case "mp4":
		p.Seconds, err = mp4Seconds(r, size)
	case "ogg":
		p.Seconds, err = oggSeconds(in.Reader, r, size)
	}
	return p, err
}

func (p Probed) wav(in *file, at func() int64, size int64) (Probed, error) {
	if _, err := in.Discard(12); err != nil {
		return p, undecodable("reading wav header: %w", err)
	}
	w := &wavReader{file: in}
	told, err := w.findData()
	if errors.Is(err, errUnsupported) {
		p.NeedsFFmpeg = true
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p.From, p.To = at(), size
	if !sizeUnknown(told) {
		p.To = min(size, p.From+int64(told))
	}
	f := w.format
	if err := (&source{rate: f.rate, channels: f.channels}).check(); err != nil {
		return p, err
	}
	frames := (p.To - p.From) / int64(f.frameBytes())
	if frames == 0 {
		return p, &Error{Code: Empty, Err: errors.New("the wav file holds no samples")}
	}
	p.Seconds = float64(frames) / float64(f.rate)
	p.SoundKind = fmt.Sprintf("wav %d %d %d %d", f.tag, f.rate, f.channels, f.bits)
	return p, nil
}

func (p Probed) flac(in *file) (Probed, error) {
	info, err := readFLACInfo(in.Reader)
	if err != nil {
		return p, err
	}
	if err := (&source{rate: info.rate, channels: info.channels}).check(); err != nil {
		return p, err
	}
	p.Seconds = float64(info.samples) / float64(info.rate)
	if info.hasSum() {
		p.SoundKind = fmt.Sprintf("flac %d %d %d %d", info.rate, info.channels, info.bits, info.samples)
		p.SoundSum = hex.EncodeToString(info.sum[:])
	}
	return p, nil
}

// mp3 takes the length from the header that most encoders write, else from the bit rate of the first frame.
func (p Probed) mp3(in *file, r io.ReaderAt, from, size int64) (Probed, error) {
	head, err := peek(in.Reader, peekBytes)
	if err != nil {
		return p, err
	}
	h, ok := parseMP3Header(head)
	for i := 0; !ok && i < len(head); i++ { // zeros may stand before the first frame
		if _, _, sure := mp3At(head, i, 1); sure {
			h, ok = parseMP3Header(head[i:])
			head, from = head[i:], from+int64(i)
		}
	}
	if !ok {
		return p, undecodable("no frame of mp3 was found at the beginning")
	}
	p.From, p.To = from, mp3End(r, size)
	p.SoundKind, p.NeedsFFmpeg = "mp3", !h.inGo()
	switch frames := xingFrames(head, h); {
	case frames > 0:
		p.Seconds = float64(frames) * float64(h.samples) / float64(h.rate)
	case h.size > 0:
		p.Seconds, p.Estimated = float64(p.To-p.From)/float64(h.size)*float64(h.samples)/float64(h.rate), true
	}
	return p, nil
}

// mp3End is where tags begin at the end of the file: ID3v1 (128 bytes, "TAG"), and before it APEv2, whose footer tells its size. A read that fails finds none.
func mp3End(r io.ReaderAt, size int64) int64 {
	end := size
	var tag [3]byte
	if n, _ := r.ReadAt(tag[:], end-128); end > 128 && n == 3 && string(tag[:]) == "TAG" {
		end -= 128
	}
	var foot [apeHeader]byte
	if n, _ := r.ReadAt(foot[:], end-apeHeader); end > apeHeader && n == apeHeader && hasMagic(foot[:], 0, "APETAGEX") {
		tagged := int64(binary.LittleEndian.Uint32(foot[12:]))
		if foot[23]&0x80 != 0 {
			tagged += apeHeader
		}
		if tagged < end {
			end -= tagged
		}
	}
	return end
}

// mp4Seconds reads the length of the film from its header (ISO 14496-12, section 8.2.2), which may stand behind the sound; 0 where there is none.
func mp4Seconds(r io.ReaderAt, size int64) (float64, error) {
	at, end := int64(0), size
	for range maxProbeBoxes {
		var h [32]byte
		n, err := r.ReadAt(h[:], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n < 8 || at >= end {
			return 0, nil
		}
		length, body := int64(binary.BigEndian.Uint32(h[:])), int64(8)
		switch {
		case length == 1 && n >= 16:
			length, body = int64(binary.BigEndian.Uint64(h[8:])&(1<<62-1)), 16
		case length == 0:
			length = end - at
		}
		switch {
		case length < body:
			return 0, nil
		case hasMagic(h[:], 4, "moov"):
			at, end = at+body, min(end, at+length)
			continue
		case hasMagic(h[:], 4, "mvhd"):
			return mvhdSeconds(r, at+body)
		}
		at += length
	}
	return 0, nil
}

func mvhdSeconds(r io.ReaderAt, at int64) (float64, error) {
	var b [32]byte
	n, err := r.ReadAt(b[:], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	scale, length := binary.BigEndian.Uint32(b[12:]), uint64(binary.BigEndian.Uint32(b[16:]))
	if b[0] == 1 {
		scale, length = binary.BigEndian.Uint32(b[20:]), binary.BigEndian.Uint64(b[24:])
	}
	if n < len(b) || scale == 0 || length >= 1<<40 {
		return 0, nil
	}
	return float64(length) / float64(scale), nil
}

// oggSeconds reads the rate from the first page and the length from the last one (RFC 3533, section 6).
func oggSeconds(first *bufio.Reader, r io.ReaderAt, size int64) (float64, error) {
	head, err := peek(first, peekBytes)
	if err != nil || len(head) < oggHeader {
		return 0, err
	}
	_, rate := oggSound(head[min(len(head), oggHeader+int(head[26])):])
	tail := make([]byte, min(size, maxOggPage))
	n, err := r.ReadAt(tail, size-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	last := bytes.LastIndex(tail[:n], []byte("OggS"))
	if rate <= 0 || last < 0 || n-last < oggHeader {
		return 0, nil
	}
	if granule := int64(binary.LittleEndian.Uint64(tail[last+6:])); granule > 0 && granule < 1<<45 {
		return float64(granule) / float64(rate), nil
	}
	return 0, nil
}
