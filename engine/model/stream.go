package model

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
)

// Slot is a tensor to be streamed into a safetensors file.
type Slot struct {
	Name  string
	DType string
	Shape []int
}

// Bytes is the size of the tensor, or -1 if its type or shape is unknown.
func (s Slot) Bytes() int64 {
	n, ok := elementBytes[s.DType]
	if !ok || s.Shape == nil {
		return -1
	}
	for _, d := range s.Shape {
		if d < 0 || (d > 0 && n > (1<<50)/int64(d)) {
			return -1
		}
		n *= int64(d)
	}
	return n
}

// StreamSafetensors writes a safetensors file to w. It calls fill once for each slot, in order; fill writes the slot's
// elements, row-major and little-endian, exactly as many bytes as the slot has.
func StreamSafetensors(w io.Writer, slots []Slot, metadata map[string]string, fill func(s Slot, w io.Writer) error) error {
	header, err := headerOf(slots, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, s := range slots {
		if err := Exactly(w, s.Bytes(), func(w io.Writer) error { return fill(s, w) }); err != nil {
			return fmt.Errorf("writing tensor %q: %w", s.Name, err)
		}
	}
	return nil
}

// Exactly demands that fill writes the given number of bytes.
func Exactly(w io.Writer, bytes int64, fill func(io.Writer) error) error {
	counted := &exact{w: w, left: bytes}
	if err := fill(counted); err != nil {
		return err
	}
	if counted.left != 0 {
		return fmt.Errorf("%d bytes of %d are missing", counted.left, bytes)
	}
	return nil
}

// headerOf is the length of the header and the header, padded so that the data begin at a multiple of 64 bytes.
func headerOf(slots []Slot, metadata map[string]string) ([]byte, error) {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	entries := map[string]any{}
	if len(metadata) > 0 {
		entries["__metadata__"] = metadata
	}
	at := int64(0)
	for _, s := range slots {
		size := s.Bytes()
		if _, twice := entries[s.Name]; twice || size < 0 {
			return nil, fmt.Errorf("tensor %q of %s and shape %v cannot be written", s.Name, s.DType, s.Shape)
		}
		entries[s.Name] = entry{s.DType, s.Shape, [2]int64{at, at + size}}
		at += size
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	const align = 64
	text = append(text, bytes.Repeat([]byte{' '}, (align-(len(text)+8)%align)%align)...)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

// exact lets a known number of bytes through.
type exact struct {
	w    io.Writer
	left int64
}

func (e *exact) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, fmt.Errorf("%d bytes too many", int64(len(p))-e.left)
	}
	e.left -= int64(len(p))
	return e.w.Write(p)
}

// PartialSuffix marks a file that WriteResumable has not finished.
const PartialSuffix = ".partial"

// WriteResumable writes a large file to path+PartialSuffix and renames it to path when all of it lies on the disk. What
// an interrupted call left behind is compared with what write gives, and only what differs is written: the call continues
// where the other ended, whatever state that left. It returns the file's hex SHA-256, after comparing the digest of the
// bytes written with that of the file read back. When it fails the partial file stays for the next call.
func WriteResumable(ctx context.Context, path string, write func(io.Writer) error) (digest string, err error) {
	f, err := os.OpenFile(path+PartialSuffix, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // a model is no secret
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	r := &resuming{ctx: ctx, file: f, sum: sha256.New()}
	buffered := bufio.NewWriterSize(r, resumeBytes)
	err = errors.Join(write(buffered), buffered.Flush())
	if err == nil {
		err = errors.Join(f.Truncate(r.at), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	digest = hex.EncodeToString(r.sum.Sum(nil))
	got, err := FileDigest(path + PartialSuffix)
	if err == nil && got != digest {
		err = fmt.Errorf("reading back %s: its sha256 is %s where %s was written: the disk or another program damaged it", path, got, digest)
	}
	if err == nil {
		err = os.Rename(path+PartialSuffix, path)
	}
	return digest, err
}

const resumeBytes = 1 << 20

// resuming writes only what the file does not hold yet.
type resuming struct {
	ctx  context.Context //nolint:containedctx // an io.Writer has no other way to be cancelled
	file *os.File
	at   int64
	sum  hash.Hash
	old  []byte
}

func (r *resuming) Write(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	r.old = slices.Grow(r.old[:0], len(p))[:len(p)]
	n, err := r.file.ReadAt(r.old, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if n < len(p) || !bytes.Equal(r.old, p) {
		if _, err := r.file.WriteAt(p, r.at); err != nil {
			return 0, err
		}
	}
	r.sum.Write(p)
	r.at += int64(len(p))
	return len(p), nil
}
