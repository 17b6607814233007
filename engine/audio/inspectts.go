package audio

import "bytes"

// tsInspector walks over the packets of an MPEG transport stream (ISO 13818-1, section 2.4.3), which are numbered modulo 16 for each of its streams.
type tsInspector struct {
	f       *Faults
	buf     []byte
	numbers map[int]byte // of the last packet, by stream
	damaged bool
}

const (
	tsPacket     = 188
	tsSync       = 0x47
	tsNull       = 0x1fff // stream of packets that hold nothing
	maxTSStreams = 256
)

func newTSInspector(f *Faults) inspector { return &tsInspector{f: f, numbers: map[int]byte{}} }

func (s *tsInspector) Write(b []byte) (int, error) {
	s.buf = append(s.buf, b...)
	rest := s.buf
	for len(rest) > tsPacket {
		if rest[0] == tsSync && rest[tsPacket] == tsSync {
			s.packet(rest[:tsPacket])
			rest = rest[tsPacket:]
			continue
		}
		s.damaged = true
		next := bytes.IndexByte(rest[1:], tsSync)
		if next < 0 {
			next = len(rest) - 1
		}
		rest = rest[1+next:]
	}
	s.buf = s.buf[:copy(s.buf, rest)]
	return len(b), nil
}

// packet compares the number of a packet with the one before it. A packet may come twice, and may say that the numbers begin anew.
func (s *tsInspector) packet(p []byte) {
	stream, number := int(p[1]&0x1f)<<8|int(p[2]), p[3]&0x0f
	adapts, holds := p[3]&0x20 != 0, p[3]&0x10 != 0
	s.damaged = s.damaged || p[1]&0x80 != 0 // the sender knew of an error
	if stream == tsNull || !holds {
		return
	}
	last, known := s.numbers[stream]
	anew := adapts && p[4] > 0 && p[5]&0x80 != 0
	if known && !anew && number != last && number != (last+1)&0x0f {
		s.damaged = true
	}
	if known || len(s.numbers) < maxTSStreams {
		s.numbers[stream] = number
	}
}

func (s *tsInspector) end() {
	switch {
	case len(s.buf) > 0 && len(s.buf) < tsPacket:
		s.f.whole(Truncated, "the mpeg-ts file breaks off within a packet")
	case len(s.buf) == tsPacket && s.buf[0] == tsSync:
		s.packet(s.buf)
	}
	if s.damaged {
		s.f.whole(DamagedFrames, "packets of the mpeg-ts file are damaged or missing")
	}
}
