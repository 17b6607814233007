package llamabundle

import (
	"context"
	"fmt"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
)

// files are the tensors of one or more checkpoints, by Hugging Face's names.
type files map[string]place

// place is a tensor in a file, with its name there.
type place struct {
	*checkpoint.File
	name string
}

// add takes the tensors of a checkpoint.
func (f files) add(c *checkpoint.File) error {
	for _, t := range c.Tensors() {
		if first, twice := f[t.Name]; twice {
			return fmt.Errorf("checking %s: tensor %q lies in %s too", c.Path(), t.Name, first.Path())
		}
		f[t.Name] = place{c, t.Name}
	}
	return nil
}

// check demands a tensor of the given shape, of floating-point values.
func (f files) check(name string, shape ...int) error {
	c, ok := f[name]
	if !ok {
		return fmt.Errorf("no file has a tensor %q: it is another kind of model, or a shard is missing", name)
	}
	info, _ := c.Info(c.name)
	if !slices.Equal(info.Shape, shape) {
		return fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected", c.Path(), name, info.Shape, shape)
	}
	if _, err := model.ToF32(info.DType, nil); err != nil {
		return fmt.Errorf("checking %s: tensor %q: %w", c.Path(), name, err)
	}
	return nil
}

// checkAll checks every tensor of a decoder.
func (f files) checkAll(s Shape) error {
	for _, w := range s.weights() {
		if err := f.check(w.hf, w.shape...); err != nil {
			return err
		}
	}
	return nil
}

func (f files) read(ctx context.Context, w weight, emit func([]float32) error) error {
	return f.values(ctx, w.hf, emit)
}

// values passes the values of a tensor that check has seen to emit, and refuses what is not finite.
func (f files) values(ctx context.Context, name string, emit func([]float32) error) error {
	c := f[name]
	info, _ := c.Info(c.name)
	return c.Read(ctx, c.name, func(piece []byte) error {
		values, err := model.ToF32(info.DType, piece)
		if err != nil {
			return err
		}
		for _, v := range values {
			if v-v != 0 {
				return fmt.Errorf("the value %v is not finite: the file is damaged", v)
			}
		}
		return emit(values)
	})
}

// all gives all values of a tensor that check has seen.
func (f files) all(ctx context.Context, name string) ([]float32, error) {
	var all []float32
	err := f.values(ctx, name, func(values []float32) error {
		all = append(all, values...)
		return nil
	})
	return all, err
}
