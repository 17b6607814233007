package feed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// textLine is a line of the jobs file that is not blank.
type textLine struct {
	number int
	// raw has no white space around it. It is empty where err tells why the line cannot be used.
	raw []byte
	err error
	// end is how many bytes of UTF-8 text end with this line.
	end int64
}

// decoded reads text as UTF-8. A byte order mark chooses between UTF-8, UTF-16LE (what > writes in PowerShell 5) and UTF-16BE; it is dropped.
func decoded(in io.Reader) io.Reader {
	return transform.NewReader(in, unicode.BOMOverride(transform.Nop))
}

// splitLines sends the lines of the file until its end or the end of ctx. It reads in a goroutine of its own, because a read of standard input
// cannot be interrupted: after the end of ctx, the goroutine ends with its read. The error of reading is on the second channel before the first
// one is closed.
func splitLines(ctx context.Context, in io.Reader) (lines <-chan textLine, failed <-chan error) {
	out, fault := make(chan textLine), make(chan error, 1)
	go func() {
		defer close(out)
		text := bufio.NewReaderSize(decoded(in), 64<<10)
		end := int64(0)
		for number := 1; ; number++ {
			raw, size, err := readLine(text)
			end += size
			l := checkLine(raw, size)
			l.number, l.end = number, end
			if len(l.raw) > 0 || l.err != nil {
				select {
				case out <- l:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					fault <- fmt.Errorf("reading jobs file after line %d: %w", number-1, err)
				}
				return
			}
		}
	}()
	return out, fault
}

// readLine reads to the next line feed. It keeps no more of the line than maxLineBytes, and tells the whole size in bytes.
func readLine(in *bufio.Reader) (line []byte, size int64, err error) {
	for {
		part, err := in.ReadSlice('\n')
		size += int64(len(part))
		line = append(line, part[:min(len(part), maxLineBytes-len(line))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, size, err
		}
	}
}

// checkLine tells what keeps the text of a line from being read as JSON.
func checkLine(raw []byte, size int64) textLine {
	trimmed := bytes.TrimSpace(raw)
	switch {
	case size > maxLineBytes:
		return textLine{err: fmt.Errorf("the line has %d bytes: a job has at most %d", size, maxLineBytes)}
	case bytes.IndexByte(trimmed, 0) >= 0:
		return textLine{err: errors.New("the line has zero bytes, as UTF-16 without a byte order mark does: save the file as UTF-8")}
	case !utf8.Valid(trimmed):
		return textLine{err: errors.New("the line is not UTF-8: save the file as UTF-8")}
	}
	return textLine{raw: trimmed}
}
