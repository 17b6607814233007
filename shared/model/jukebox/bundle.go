package jukebox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/larkstream/larkstream/shared/model"
)

// Progress is told how many bytes of the weights are done, of how many. It is called often, from one goroutine.
type Progress func(done, total int64)

// source gives the tensors of a bundle.
type source interface {
	// dtype is the element type in which a tensor will be written: F16 or F32.
	dtype(ctx context.Context, t Tensor) (string, error)
	// write writes the elements of a tensor, row-major, in the given type.
	write(ctx context.Context, t Tensor, dtype string, w io.Writer) error
}

// writeBundle writes weights and manifest to dir. An interrupted call is continued by the next with the same arguments.
func writeBundle(ctx context.Context, dir string, c Config, m model.Manifest, src source, progress Progress) (model.Manifest, error) {
	if _, err := os.Stat(filepath.Join(dir, model.ManifestFile)); !errors.Is(err, os.ErrNotExist) {
		return m, errors.Join(err, fmt.Errorf("%s holds a bundle already: name another folder or remove it", dir))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a model is no secret
		return m, fmt.Errorf("making the bundle's folder: %w", err)
	}
	tensors := c.Tensors()
	slots, total, err := plan(ctx, tensors, src)
	if err != nil {
		return m, err
	}
	done, next := int64(0), 0
	m.Encoder.SHA256, err = model.WriteResumable(ctx, filepath.Join(dir, File), func(w io.Writer) error {
		return model.StreamSafetensors(w, slots, c.metadata(), func(s model.Slot, w io.Writer) error {
			t := tensors[next]
			next++
			return src.write(ctx, t, s.DType, writerFunc(func(p []byte) (int, error) {
				n, err := w.Write(p)
				done += int64(n)
				progress(done, total)
				return n, err
			}))
		})
	})
	if err != nil {
		return m, err
	}
	return m, m.Write(dir)
}

func plan(ctx context.Context, tensors []Tensor, src source) (slots []model.Slot, total int64, err error) {
	for _, t := range tensors {
		dtype, err := src.dtype(ctx, t)
		if err != nil {
			return nil, 0, err
		}
		s := model.Slot{Name: t.Name, DType: dtype, Shape: t.Shape}
		slots, total = append(slots, s), total+s.Bytes()
	}
	return slots, total, nil
}

// metadata puts what shapes cannot tell into the file of the weights, so that its digest, and with it the key of every
// stored embedding, depends on it.
func (c Config) metadata() map[string]string {
	return map[string]string{
		"format": "larkstream.jukebox/v1", "layers": strconv.Itoa(c.Layers), "heads": strconv.Itoa(c.Heads), "blocks": strconv.Itoa(c.Blocks),
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
