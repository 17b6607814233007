// Package terminal draws a line of progress on a terminal.
package terminal

import (
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// Is tells whether a standard stream is a terminal.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Line is one line on a terminal that is drawn over and taken away again. A nil Line shows nothing.
type Line struct {
	out     io.Writer
	columns func() int
	drawn   bool
}

// Of returns the line of a standard stream: nil if the stream is no terminal, or one that cannot take a line away (TERM=dumb).
func Of(stream any) *Line {
	f, ok := stream.(*os.File)
	if !ok || !Is(f) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return New(f, func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		if err != nil || columns <= 0 {
			return 80
		}
		return columns
	})
}

// New returns a line of so many columns.
func New(out io.Writer, columns func() int) *Line { return &Line{out: out, columns: columns} }

// Draw shows text in place of what stood there. It is cut to the width of the terminal: a line that wraps could not be taken away.
func (l *Line) Draw(text string) {
	if l == nil {
		return
	}
	_, _ = io.WriteString(l.out, takeAway+cut(text, l.columns()-1))
	l.drawn = true
}

// Clear takes the line away.
func (l *Line) Clear() {
	if l == nil || !l.drawn {
		return
	}
	_, _ = io.WriteString(l.out, takeAway)
	l.drawn = false
}

// takeAway goes to the beginning of the line and clears it (ECMA-48, EL).
const takeAway = "\r\x1b[K"

// cut returns the first characters of text, with dots in place of the last ones that fit if not all fit.
func cut(text string, columns int) string {
	const dots = "..."
	if utf8.RuneCountInString(text) <= columns {
		return text
	}
	if columns < len(dots) {
		return ""
	}
	return string([]rune(text)[:columns-len(dots)]) + dots
}
