package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Decode turns ids into text. It is what a Stream gives for the same ids.
func (t *Tokenizer) Decode(ids []int) (string, error) {
	s := t.Stream()
	var text strings.Builder
	for _, id := range ids {
		part, err := s.Push(id)
		if err != nil {
			return "", err
		}
		text.WriteString(part)
	}
	text.WriteString(s.Flush())
	return text.String(), nil
}

// Stream decodes ids as they come. Its parts are valid UTF-8: an incomplete character is held back.
type Stream struct {
	t       *Tokenizer
	pending []byte
	begun   bool
}

// Stream starts decoding a new text.
func (t *Tokenizer) Stream() *Stream { return &Stream{t: t} }

// Push gives the text that id completes, often empty. An id outside the vocabulary is an error.
func (s *Stream) Push(id int) (string, error) {
	if id < 0 || id >= len(s.t.vocab) {
		return "", fmt.Errorf("decoding token %d: the vocabulary has %d", id, len(s.t.vocab))
	}
	if s.t.hidden[id] {
		return "", nil
	}
	if b, ok := s.t.idByte[id]; ok {
		s.pending = append(s.pending, b)
	} else {
		s.pending = append(s.pending, s.t.vocab[id]...)
	}
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
