package audio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// format is what a file is by its content: the Go decoder that reads it, if any, and the ffmpeg
// demuxer that may read it. ffmpeg is never left to guess, so playlists, concatenation scripts and
// other formats that name further files cannot be reached.
type format struct {
	name    string
	demuxer string
	// stream marks formats without a beginning and an end, which are read over damaged places.
	stream bool
	open   func(*bufio.Reader) (*source, error)
}

// peekBytes is how far the beginning of a file is looked at; the reader's buffer must hold it.
const peekBytes = 16 << 10

// maxTags bounds how many ID3 tags are skipped before the audio.
const maxTags = 8

var magics = []struct {
	offset int
	magic  string
	format format
}{
	{0, "fLaC", format{name: "flac", demuxer: "flac", open: openFLAC}},
	{0, "RF64", format{name: "rf64", demuxer: "wav"}},
	{0, "BW64", format{name: "bw64", demuxer: "wav"}},
	{0, "RIFX", format{name: "rifx", demuxer: "wav"}},
	{0, "riff\x2e\x91\xcf\x11", format{name: "w64", demuxer: "w64"}},
	{0, "OggS", format{name: "ogg", demuxer: "ogg"}},
	{4, "ftyp", format{name: "mp4", demuxer: "mov"}},
	{0, "\x1a\x45\xdf\xa3", format{name: "matroska", demuxer: "matroska"}},
	{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", format{name: "asf", demuxer: "asf"}},
	{0, "caff", format{name: "caf", demuxer: "caf"}},
	{0, ".snd", format{name: "au", demuxer: "au"}},
	{0, "wvpk", format{name: "wavpack", demuxer: "wv"}},
	{0, "MAC ", format{name: "ape", demuxer: "ape"}},
	{0, "TTA1", format{name: "tta", demuxer: "tta"}},
	{0, "MPCK", format{name: "mpc", demuxer: "mpc8"}},
	{0, "MP+", format{name: "mpc", demuxer: "mpc"}},
	{0, "DSD ", format{name: "dsf", demuxer: "dsf"}},
	{0, "#!AMR", format{name: "amr", demuxer: "amr", stream: true}},
	{0, "\x0b\x77", format{name: "ac3", demuxer: "ac3", stream: true}},
}

// sniff tells the format and leaves r at the first byte of the audio, past any ID3 tags.
func sniff(r *bufio.Reader) (format, error) {
	if err := skipID3(r); err != nil {
		return format{}, err
	}
	head, err := peek(r, peekBytes)
	if err != nil {
		return format{}, err
	}
	if len(head) == 0 {
		return format{}, &Error{Code: Empty, Err: errors.New("the file is empty")}
	}
	if hasMagic(head, 0, "RIFF") && hasMagic(head, 8, "WAVE") {
		return format{name: "wav", demuxer: "wav", open: openWAV}, nil
	}
	if hasMagic(head, 0, "FORM") && hasMagic(head, 8, "AIF") {
		return format{name: "aiff", demuxer: "aiff"}, nil
	}
	for _, m := range magics {
		if hasMagic(head, m.offset, m.magic) {
			return m.format, nil
		}
	}
	if isADTS(head) {
		return format{name: "aac", demuxer: "aac", stream: true}, nil
	}
	if at, ok := findMP3(head); ok {
		if _, err := r.Discard(at); err != nil {
			return format{}, fmt.Errorf("skipping to the first mp3 frame: %w", err)
		}
		return format{name: "mp3", demuxer: "mp3", stream: true, open: openMP3}, nil
	}
	if _, ok := parseMP3Header(head); ok {
		return format{name: "mp3", demuxer: "mp3", stream: true, open: openMP3}, nil // openMP3 tells the variant
	}
	return format{}, undecodable("the content is no audio format that is known")
}

func hasMagic(head []byte, offset int, magic string) bool {
	return len(head) >= offset && bytes.HasPrefix(head[offset:], []byte(magic))
}

// peek returns up to n bytes without consuming them; fewer only at the end of the file.
func peek(r *bufio.Reader, n int) ([]byte, error) {
	head, err := r.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the head of the file: %w", err)
	}
	return head, nil
}

// skipID3 skips ID3v2 tags (id3.org/id3v2.4.0-structure, section 3.1), which may hold megabytes of cover art.
func skipID3(r *bufio.Reader) error {
	for range maxTags {
		head, err := peek(r, 10)
		if err != nil {
			return err
		}
		if len(head) < 10 || !hasMagic(head, 0, "ID3") {
			return nil
		}
		size := 10 + (int(head[6]&0x7f)<<21 | int(head[7]&0x7f)<<14 | int(head[8]&0x7f)<<7 | int(head[9]&0x7f))
		if head[5]&0x10 != 0 {
			size += 10 // a footer follows
		}
		if _, err := r.Discard(size); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("skipping an ID3 tag: %w", err)
		}
	}
	return nil
}

// isADTS reports two AAC frames in a row (ISO 13818-7, adts_frame).
func isADTS(head []byte) bool {
	size := adtsSize(head)
	return size > 0 && len(head) > size+7 && adtsSize(head[size:]) > 0
}

func adtsSize(b []byte) int {
	if len(b) < 7 || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
		return 0
	}
	size := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	if size < 7 {
		return 0
	}
	return size
}
