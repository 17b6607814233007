package audio

import (
	"errors"
	"io"
)

// lookahead reads a stream through a buffer that grows with what is asked for and with what is there, so that a place can be read again.
type lookahead struct {
	r   io.Reader
	buf []byte // not yet consumed
	err error  // that ended the stream
}

// peek returns up to n bytes without consuming them; fewer only at the end of the stream.
func (l *lookahead) peek(n int) []byte {
	for len(l.buf) < n && l.err == nil {
		l.fill(n)
	}
	return l.buf[:min(n, len(l.buf))]
}

// fill reads once. The buffer at most doubles, so that it is bounded by what has been there.
func (l *lookahead) fill(n int) {
	const least = 32 << 10
	if len(l.buf) == cap(l.buf) {
		grown := make([]byte, len(l.buf), max(least, min(2*n, 2*len(l.buf))))
		copy(grown, l.buf)
		l.buf = grown
	}
	got, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf, l.err = l.buf[:len(l.buf)+got], err
}

func (l *lookahead) discard(n int) { l.buf = l.buf[n:] }

// fault is the error that ended the stream, unless that was its end.
func (l *lookahead) fault() error {
	if l.err == nil || errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}
