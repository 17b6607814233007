package filetags

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Entry is a line of the list by which files become what they were.
type Entry struct {
	Path string `json:"path"`
	// Before and After are the SHA-256 of the file before and after its tags were written.
	Before string `json:"sha256_before"`
	After  string `json:"sha256_after"`
	// Back are the bytes that were replaced, by their places in the file of now.
	Back []Patch `json:"back"`
}

// Patch says that Len bytes at At become Bytes.
type Patch struct {
	At    int64  `json:"at"`
	Len   int64  `json:"len"`
	Bytes []byte `json:"bytes,omitempty"`
}

// List is the list of what was written. A line is on the disk before its file changes.
type List struct {
	file  *os.File
	after map[string]bool
}

// OpenList opens a list or makes it. What a broken off write has left at its end is taken away.
func OpenList(path string) (*List, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening list of written tags: %w", err)
	}
	l := &List{file: f, after: make(map[string]bool)}
	whole, err := l.each(func(e Entry, _ int64) { l.after[e.After] = true })
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading list of written tags %s: %w", path, err), f.Close())
	}
	return l, nil
}

// each reads the lines of the list and tells where the last whole one ends.
func (l *List) each(fn func(e Entry, at int64)) (whole int64, err error) {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	r := bufio.NewReader(l.file)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return 0, err
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, fmt.Errorf("byte %d: it is no such list: %w", whole, err)
		}
		fn(e, whole)
		whole += int64(len(line))
	}
}

// Wrote tells whether a file of this digest is one that was written.
func (l *List) Wrote(sha256 string) bool { return l != nil && l.after[sha256] }

func (l *List) add(e Entry) error {
	raw, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(raw, '\n'))
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing list of written tags: %w", err)
	}
	l.after[e.After] = true
	return nil
}

// Backward calls fn for every line, the last one first.
func (l *List) Backward(fn func(Entry) error) error {
	var places []int64
	if _, err := l.each(func(_ Entry, at int64) { places = append(places, at) }); err != nil {
		return fmt.Errorf("reading list of written tags: %w", err)
	}
	for i := len(places) - 1; i >= 0; i-- {
		if _, err := l.file.Seek(places[i], io.SeekStart); err != nil {
			return fmt.Errorf("reading list of written tags: %w", err)
		}
		var e Entry
		if err := json.NewDecoder(l.file).Decode(&e); err != nil {
			return fmt.Errorf("reading list of written tags: %w", err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the list.
func (l *List) Close() error { return l.file.Close() }
