package audio

import "encoding/binary"

// chainInspector walks over a file of units which each tell their own length, as far as they follow each other. ffmpeg looks for the next unit in silence.
type chainInspector struct {
	f    *Faults
	name string
	// first is how many bytes stand before the first unit.
	first func(head []byte) int64
	// size returns the bytes of the unit that begins with these: 0 if none does, chainEnds where the chain ends, chainUnknown if the rest cannot be judged.
	size func(unit []byte) int64
	skip int64
	buf  []byte
	at   int64
	done bool
	left int64 // bytes behind the end of the chain
}

const (
	chainHead    = 32
	chainEnds    = -1
	chainUnknown = -2
)

func inspectChain(name string, first, size func([]byte) int64) func(*Faults) inspector {
	return func(f *Faults) inspector { return &chainInspector{f: f, name: name, first: first, size: size} }
}

func (c *chainInspector) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && !c.done {
		if pass := min(c.skip, int64(len(b))); pass > 0 {
			c.skip, c.at, b = c.skip-pass, c.at+pass, b[pass:]
			continue
		}
		take := min(chainHead-len(c.buf), len(b))
		c.buf, b = append(c.buf, b[:take]...), b[take:]
		if len(c.buf) == chainHead {
			c.unit()
		}
	}
	c.left += int64(len(b))
	return n, nil
}

// unit takes the unit that begins with the bytes in hand.
func (c *chainInspector) unit() {
	size := int64(0)
	if c.at == 0 && c.first != nil {
		size = c.first(c.buf)
	} else {
		size = c.size(c.buf)
	}
	switch {
	case size == chainEnds || size == chainUnknown:
		c.done = true
		if size == chainEnds {
			c.left = int64(len(c.buf) - 1)
		}
	case size <= 0:
		c.f.whole(DamagedFrames, "the %s file is damaged behind byte %d: what begins there is no part of it", c.name, c.at)
		c.done, c.left = true, 0
	case size < int64(len(c.buf)):
		c.at += size
		c.buf = c.buf[:copy(c.buf, c.buf[size:])]
	default:
		c.skip, c.at, c.buf = size-int64(len(c.buf)), c.at+int64(len(c.buf)), c.buf[:0]
	}
}

func (c *chainInspector) end() {
	const some = 256
	switch {
	case c.done && c.left > some:
		c.f.whole(DamagedFrames, "the %s file ends at byte %d by its own account, but goes on: it is damaged there, or what follows was not read", c.name, c.at)
	case !c.done && c.skip > 0:
		c.f.whole(Truncated, "the %s file breaks off", c.name)
	}
}

// vocFirst is the size of the header of a Creative Voice file.
func vocFirst(head []byte) int64 { return int64(binary.LittleEndian.Uint16(head[20:])) }

// vocBlock is the size of a block of a Creative Voice file: a kind, of which there are ten, and a length of three bytes. Kind 0 ends the file.
func vocBlock(b []byte) int64 {
	switch {
	case b[0] == 0:
		return chainEnds
	case b[0] > 9:
		return 0
	}
	return 4 + int64(b[1]) + int64(b[2])<<8 + int64(b[3])<<16
}

// dtsFrame is the size of a frame of DTS as 16-bit words, the first byte the higher one (ETSI TS 102 114, section 5.3.1). Other forms and extensions are
// not judged.
func dtsFrame(b []byte) int64 {
	switch {
	case hasMagic(b, 0, "\x64\x58\x20\x25"):
		return chainUnknown
	case !hasMagic(b, 0, "\x7f\xfe\x80\x01"):
		return 0
	}
	return (int64(b[5]&3)<<12 | int64(b[6])<<4 | int64(b[7])>>4) + 1
}
