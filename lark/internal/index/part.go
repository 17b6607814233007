package index

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// Names of tables, with which the names of their files begin.
const (
	tableTracks     = "tracks"
	tableWindows    = "windows"
	tableEmbeddings = "embeddings"
)

// encoder writes the rows of one file. What it writes is whole once flush has returned; either way close frees what it holds.
type encoder[T any] struct {
	write func(T) error
	flush func() error
	close func() error
}

// table writes rows into part files.
type table[T any] struct {
	e       Export
	to      target
	name    string
	encoder func(io.Writer) (encoder[T], error)
	parts   []Part
	now     *part[T]
}

func newTable[T any](e Export, to target, name string, enc func(io.Writer) (encoder[T], error)) *table[T] {
	return &table[T]{e: e, to: to, name: name, encoder: enc}
}

func (t *table[T]) add(ctx context.Context, row T) error {
	form := formats[t.e.Format]
	if t.now != nil && (t.now.Rows >= t.e.PartRows || (form.partBytes > 0 && t.now.Bytes >= form.partBytes)) {
		if err := t.close(true); err != nil {
			return err
		}
	}
	if t.now == nil {
		p, err := newPart(ctx, t.to, Part{File: partName(t.name, len(t.parts), form.ext), Table: t.name}, t.encoder)
		if err != nil {
			return err
		}
		t.now = p
	}
	t.now.Rows++
	return t.now.enc.write(row)
}

// close ends the file that is being written; it appears if all is good.
func (t *table[T]) close(good bool) error {
	if t.now == nil {
		return nil
	}
	p, err := t.now.end(good)
	t.now = nil
	if good && err == nil {
		t.parts = append(t.parts, p)
	}
	return err
}

func partName(table string, n int, ext string) string {
	return fmt.Sprintf("%s-%05d.%s", table, n, ext)
}

// part is a file that is being written and has not appeared yet.
type part[T any] struct {
	Part
	file sink
	sum  hash.Hash
	enc  encoder[T]
}

func newPart[T any](ctx context.Context, to target, about Part, enc func(io.Writer) (encoder[T], error)) (p *part[T], err error) {
	p = &part[T]{Part: about, sum: sha256.New()}
	if p.file, err = to.create(ctx, about.File); err != nil {
		return nil, fmt.Errorf("making %s: %w", about.File, err)
	}
	if p.enc, err = enc(p); err != nil {
		return nil, errors.Join(err, p.file.discard())
	}
	return p, nil
}

// Write implements io.Writer for the encoder.
func (p *part[T]) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.sum.Write(b[:n])
	p.Bytes += int64(n)
	return n, err
}

func (p *part[T]) end(good bool) (Part, error) {
	var err error
	if good {
		err = p.enc.flush()
	}
	if p.enc.close != nil {
		err = errors.Join(err, p.enc.close())
	}
	if err != nil || !good {
		return Part{}, errors.Join(err, p.file.discard())
	}
	p.SHA256 = hex.EncodeToString(p.sum.Sum(nil))
	if err := p.file.commit(); err != nil {
		return Part{}, fmt.Errorf("writing %s: %w", p.File, err)
	}
	return p.Part, nil
}

// removeOlder removes part files of this format that an older export has left and the new one does not have: whoever reads tracks-*.parquet would read them too.
func removeOlder(ctx context.Context, to target, form format, parts []Part) error {
	return to.each(ctx, func(name string) error {
		number, ok := strings.CutSuffix(name, "."+form.ext)
		table, number, dashed := strings.Cut(number, "-")
		if !ok || !dashed || !slices.Contains([]string{tableTracks, tableWindows, tableEmbeddings}, table) || len(number) < 5 || strings.Trim(number, "0123456789") != "" {
			return nil
		}
		if slices.ContainsFunc(parts, func(p Part) bool { return p.File == name }) {
			return nil
		}
		return to.remove(ctx, name)
	})
}

// writeFile writes a small file at once.
func writeFile(ctx context.Context, to target, name string, data []byte) error {
	f, err := to.create(ctx, name)
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), f.discard())
	}
	if err := f.commit(); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
