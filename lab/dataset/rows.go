package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// maxLine bounds a line of a step's file. The longest hold a clip's notes.
const maxLine = 16 << 20

// errTorn is a last line without its end, as a stopped process leaves it.
var errTorn = errors.New("its last line is not whole")

// lines yields the lines of a file without their ends. A file that is not there has none. A torn last line is errTorn.
func lines(path string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		file, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer file.Close()
		r := bufio.NewReaderSize(file, 1<<16)
		for n := 1; ; n++ {
			line, err := readLine(r)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("reading %s, line %d: %w", path, n, err)
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, errTorn
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		}
	}
}

// rows yields the lines of a file as values.
func rows[T any](path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		for line, err := range lines(path) {
			var v T
			if n++; err == nil {
				if err = json.Unmarshal(line, &v); err != nil {
					err = fmt.Errorf("reading %s, line %d: %w", path, n, err)
				}
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// ledger is a file of JSON lines that only grows.
type ledger struct {
	file *os.File
	buf  bytes.Buffer
}

// openLedger opens a file at its end; a torn last line is cut off.
func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	end, err := wholeLines(file)
	if err == nil {
		err = file.Truncate(end)
	}
	if err == nil {
		_, err = file.Seek(end, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), file.Close())
	}
	return &ledger{file: file}, nil
}

// wholeLines is the size of a file up to the end of its last whole line.
func wholeLines(file *os.File) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	buf := make([]byte, 1<<16)
	for err == nil && size > 0 {
		from := max(0, size-int64(len(buf)))
		part := buf[:size-from]
		if _, err = file.ReadAt(part, from); err != nil {
			break
		}
		if at := bytes.LastIndexByte(part, '\n'); at >= 0 {
			return from + int64(at) + 1, nil
		}
		size = from
	}
	return 0, err
}

// write appends a row in one write, so that a kill leaves whole lines and at most one torn one.
func (l *ledger) write(row any) error {
	l.buf.Reset()
	enc := json.NewEncoder(&l.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(row); err != nil {
		return err
	}
	_, err := l.file.Write(l.buf.Bytes())
	return err
}

func (l *ledger) close() error { return errors.Join(l.file.Sync(), l.file.Close()) }

// writeWhole writes a file that appears only when it is whole.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	w := bufio.NewWriterSize(file, 1<<16)
	if err = errors.Join(write(w), w.Flush(), file.Chmod(0o600), file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(file.Name()))
	}
	return nil
}

func writeJSON(path string, v any) error {
	return writeWhole(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		return enc.Encode(v)
	})
}
