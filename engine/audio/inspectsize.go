package audio

import (
	"bytes"
	"encoding/binary"
)

// sizeInspector compares the bytes of a file with the size that its header tells, for formats of which ffmpeg decodes what there is in silence.
type sizeInspector struct {
	f    *Faults
	told func(head []byte) int64 // 0 if the head does not tell
	head []byte
	size int64
}

const sizeHead = 4 << 10

func inspectSize(told func([]byte) int64) func(*Faults) inspector {
	return func(f *Faults) inspector { return &sizeInspector{f: f, told: told} }
}

func (s *sizeInspector) Write(b []byte) (int, error) {
	s.head = append(s.head, b[:min(len(b), sizeHead-len(s.head))]...)
	s.size += int64(len(b))
	return len(b), nil
}

func (s *sizeInspector) end() {
	if told := s.told(s.head); told > s.size {
		s.f.whole(Truncated, "the file is truncated: its header tells of %d bytes, %d are there", told, s.size)
	}
}

// auSize reads where the samples begin and how many bytes they are (the Sun/NeXT header).
func auSize(head []byte) int64 {
	if len(head) < 12 {
		return 0
	}
	begin, size := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
	if size == unknownSize {
		return 0
	}
	return int64(begin) + int64(size)
}

// aiffSize reads the size of the one chunk that an AIFF file is (AIFF 1.3, section 2); writers to a pipe leave a size that means nothing.
func aiffSize(head []byte) int64 {
	const chunk = 8
	if len(head) < chunk {
		return 0
	}
	size := binary.BigEndian.Uint32(head[4:])
	if sizeUnknown(size) {
		return 0
	}
	return chunk + int64(size)
}

// cafSize walks over the chunks of a Core Audio file to the samples (Apple Core Audio Format Specification 1.0): each has a name of four bytes and
// a size of eight, which is -1 where the samples go on to the end.
func cafSize(head []byte) int64 {
	const file, chunk = 8, 12
	for at := file; at+chunk <= len(head); {
		size := int64(binary.BigEndian.Uint64(head[at+4:]))
		if bytes.HasPrefix(head[at:], []byte("data")) {
			return max(0, int64(at)+chunk+min(size, 1<<60))
		}
		if size < 0 || size > sizeHead {
			return 0
		}
		at += chunk + int(size)
	}
	return 0
}

// asfSize reads the size of the file from the file properties object (ASF specification, section 3.2).
func asfSize(head []byte) int64 {
	const size = 40 // bytes from the object's name to it
	at := bytes.Index(head, []byte("\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"))
	if at < 0 || len(head) < at+size+8 {
		return 0
	}
	return max(0, int64(binary.LittleEndian.Uint64(head[at+size:])))
}

// w64Size walks over the chunks of Sony Wave64 to the samples: each has a name of 16 bytes and a size that counts its header, and is
// followed by padding to 8 bytes.
func w64Size(head []byte) int64 {
	const riff, chunk = 40, 24
	for at := riff; at+chunk <= len(head); {
		size := int64(binary.LittleEndian.Uint64(head[at+16:]))
		if bytes.HasPrefix(head[at:], []byte("data")) {
			return int64(at) + max(0, size)
		}
		if size < chunk || size > sizeHead {
			return 0
		}
		at += int(size+7) &^ 7
	}
	return 0
}

// aviInspector reads the length of the sound from the header of an AVI file, which ffmpeg estimates where the index is damaged.
type aviInspector struct {
	f    *Faults
	head []byte
}

func newAVIInspector(f *Faults) inspector { return &aviInspector{f: f} }

func (a *aviInspector) Write(b []byte) (int, error) {
	a.head = append(a.head, b[:min(len(b), 4*sizeHead-len(a.head))]...)
	return len(b), nil
}

// end looks for the header of a stream of sound (AVISTREAMHEADER): its length counts units of scale/rate seconds.
func (a *aviInspector) end() {
	const scale, rate, length, size = 28, 32, 40, 56 // bytes from the chunk's name
	for head := a.head; ; {
		at := bytes.Index(head, []byte("strh"))
		if at < 0 || len(head) < at+8+size {
			return
		}
		head = head[at:]
		if hasMagic(head, 8, "auds") {
			perSecond := binary.LittleEndian.Uint32(head[rate:])
			units := float64(binary.LittleEndian.Uint32(head[length:])) * float64(binary.LittleEndian.Uint32(head[scale:]))
			a.f.toldS = units / float64(max(1, perSecond))
			return
		}
		head = head[8:]
	}
}
