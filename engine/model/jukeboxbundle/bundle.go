package jukeboxbundle

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/larkstream/larkstream/engine/model"
)

// Progress is told how many bytes of the weights are done, of how many. It is called often, from one goroutine.
type Progress func(done, total int64)

// source gives the tensors of a bundle.
type source interface {
	// write writes the elements of a tensor, row-major and little-endian, in the type of the bundle.
	write(ctx context.Context, t Tensor, w io.Writer) error
}

// writeBundle writes weights and manifest to dir. An interrupted call is continued by the next with the same arguments.
func writeBundle(ctx context.Context, dir string, c Config, m model.Manifest, src source, progress Progress) (model.Manifest, error) {
	if _, err := os.Stat(filepath.Join(dir, model.ManifestFile)); err == nil {
		return m, fmt.Errorf("%s holds a bundle already: name another folder or remove it", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a model is no secret
		return m, fmt.Errorf("making the bundle's folder: %w", err)
	}
	tensors, total := c.Tensors(), int64(0)
	slots := make([]model.Slot, len(tensors))
	for i, t := range tensors {
		slots[i] = model.Slot{Name: t.Name, DType: t.dtype(), Shape: t.Shape}
		total += slots[i].Bytes()
	}
	var err error
	done, next := int64(0), 0
	m.Encoder.SHA256, err = model.WriteResumable(ctx, filepath.Join(dir, File), func(w io.Writer) error {
		return model.StreamSafetensors(w, slots, c.metadata(), func(_ model.Slot, w io.Writer) error {
			t := tensors[next]
			next++
			return src.write(ctx, t, writerFunc(func(p []byte) (int, error) {
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

// metadata puts what shapes cannot tell into the file of the weights, so that its digest, and with it the key of every
// stored embedding, depends on it.
func (c Config) metadata() map[string]string {
	return map[string]string{
		"format": "larkstream.jukebox/v1", "layers": strconv.Itoa(c.Layers), "heads": strconv.Itoa(c.Heads), "blocks": strconv.Itoa(c.Blocks),
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
