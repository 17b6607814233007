package openai

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/larkstream/larkstream/gateway/client"
)

// MaxRequest bounds a request without its audio, in bytes.
const MaxRequest = 1 << 20

const (
	// maxDepth bounds how deep values of a request lie in each other.
	maxDepth = 40
	// maxKey bounds the path to a value that errors name.
	maxKey = 64
)

// Keep takes the bytes of the audio at a place of a request, and returns the text that stands for them in the request.
type Keep func(param string, audio io.Reader) (string, error)

// Split reads one JSON value to its end and returns it without its audio, so that memory use does not depend on how much audio there is. Each base64 text
// at messages[].content[].input_audio.data below root is decoded on the way and given to keep. The value is not checked further. It returns
// *client.Problem for what is wrong with the value, keep's errors, and the reader's.
func Split(r io.Reader, keep Keep, root ...string) ([]byte, error) {
	s := &splitter{r: bufio.NewReaderSize(r, 64<<10), keep: keep, root: root}
	err := s.value(0)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	return s.out.Bytes(), nil
}

// segment of a path: a key, or an index where key is empty.
type segment struct {
	key   string
	index int
}

type splitter struct {
	r    *bufio.Reader
	out  bytes.Buffer
	keep Keep
	root []string
	path []segment
}

// errEnd says that the value is not whole.
func errEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return malformed("the JSON value is not whole")
	}
	return err
}

func malformed(format string, args ...any) *client.Problem {
	return Refuse(http.StatusBadRequest, "", "malformed_body", format, args...)
}

// next is the next byte behind white space, which is not taken.
func (s *splitter) next() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return 0, errEnd(err)
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, s.r.UnreadByte()
		}
	}
}

// end refuses what follows the value.
func (s *splitter) end() error {
	for {
		c, err := s.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !strings.ContainsRune(" \t\r\n", rune(c)):
			return malformed("the JSON value is followed by something else")
		}
	}
}

func (s *splitter) put(c byte) error {
	if s.out.Len() >= MaxRequest {
		return Refuse(http.StatusRequestEntityTooLarge, "", "body_too_large", "the request is over %d bytes without its audio", MaxRequest)
	}
	return s.out.WriteByte(c)
}

// take copies the next byte, which must be one of those wanted, and returns it.
func (s *splitter) take(wanted string) (byte, error) {
	c, err := s.next()
	if err != nil {
		return 0, err
	}
	if !strings.ContainsRune(wanted, rune(c)) {
		return 0, malformed("the body is not JSON: %q stands where %s is expected", c, strings.Join(strings.Split(wanted, ""), " or "))
	}
	if _, err := s.r.ReadByte(); err != nil {
		return 0, errEnd(err)
	}
	return c, s.put(c)
}

func (s *splitter) value(depth int) error {
	if depth > maxDepth {
		return malformed("the JSON is nested more than %d deep", maxDepth)
	}
	c, err := s.next()
	if err != nil {
		return err
	}
	switch {
	case c == '{':
		return s.list("{", "}", depth, s.key)
	case c == '[':
		n := 0
		return s.list("[", "]", depth, func() (segment, error) { n++; return segment{index: n - 1}, nil })
	case c == '"' && s.atAudio():
		return s.audio()
	case c == '"':
		_, err := s.text()
		return err
	}
	return s.literal()
}

// list copies an object or an array. name reads what stands before each of its values.
func (s *splitter) list(opens, closes string, depth int, name func() (segment, error)) error {
	if _, err := s.take(opens); err != nil {
		return err
	}
	if c, err := s.next(); err != nil || string(c) == closes {
		if err == nil {
			_, err = s.take(closes)
		}
		return err
	}
	for {
		at, err := name()
		if err != nil {
			return err
		}
		s.path = append(s.path, at)
		if err := s.value(depth + 1); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
		c, err := s.take("," + closes)
		if err != nil || string(c) == closes {
			return err
		}
	}
}

func (s *splitter) key() (segment, error) {
	if c, err := s.next(); err != nil || c != '"' {
		if err == nil {
			err = malformed("the body is not JSON: an object has a key that is no text")
		}
		return segment{}, err
	}
	key, err := s.text()
	if err == nil {
		_, err = s.take(":")
	}
	return segment{key: key}, err
}

// text copies a text and returns its beginning.
func (s *splitter) text() (string, error) {
	if _, err := s.take(`"`); err != nil {
		return "", err
	}
	from := s.out.Len()
	for escaped := false; ; {
		c, err := s.r.ReadByte()
		if err == nil {
			err = s.put(c)
		}
		if err != nil {
			return "", errEnd(err)
		}
		if c == '"' && !escaped {
			break
		}
		escaped = c == '\\' && !escaped
	}
	text := s.out.Bytes()[from : s.out.Len()-1]
	return strings.ToValidUTF8(string(text[:min(len(text), maxKey)]), ""), nil
}

// literal copies a number, true, false or null.
func (s *splitter) literal() error {
	for n := 0; ; n++ {
		c, err := s.r.ReadByte()
		if errors.Is(err, io.EOF) && n > 0 {
			return nil
		}
		if err != nil {
			return errEnd(err)
		}
		if strings.ContainsRune(",]} \t\r\n", rune(c)) {
			if n == 0 {
				return malformed("the body is not JSON: %q stands where a value is expected", c)
			}
			return s.r.UnreadByte()
		}
		if err := s.put(c); err != nil {
			return err
		}
	}
}

// atAudio tells whether the next value is the data of an audio part.
func (s *splitter) atAudio() bool {
	p := s.path
	if len(p) != len(s.root)+6 {
		return false
	}
	for i, key := range s.root {
		if p[i].key != key {
			return false
		}
	}
	p = p[len(s.root):]
	return p[0].key == "messages" && p[1].key == "" && p[2].key == "content" && p[3].key == "" && p[4].key == "input_audio" && p[5].key == "data"
}

// param is the path as errors name it: messages[0].content[1].input_audio.data.
func (s *splitter) param() string {
	var b strings.Builder
	for _, at := range s.path[len(s.root):] {
		switch {
		case at.key == "":
			fmt.Fprintf(&b, "[%d]", at.index)
		case b.Len() > 0:
			b.WriteString("." + at.key)
		default:
			b.WriteString(at.key)
		}
	}
	return b.String()
}

// audio decodes a base64 text.
func (s *splitter) audio() error {
	if _, err := s.r.ReadByte(); err != nil { // the quotation mark
		return errEnd(err)
	}
	text := &textReader{r: s.r}
	param := s.param()
	stands, err := s.keep(param, base64.NewDecoder(base64.StdEncoding, text))
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) || err == nil && !text.ended || errors.Is(err, io.ErrUnexpectedEOF) && text.ended {
		return Refuse(http.StatusBadRequest, param, "audio_invalid", "%s is not base64 (RFC 4648, section 4, with padding); a data URL is not either", param)
	}
	if err != nil {
		return err
	}
	for _, c := range []byte(strconv.Quote(stands)) {
		if err := s.put(c); err != nil {
			return err
		}
	}
	return nil
}

// textReader reads a JSON text, whose opening quotation mark has been taken, up to its end.
type textReader struct {
	r     *bufio.Reader
	ended bool
}

// Read implements io.Reader.
func (t *textReader) Read(p []byte) (int, error) {
	if t.ended || len(p) == 0 {
		return 0, io.EOF
	}
	if _, err := t.r.Peek(1); err != nil {
		return 0, errEnd(err)
	}
	held, err := t.r.Peek(min(t.r.Buffered(), len(p)))
	if err != nil {
		return 0, errEnd(err)
	}
	if i := bytes.IndexByte(held, '"'); i >= 0 {
		held = held[:i]
	}
	if i := bytes.IndexByte(held, '\\'); i >= 0 {
		held = held[:i]
	}
	if n := copy(p, held); n > 0 {
		_, err := t.r.Discard(n)
		return n, err
	}
	c, err := t.r.ReadByte()
	if err != nil {
		return 0, errEnd(err)
	}
	if c == '"' {
		t.ended = true
		return 0, io.EOF
	}
	p[0], err = t.escape()
	return 1, err
}

// escape reads what follows a backslash, of which only letters of the base64 alphabet and ends of lines are of use.
func (t *textReader) escape() (byte, error) {
	c, err := t.r.ReadByte()
	switch {
	case err != nil:
		return 0, errEnd(err)
	case c == 'n' || c == 'r':
		return '\n', nil
	case c != 'u':
		return c, nil
	}
	var hex [4]byte
	if _, err := io.ReadFull(t.r, hex[:]); err != nil {
		return 0, malformed("the JSON value is not whole")
	}
	n, err := strconv.ParseUint(string(hex[:]), 16, 16)
	if err != nil || n >= utf8.RuneSelf {
		return '?', nil // no letter of base64
	}
	return byte(n), nil
}
