package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Pieces give the bytes of tokens: of ordinary ones their text, of special ones nothing. A space may be written as the
// marker U+2581.
type Pieces interface {
	Piece(id int) ([]byte, error)
}

// Stream decodes ids as they come. Its parts are valid UTF-8: an incomplete character is held back. One space at the very
// beginning goes, as the marker of the first word.
type Stream struct {
	pieces  Pieces
	pending []byte
	begun   bool
}

// NewStream starts decoding a new text.
func NewStream(p Pieces) *Stream { return &Stream{pieces: p} }

// Push gives the text that id completes, often empty. An id outside the vocabulary is an error.
func (s *Stream) Push(id int) (string, error) {
	piece, err := s.pieces.Piece(id)
	if err != nil {
		return "", err
	}
	s.pending = append(s.pending, piece...)
	return s.take(false), nil
}

// Flush gives what was held back, an incomplete character as U+FFFD.
func (s *Stream) Flush() string { return s.take(true) }

// take moves whole characters out of pending; at the end of the text all of it.
func (s *Stream) take(end bool) string {
	var out strings.Builder
	for len(s.pending) > 0 && (end || utf8.FullRune(s.pending)) {
		r, size := utf8.DecodeRune(s.pending)
		if r == utf8.RuneError && size <= 1 {
			size = illFormed(s.pending)
		}
		s.pending = s.pending[size:]
		if string(r) == marker {
			r = ' '
		}
		if r != ' ' || s.begun {
			out.WriteRune(r)
		}
		s.begun = true
	}
	return out.String()
}

// illFormed is the length of the ill-formed sequence that b begins with: the longest beginning of a character, at least
// one byte, which becomes one U+FFFD (Unicode 15, section 3.9, substitution of maximal subparts).
func illFormed(b []byte) int {
	for n := min(3, len(b)); n > 1; n-- {
		if !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}
