package filetags

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Field is a kind of tag.
type Field string

// Fields that can be written.
const (
	Tempo       Field = "tempo"
	Key         Field = "key"
	Genre       Field = "genre"
	Mood        Field = "mood"
	Instruments Field = "instruments"
	Metre       Field = "metre"
	Description Field = "description"
)

// Fields lists all fields, in the order in which they are written.
func Fields() []Field { return []Field{Tempo, Key, Genre, Mood, Instruments, Metre, Description} }

// Usual are the fields that are written unless others are named. Descriptions are not among them, because people write their own there.
func Usual() []Field { return []Field{Tempo, Key, Genre, Mood} }

// Values are the values of some fields; a field without values is left as it is.
type Values map[Field][]string

// KeyName is a key in ID3's notation: "Am", "F#m", "Bb". It is "" for what is no key.
func KeyName(tonic, mode string) string {
	if len(tonic) == 0 || len(tonic) > 2 || tonic[0] < 'A' || tonic[0] > 'G' || (len(tonic) == 2 && tonic[1] != '#' && tonic[1] != 'b') {
		return ""
	}
	switch mode {
	case "major":
		return tonic
	case "minor":
		return tonic + "m"
	}
	return ""
}

// ErrNotSupported is the kind of all errors about files whose tags cannot be written.
var ErrNotSupported = errors.New("not supported")

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotSupported, fmt.Sprintf(format, args...))
}

// edit replaces Len bytes of a file at At by New.
type edit struct {
	At  int64
	Len int64
	New []byte
}

// found is what a file's tags are, and what must become of its bytes.
type found struct {
	// have are the values of all fields that the file has.
	have Values
	// edits are in the order of their places and do not overlap.
	edits []edit
}

// maxTag bounds the bytes of tags that are read, pictures included.
const maxTag = 64 << 20

// plan finds what to change in a file, so that it has the values.
func plan(r io.ReaderAt, size int64, want Values) (found, error) {
	head, err := readAt(r, 0, min(size, 16))
	if err != nil {
		return found{}, err
	}
	at := int64(0)
	if bytes.HasPrefix(head, []byte("ID3")) {
		if at, err = id3End(head); err != nil {
			return found{}, err
		}
	}
	after, err := readAt(r, at, min(max(size-at, 0), 12))
	if err != nil {
		return found{}, err
	}
	switch {
	case bytes.HasPrefix(after, []byte("fLaC")):
		return planFLAC(r, at, size, want)
	case at > 0 && len(after) == 0:
		return found{}, unsupported("the file ends with its ID3 tag or within it")
	case isMPEG(after), at > 0 && bytes.Count(after, []byte{0}) == len(after): // some programs leave more padding than they say
		return planID3(r, head, size, want)
	}
	return found{}, unsupported("%s", kindOf(after))
}

// isMPEG tells whether a frame of MPEG audio begins here (ISO 11172-3, 2.4.1.3); layer 0 is AAC.
func isMPEG(b []byte) bool {
	return len(b) >= 4 && b[0] == 0xff && b[1]&0xe0 == 0xe0 && b[1]&0x18 != 0x08 && b[1]&0x06 != 0 && b[2]&0xf0 != 0xf0
}

func kindOf(b []byte) string {
	const only = "tags can be written into MP3 and FLAC"
	for _, k := range []struct {
		at          int
		magic, name string
	}{{0, "OggS", "Ogg"}, {4, "ftyp", "MP4"}, {0, "RIFF", "WAV"}, {0, "FORM", "AIFF"}, {0, "\x30\x26\xb2\x75", "WMA"}, {0, "\x1aE\xdf\xa3", "Matroska"}} {
		if len(b) >= k.at+len(k.magic) && string(b[k.at:k.at+len(k.magic)]) == k.magic {
			return k.name + "; " + only
		}
	}
	return "it is neither MP3 nor FLAC"
}

func readAt(r io.ReaderAt, at, n int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := r.ReadAt(b, at)
	if int64(got) == n {
		return b, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("reading tags: %w", err)
}

// needed are the wanted values that differ from those that are there.
func needed(have, want Values) Values {
	out := make(Values)
	for field, values := range want {
		if len(values) > 0 && !slices.Equal(have[field], values) {
			out[field] = values
		}
	}
	return out
}

// clean makes one line of a value: a NUL or a line break would be another value.
func clean(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		v = strings.ToValidUTF8(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }), " "), "")
		if v != "" {
			out = append(out, v)
		}
	}
	return out
}
