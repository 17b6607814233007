package prompt

import (
	"strings"
	"unicode"

	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
)

// Text is the text of an answer as its tokens come. It ends before the first of the stop texts, and with them before the
// white space in front of it; what may be the beginning of that is held back.
type Text struct {
	stream *tokenizer.Stream
	stops  []string
	held   string
	ended  bool
}

// NewText follows an answer whose tokens become text by stream and end at any of stops.
func NewText(stream *tokenizer.Stream, stops []string) *Text {
	return &Text{stream: stream, stops: stops}
}

// Push gives the text that a token completes, often empty, and whether a stop text has come.
func (t *Text) Push(id int) (part string, stopped bool, err error) {
	part, err = t.stream.Push(id)
	if err != nil || len(t.stops) == 0 {
		return part, false, err
	}
	part, stopped = t.search(part)
	return part, stopped, nil
}

func (t *Text) search(part string) (string, bool) {
	all := t.held + part
	for at := range all {
		for _, stop := range t.stops {
			if strings.HasPrefix(all[at:], stop) {
				t.held, t.ended = "", true
				return strings.TrimRightFunc(all[:at], unicode.IsSpace), true
			}
		}
	}
	keep := t.beginning(all)
	t.held = all[keep:]
	return all[:keep], false
}

// beginning is where the text begins that may yet be the beginning of a stop text, or white space in front of one.
func (t *Text) beginning(all string) int {
	at := len(all)
	for _, stop := range t.stops {
		for n := min(len(stop)-1, len(all)); n > 0; n-- {
			if strings.HasSuffix(all, stop[:n]) {
				at = min(at, len(all)-n)
				break
			}
		}
	}
	return len(strings.TrimRightFunc(all[:at], unicode.IsSpace))
}

// End gives what was held back. An answer that has ended by itself loses the white space at its end if there are stop texts.
func (t *Text) End(stopped bool) string {
	if t.ended {
		return ""
	}
	rest := t.held + t.stream.Flush()
	t.held = ""
	if stopped && len(t.stops) > 0 {
		return strings.TrimRightFunc(rest, unicode.IsSpace)
	}
	return rest
}
