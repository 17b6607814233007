package audio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// format is what a file is by its content: what opens it in Go, if anything, and the ffmpeg demuxer that may read it. Without a
// demuxer ffmpeg finds out by itself, among the formats that it is allowed: playlists, concatenation scripts and
// other formats that name further files cannot be reached.
type format struct {
	name    string
	demuxer string
	// decoder of ffmpeg; empty is the one that ffmpeg takes by itself.
	decoder string
	// stream marks formats whose header tells no length.
	stream bool
	// lastCut marks formats whose last packet ffmpeg calls corrupt when it is merely short.
	lastCut bool
	open    func(context.Context, *file) (*source, error)
	inspect func(*Faults) inspector
}

// peekBytes is how far the beginning of a file is looked at; the reader's buffer must hold it.
const peekBytes = 16 << 10

// maxJunk bounds the bytes that may stand between a tag, or the start, and the first frame.
const maxJunk = 32 << 20

var (
	mpeg      = format{name: "mp3", demuxer: "mp3", stream: true, open: openMP3}
	flacInGo  = format{name: "flac", demuxer: "flac", open: openFLAC}
	wavInGo   = format{name: "wav", demuxer: "wav", open: openWAV}
	adtsByApp = format{name: "aac", demuxer: "aac", stream: true, inspect: newADTSInspector}
	mp4ByApp  = format{name: "mp4", demuxer: "mov", inspect: inspectAll(newMP4Inspector, inspectAgain(""))}
)

var magics = []struct {
	offset int
	magic  string
	format format
}{
	{0, "fLaC", flacInGo},
	{0, "RF64", format{name: "rf64", demuxer: "wav"}},
	{0, "BW64", format{name: "bw64", demuxer: "wav"}},
	{0, "RIFX", format{name: "rifx", demuxer: "wav"}},
	{0, "riff\x2e\x91\xcf\x11", format{name: "w64", demuxer: "w64", inspect: inspectAll(inspectSize(w64Size), inspectAgain(""))}},
	{0, "OggS", format{name: "ogg", demuxer: "ogg", inspect: newOggInspector}},
	{4, "ftyp", mp4ByApp},
	{4, "moov", mp4ByApp}, // QuickTime before it had a ftyp
	{4, "mdat", mp4ByApp},
	{4, "wide", mp4ByApp},
	{4, "free", mp4ByApp},
	{4, "skip", mp4ByApp},
	{0, "\x1a\x45\xdf\xa3", format{name: "matroska", demuxer: "matroska"}},
	{0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", format{name: "asf", demuxer: "asf", inspect: inspectAll(inspectSize(asfSize), inspectAgain(""))}},
	{0, "caff", format{name: "caf", demuxer: "caf", lastCut: true, inspect: inspectAll(inspectSize(cafSize), inspectAgain(""))}},
	{0, ".snd", format{name: "au", demuxer: "au", inspect: inspectSize(auSize)}},
	{0, "wvpk", format{name: "wavpack", demuxer: "wv"}},
	{0, "MAC ", format{name: "ape", demuxer: "ape"}},
	{0, "TTA1", format{name: "tta", demuxer: "tta", inspect: inspectAgain("")}},
	{0, "tBaK", format{name: "tak", demuxer: "tak"}},
	{0, "MPCK", format{name: "mpc", demuxer: "mpc8"}},
	{0, "MP+", format{name: "mpc", demuxer: "mpc"}},
	{0, "DSD ", format{name: "dsf", demuxer: "dsf"}},
	{0, "\x00\x00\x01\xba", format{name: "mpeg", demuxer: "mpeg", stream: true}},
	{0, "FLV\x01", format{name: "flv", demuxer: "flv", inspect: inspectAgain("")}},
	{0, "Creative Voice File", format{name: "voc", demuxer: "voc", inspect: inspectChain("voc", vocFirst, vocBlock)}},
	{0, ".RMF", format{name: "realmedia", demuxer: "rm"}},
	{0, "#!AMR", format{name: "amr", demuxer: "amr", stream: true}},
	{0, "\x7f\xfe\x80\x01", format{name: "dts", demuxer: "dts", stream: true, inspect: inspectChain("dts", nil, dtsFrame)}},
	{0, "\x1f\xff\xe8\x00", format{name: "dts", demuxer: "dts", stream: true}},
	{0, "\xfe\x7f\x01\x80", format{name: "dts", demuxer: "dts", stream: true}},
	{0, "\xff\x1f\x00\xe8", format{name: "dts", demuxer: "dts", stream: true}},
	{4, "\xf8\x72\x6f\xba", format{name: "truehd", demuxer: "truehd", stream: true}},
	{4, "\xf8\x72\x6f\xbb", format{name: "mlp", demuxer: "mlp", stream: true}},
}

// unknownName is of a format that only ffmpeg may know.
const unknownName = "unknown"

// sniff tells the format and leaves the reader at the first byte of the audio, past any ID3 tags.
func sniff(in *file) (format, error) {
	tagged, err := skipTags(in.Reader)
	if err != nil {
		return format{}, err
	}
	head, err := peek(in.Reader, peekBytes)
	switch {
	case err != nil:
		return format{}, err
	case len(head) == 0 && tagged:
		return format{}, &Error{Code: Empty, Err: errors.New("the file holds a tag and no sound")}
	case len(head) == 0:
		return format{}, &Error{Code: Empty, Err: errors.New("the file is empty")}
	}
	if ft, ok := known(head); ok {
		return ft, nil
	}
	if at, ok := findMP3(head, sureFrames); ok {
		return mpeg, toFirstFrame(in, head, at, tagged)
	}
	if _, _, ok := mp3At(head, 0, 1); ok && (isMP3(head) || len(head) < peekBytes) {
		return mpeg, nil
	}
	if tagged || bytes.HasPrefix(head, make([]byte, 16)) {
		return behindJunk(in.Reader)
	}
	return format{name: unknownName}, nil
}

// toFirstFrame leaves the reader at the first frame, when three in a row stand at a place behind it. Damage may have parted the frames before
// that place, so a frame of the same kind that one other follows is believed there. Bytes before it that are no zeros are told; behind a tag, whose
// size may be wrong, only if they are as many as frames have.
func toFirstFrame(in *file, head []byte, sure int, tagged bool) error {
	h, _ := parseMP3Header(head[sure:])
	at := 0
	for at < sure {
		if first, _, ok := mp3At(head, at, 1); ok && first.mp3Kind == h.mp3Kind {
			break
		}
		at++
	}
	odd := len(bytes.Trim(head[:at], "\x00")) > 0
	if size := max(1, h.size-h.padding); tagged {
		const padding = 4 // bytes of a frame, at most
		odd = odd && at >= size && at%size <= at/size*padding
	}
	if odd {
		in.faults.add(DamagedFrames, 0, "the first %d bytes are no frames of mp3 and were left out", at)
	}
	return discard(in.Reader, at)
}

// known tells the format by what stands at its beginning.
func known(head []byte) (format, bool) {
	switch {
	case hasMagic(head, 0, "RIFF") && hasMagic(head, 8, "WAVE"):
		return wavInGo, true
	case hasMagic(head, 0, "RIFF") && hasMagic(head, 8, "AVI "):
		return format{name: "avi", demuxer: "avi", inspect: newAVIInspector}, true
	case hasMagic(head, 0, "FORM") && hasMagic(head, 8, "AIF"):
		return format{name: "aiff", demuxer: "aiff", inspect: inspectAll(inspectSize(aiffSize), inspectAgain("COMM\x00\x00\x00\x12"))}, true
	case isADTS(head):
		return adtsByApp, true
	case isMPEGTS(head):
		return format{name: "mpegts", demuxer: "mpegts", stream: true, inspect: newTSInspector}, true
	case hasMagic(head, 0, "\x0b\x77") && len(head) > 5 && head[5]>>3 > 10:
		return format{name: "eac3", demuxer: "eac3", stream: true}, true
	case hasMagic(head, 0, "\x0b\x77"):
		return format{name: "ac3", demuxer: "ac3", stream: true}, true
	}
	for _, m := range magics {
		if hasMagic(head, m.offset, m.magic) {
			return m.format, true
		}
	}
	return format{}, false
}

// behindJunk looks for audio behind zeros, or behind a tag whose length is wrong.
func behindJunk(r *bufio.Reader) (format, error) {
	const certain = 4 // frames in a row, since pictures in tags look like frames now and then
	for passed := 0; passed < maxJunk; {
		head, err := peek(r, peekBytes)
		if err != nil {
			return format{}, err
		}
		for i := range head {
			if ft, ok := certainly(head[i:], certain); ok {
				return ft, discard(r, i)
			}
		}
		if len(head) < peekBytes {
			break
		}
		step := len(head) - mp3Overlap
		if err := discard(r, step); err != nil {
			return format{}, err
		}
		passed += step
	}
	return format{}, undecodable("no audio was found behind the tag or the zeros at the beginning of the file")
}

// certainly tells a format in the middle of other bytes, by more than a magic of four.
func certainly(b []byte, frames int) (format, bool) {
	switch {
	case hasMagic(b, 0, "RIFF") && hasMagic(b, 8, "WAVE"):
		return wavInGo, true
	case hasMagic(b, 0, "fLaC") && len(b) > 8 && b[4]&0x7f == flacStreamInfo && b[7] == flacInfoBytes:
		return flacInGo, true
	case b[0] != 0xff:
		return format{}, false
	case isADTS(b) && adtsSize(b[adtsSize(b):]) > 0 && len(b) > 16:
		return adtsByApp, true
	}
	_, _, ok := mp3At(b, 0, frames)
	return mpeg, ok
}

func discard(r *bufio.Reader, n int) error {
	if _, err := r.Discard(n); err != nil {
		return fmt.Errorf("skipping to the first frame: %w", err)
	}
	return nil
}

// isMP3 tells whether two frames stand at the beginning.
func isMP3(head []byte) bool {
	_, _, ok := mp3At(head, 0, 2)
	return ok
}

// isMPEGTS reports three packets in a row (ISO 13818-1, section 2.4.3), which begin with 0x47.
func isMPEGTS(head []byte) bool {
	const packet = 188
	return len(head) > 2*packet && head[0] == 0x47 && head[packet] == 0x47 && head[2*packet] == 0x47
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
