package llamabundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model/checkpoint"
)

// folder is a Hugging Face folder whose files are open.
type folder struct {
	Shards
	config config
	shape  Shape
	vocab  *vocab
}

// Shards are the open weights of a Hugging Face folder.
type Shards struct {
	dir     string
	tensors files
	open    []*checkpoint.File
}

// OpenShards opens the weights of a folder: safetensors before PyTorch's checkpoints, an index before a single file. The caller closes them.
func OpenShards(dir string) (*Shards, error) {
	s := &Shards{dir: dir, tensors: files{}}
	if err := s.openShards(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Names lists the tensors in alphabetical order.
func (f *Shards) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Check demands a tensor of the given shape, of floating-point values.
func (f *Shards) Check(name string, shape ...int) error { return f.tensors.check(name, shape...) }

// Shape is the shape of a tensor, nil if there is none, and its element type as safetensors names it.
func (f *Shards) Shape(name string) (shape []int, dtype string) {
	c, ok := f.tensors[name]
	if !ok {
		return nil, ""
	}
	info, _ := c.Info(c.name)
	return info.Shape, info.DType
}

// Values passes the values of a tensor that Check has seen to emit, in pieces, and refuses what is not finite.
func (f *Shards) Values(ctx context.Context, name string, emit func([]float32) error) error {
	return f.tensors.values(ctx, name, emit)
}

// openFolder opens all shards and checks every name and shape.
func openFolder(dir string) (f *folder, err error) {
	f = &folder{Shards: Shards{dir: dir, tensors: files{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if f.config, f.shape, err = readConfig(dir); err != nil {
		return f, err
	}
	if err = f.openShards(); err != nil {
		return f, err
	}
	if err = f.checkNames(); err != nil {
		return f, err
	}
	f.vocab, err = readVocab(dir, f.shape.Vocab)
	return f, err
}

// Close closes the files.
func (f *Shards) Close() error {
	var faults []error
	for _, c := range f.open {
		faults = append(faults, c.Close())
	}
	return errors.Join(faults...)
}

// take opens a checkpoint and adds its tensors.
func (f *Shards) take(path string) error {
	c, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	f.open = append(f.open, c)
	return f.tensors.add(c)
}

// openShards opens the weights: safetensors before PyTorch's, an index before a single file.
func (f *Shards) openShards() error {
	for _, name := range []string{"model.safetensors", "pytorch_model.bin"} {
		var index struct {
			Map map[string]string `json:"weight_map"`
		}
		found, err := readJSON(f.dir, name+".index.json", maxIndex, &index)
		if err != nil {
			return err
		}
		if found {
			return f.openIndexed(index.Map)
		}
		if _, err := os.Stat(filepath.Join(f.dir, name)); err == nil {
			return f.take(filepath.Join(f.dir, name))
		}
	}
	return fmt.Errorf("%s has neither model.safetensors nor pytorch_model.bin, nor an index of shards", f.dir)
}

const maxShards = 1000

func (f *Shards) openIndexed(index map[string]string) error {
	shards := map[string]bool{}
	for _, file := range index {
		shards[file] = true
	}
	if len(shards) == 0 || len(shards) > maxShards {
		return fmt.Errorf("the index of %s names %d shards, where 1 to %d are expected", f.dir, len(shards), maxShards)
	}
	for _, file := range slices.Sorted(maps.Keys(shards)) {
		if filepath.Base(file) != file || !filepath.IsLocal(file) {
			return fmt.Errorf("the index of %s names the file %q, which is not one of the folder", f.dir, file)
		}
		err := f.take(filepath.Join(f.dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: the index names %d shards, and this one is missing", err, len(shards))
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index)) {
		if c, ok := f.tensors[name]; !ok || filepath.Base(c.Path()) != index[name] {
			return fmt.Errorf("the index of %s says that %q lies in %s, but it does not", f.dir, name, index[name])
		}
	}
	return nil
}

// checkNames demands every tensor of the decoder and none beside them, except the projector and what follows from the configuration.
func (f *folder) checkNames() error {
	if err := f.tensors.checkAll(f.shape); err != nil {
		return err
	}
	known := map[string]bool{projectorWeight: true, projectorBias: true, "lm_head.weight": true}
	for _, w := range f.shape.weights() {
		known[w.hf] = true
	}
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		if !known[name] && !strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			return fmt.Errorf("checking %s: the tensor %q is unknown to Llama-2: it is another kind of model; %s", f.tensors[name].Path(), name, ready)
		}
	}
	return nil
}
