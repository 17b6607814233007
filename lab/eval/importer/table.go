package importer

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxAnnotation bounds a small text file.
const maxAnnotation = 1 << 20

func readText(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxAnnotation))
	return string(raw), err
}

// row is a line of a table, by the names in its first line.
type row struct {
	at     map[string]int
	fields []string
}

func (r row) get(name string) string {
	if i, ok := r.at[name]; ok && i < len(r.fields) {
		return strings.TrimSpace(r.fields[i])
	}
	return ""
}

// table reads a file with a header and calls each with its rows; needs are columns that must be there. A row that cannot be read is counted.
func (c *collection) table(path string, comma rune, needs []string, each func(row) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := csv.NewReader(skipMark(file))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = comma, -1, true, false
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("reading the first line of %s: %w", path, err)
	}
	at := map[string]int{}
	for i, name := range header {
		at[strings.TrimSpace(name)] = i
	}
	for _, n := range needs {
		if _, ok := at[n]; !ok {
			return fmt.Errorf("%s has no column %s; its columns are %.400s", path, n, strings.Join(header, ", "))
		}
	}
	for {
		fields, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			c.skip(badRow, fmt.Sprintf("line %d: %v", bad.Line, bad.Err))
			continue
		case err != nil:
			return fmt.Errorf("reading %s: %w", path, err)
		case len(fields) < len(needs) || !slices.ContainsFunc(fields, func(f string) bool { return f != "" }):
			line, _ := r.FieldPos(0)
			c.skip(badRow, fmt.Sprintf("line %d", line))
			continue
		}
		if err := each(row{at, fields}); err != nil {
			return err
		}
	}
}

// skipMark reads past a byte order mark.
func skipMark(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if mark, err := b.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = b.Discard(3) // it was just seen
	}
	return b
}
