package audio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxTags bounds how many tags are skipped before the audio.
const maxTags = 8

// soundInTagError says that a tag claims bytes which are sound: decoding begins anew where that begins.
type soundInTagError struct {
	claim int
	at    int64 // bytes from the beginning of the file
}

func (e *soundInTagError) Error() string {
	return fmt.Sprintf("the tag claims %d bytes, but sound begins among them: it was read from byte %d", e.claim, e.at)
}

// skipTags skips ID3v2 tags (id3.org/id3v2.4.0-structure, section 3.1), which may hold megabytes of cover art, and APE tags (APEv2 with a header), and
// tells whether there were any.
func skipTags(r *bufio.Reader) (tagged bool, err error) {
	passed := int64(0)
	for range maxTags {
		head, err := peek(r, apeHeader)
		if err != nil {
			return tagged, err
		}
		size := frontTag(head)
		if size == 0 {
			return tagged, nil
		}
		tagged = true
		sound, n, err := passTag(r, size)
		switch {
		case errors.Is(err, io.EOF):
			return tagged, undecodable("the tag is longer than the file: it claims %d bytes, %d are there", size, n)
		case err != nil:
			return tagged, fmt.Errorf("skipping a tag: %w", err)
		case sound > 0:
			return tagged, &soundInTagError{claim: size, at: passed + int64(sound)}
		}
		passed += int64(size)
	}
	return tagged, nil
}

// passTag reads over a tag. sound is where a run of mp3 frames begins in it, which is no part of a tag; 0 if there is none.
func passTag(r *bufio.Reader, size int) (sound, n int, err error) {
	for n < size {
		head, err := peek(r, min(size-n, peekBytes))
		if err != nil {
			return sound, n, err
		}
		if at := frameRun(head); sound == 0 && at >= 0 {
			sound = n + at
		}
		step := len(head)
		if n+step < size && step > mp3Overlap {
			step -= mp3Overlap
		}
		if step == 0 {
			return sound, n, io.EOF
		}
		if _, err := r.Discard(step); err != nil {
			return sound, n, err
		}
		n += step
	}
	return sound, n, nil
}

// frameRun returns where five frames of mp3 of one kind follow each other; -1 if they do nowhere.
func frameRun(head []byte) int {
	const need = 5
	for i := 0; ; i++ {
		next := bytes.IndexByte(head[i:], 0xff)
		if next < 0 {
			return -1
		}
		i += next
		first, ok := parseMP3Header(head[i:])
		for n, at := 1, i; ok && !first.free; n++ {
			h, _ := parseMP3Header(head[at:])
			if at += h.size; at+4 > len(head) {
				break
			}
			h, ok = parseMP3Header(head[at:])
			if ok = ok && h.mp3Kind == first.mp3Kind; ok && n+1 == need {
				return i
			}
		}
	}
}

const apeHeader = 32

// frontTag is the size of the tag that begins here; 0 if none does.
func frontTag(head []byte) int {
	switch {
	case len(head) >= 10 && hasMagic(head, 0, "ID3"):
		return tagSize(head)
	case len(head) >= apeHeader && hasMagic(head, 0, "APETAGEX") && head[23]&0x20 != 0: // this is the header, not the footer
		return apeHeader + int(binary.LittleEndian.Uint32(head[12:]))
	}
	return 0
}

// tagSize is the size of an ID3v2 tag by its header of ten bytes. Some writers do not leave out every eighth bit of it, as they should:
// where such a bit is set, the size is taken as a plain number.
func tagSize(head []byte) int {
	size := int(head[6]&0x7f)<<21 | int(head[7]&0x7f)<<14 | int(head[8]&0x7f)<<7 | int(head[9]&0x7f)
	if (head[6]|head[7]|head[8]|head[9])&0x80 != 0 {
		size = int(binary.BigEndian.Uint32(head[6:]))
	}
	size += 10
	if head[5]&0x10 != 0 {
		size += 10 // a footer follows
	}
	return size
}
