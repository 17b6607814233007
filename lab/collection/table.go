package collection

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

// MaxText bounds a small text file, and a line of a larger one.
const MaxText = 1 << 20

// ReadText reads a small text file, or its first MiB.
func ReadText(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, MaxText))
	return string(raw), err
}

// Row is a line of a table, by the names in its first line.
type Row struct {
	at     map[string]int
	fields []string
}

// Get is a field without white space around it; "" = the table has no such column.
func (r Row) Get(name string) string {
	if i, ok := r.at[name]; ok && i < len(r.fields) {
		return strings.TrimSpace(r.fields[i])
	}
	return ""
}

// Fields are all named fields of the row.
func (r Row) Fields() map[string]string {
	out := make(map[string]string, len(r.at))
	for name := range r.at {
		out[name] = r.Get(name)
	}
	return out
}

// Table reads a file with a header and calls each with its rows; needs are columns that must be there. A row that cannot be read is counted.
func (f *Folder) Table(path string, comma rune, needs []string, each func(Row) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := csv.NewReader(SkipMark(file))
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
			f.Skip(BadRow, fmt.Sprintf("line %d: %v", bad.Line, bad.Err))
			continue
		case err != nil:
			return fmt.Errorf("reading %s: %w", path, err)
		case len(fields) < len(needs) || !slices.ContainsFunc(fields, func(v string) bool { return v != "" }):
			line, _ := r.FieldPos(0)
			f.Skip(BadRow, fmt.Sprintf("line %d", line))
			continue
		}
		if err := each(Row{at, fields}); err != nil {
			return err
		}
	}
}

// SkipMark reads past a byte order mark.
func SkipMark(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if mark, err := b.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = b.Discard(3) // it was just seen
	}
	return b
}

// TwoHeaders reads a CSV file as pandas writes columns of two levels: two lines of names and one with the index's name. A row's fields are asked for
// as "track.title", and by the index's name.
func (f *Folder) TwoHeaders(path string, each func(get func(name string) string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := csv.NewReader(SkipMark(file))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	var head [3][]string
	for i := range head {
		if head[i], err = r.Read(); err != nil {
			return fmt.Errorf("reading line %d of %s: %w", i+1, path, err)
		}
	}
	at := map[string]int{strings.TrimSpace(head[2][0]): 0}
	for i := 1; i < min(len(head[0]), len(head[1])); i++ {
		at[head[0][i]+"."+head[1][i]] = i
	}
	for {
		fields, err := r.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			f.Skip(BadRow, fmt.Sprintf("line %d: %v", bad.Line, bad.Err))
			continue
		case err != nil:
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if err := each(func(name string) string { return Row{at, fields}.Get(name) }); err != nil {
			return err
		}
	}
}
