package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

// blockBytes is what one request asks for. Whoever reads headers reads a few bytes here and there.
const blockBytes = 64 << 10

// webAt reads parts of a file on a web host: by ranges, or from a temporary copy if the server sends nothing but whole files.
type webAt struct {
	ctx     context.Context //nolint:containedctx // io.ReaderAt has no other way
	host    *host
	address address
	size    int64
	version string

	mu sync.Mutex
	// The block that was read last, and where it begins.
	block []byte
	from  int64
	// copied is nil unless the server knows no ranges.
	copied *os.File
}

// ReadAt implements io.ReaderAt.
func (w *webAt) ReadAt(p []byte, from int64) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(p) {
		if from+int64(n) >= w.size {
			return n, io.EOF
		}
		if w.copied != nil {
			m, err := w.copied.ReadAt(p[n:], from+int64(n))
			return n + m, err
		}
		at := from + int64(n)
		if at < w.from || at >= w.from+int64(len(w.block)) {
			if err := w.load(at); err != nil {
				return n, err
			}
			continue
		}
		n += copy(p[n:], w.block[at-w.from:])
	}
	return n, nil
}

// load reads the block that holds a byte of the file, or all of the file.
func (w *webAt) load(at int64) error {
	first := at - at%blockBytes
	last := min(first+blockBytes, w.size) - 1
	resp, err := w.host.get(w.ctx, w.address, fmt.Sprintf("%d-%d", first, last))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if version(resp) != w.version {
		return ErrChanged
	}
	if resp.StatusCode == http.StatusOK {
		return w.copy(resp)
	}
	if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", first, last, w.size); !strings.EqualFold(got, want) {
		return fmt.Errorf("%w: the server sends %.80q of it where %q was asked for", ErrChanged, got, want)
	}
	block := make([]byte, last-first+1)
	if _, err := io.ReadFull(resp.Body, block); err != nil {
		return fmt.Errorf("%w: the connection broke", ErrHost)
	}
	w.block, w.from = block, first
	return nil
}

// copy keeps the whole file in a temporary one, which has no name and so goes with the process at the latest.
func (w *webAt) copy(resp *http.Response) error {
	if resp.ContentLength != w.size {
		return ErrChanged
	}
	f, err := os.CreateTemp("", "lark-web-*")
	if err != nil {
		return fmt.Errorf("%w: making a temporary copy: %w", ErrUnavailable, err)
	}
	n, err := io.Copy(f, resp.Body)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil || n != w.size {
		return errors.Join(fmt.Errorf("%w: the connection broke, or there is no room for a temporary copy", ErrHost), f.Close())
	}
	w.copied = f
	return nil
}

func (w *webAt) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copied == nil {
		return nil
	}
	return w.copied.Close()
}
