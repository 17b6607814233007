package llamabundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/model"
)

const (
	// File is the name of the decoder in a bundle.
	File = "llm.gguf"
	// ProjectorFile is the name of the projector in a bundle.
	ProjectorFile = "projector.safetensors"

	projectorWeight = "model.mm_projector.weight"
	projectorBias   = "model.mm_projector.bias"
)

// Progress is told how many bytes of the weights are done, of how many. It is called often, from one goroutine.
type Progress func(done, total int64)

// bundle is one in the making.
type bundle struct {
	dir      string
	manifest model.Manifest
}

// begin makes the folder, and finds its encoder: the encoder of the bundle in encoder, which is linked or copied, or without one the encoder
// that lies in dir already.
func begin(ctx context.Context, dir, encoder string) (*bundle, error) {
	b := &bundle{dir: dir}
	there, err := model.Read(dir)
	switch {
	case err == nil && (!there.EncoderOnly() || encoder != ""):
		return nil, fmt.Errorf("%s holds a bundle already: name another folder or remove it", dir)
	case err == nil:
		b.manifest = there.Manifest
		return b, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case encoder == "":
		return nil, fmt.Errorf("%s has no encoder, which a bundle needs: name one with --encoder, such as that of `lark model import jukebox`", dir)
	}
	from, err := model.Read(encoder)
	if err != nil {
		return nil, fmt.Errorf("taking the encoder: %w", err)
	}
	b.manifest = model.Manifest{Format: model.Format, Encoder: from.Encoder, Random: from.Random, Licence: from.Licence}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a model is no secret
		return nil, fmt.Errorf("making the bundle's folder: %w", err)
	}
	return b, b.take(ctx, from.EncoderPath())
}

// take puts the file of the encoder into the bundle.
func (b *bundle) take(ctx context.Context, path string) error {
	e := &b.manifest.Encoder
	e.File = filepath.Base(e.File)
	digest, err := LinkOrCopy(ctx, path, filepath.Join(b.dir, e.File))
	if err == nil && digest != "" && digest != e.SHA256 {
		err = fmt.Errorf("the sha256 of %s is %s, but its bundle says %s: it is damaged, fetch it again", path, digest, e.SHA256)
	}
	if err != nil {
		return fmt.Errorf("taking the encoder: %w", err)
	}
	return nil
}

// LinkOrCopy makes the file from appear as to too, or copies it where links do not reach. It gives the digest of what it copied.
func LinkOrCopy(ctx context.Context, from, to string) (digest string, err error) {
	if from, err = filepath.EvalSymlinks(from); err != nil { // a link to a link would break when that moves
		return "", err
	}
	f, err := model.OpenFile(from)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if a, err := f.Stat(); err == nil {
		if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
			return "", nil // an interrupted call linked it
		}
	}
	if os.Link(from, to) == nil {
		return "", nil
	}
	return model.WriteResumable(ctx, to, func(w io.Writer) error {
		_, err := io.Copy(w, struct{ io.Reader }{f})
		return err
	})
}

// projector writes the linear layer from the encoder's frames to the decoder: weight is [hidden, width], bias [hidden].
func (b *bundle) projector(weight, bias []float32, hidden int) error {
	width := b.manifest.Encoder.Width
	b.manifest.Projector = model.Projector{File: ProjectorFile, In: width, Out: hidden}
	return model.WriteSafetensors(filepath.Join(b.dir, ProjectorFile), []model.Tensor{
		{Name: projectorWeight, DType: "F32", Shape: []int{hidden, width}, Data: weight},
		{Name: projectorBias, DType: "F32", Shape: []int{hidden}, Data: bias},
	})
}

// takeProjector writes the projector that lies in f, which must fit the encoder and a decoder of the given width.
func (b *bundle) takeProjector(ctx context.Context, f files, hidden int) error {
	c, ok := f[projectorWeight]
	if !ok {
		return fmt.Errorf("no file has the projector's %q: name the file that holds it with --projector", projectorWeight)
	}
	width := b.manifest.Encoder.Width
	if info, _ := c.Info(c.name); len(info.Shape) == 2 && (info.Shape[0] != hidden || info.Shape[1] != width) {
		return fmt.Errorf("the projector in %s goes from frames of width %d to a decoder of width %d, but the encoder's frames have %d and the decoder %d: "+
			"they were not trained together", c.Path(), info.Shape[1], info.Shape[0], width, hidden)
	}
	if err := errors.Join(f.check(projectorWeight, hidden, width), f.check(projectorBias, hidden)); err != nil {
		return err
	}
	weight, err1 := f.all(ctx, projectorWeight)
	bias, err2 := f.all(ctx, projectorBias)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	return b.projector(weight, bias, hidden)
}

// seal writes the manifest.
func (b *bundle) seal(name string, llm model.LLM, prompt model.Prompt) (model.Manifest, error) {
	m := &b.manifest
	m.Name, m.LLM, m.Prompt = name, llm, prompt
	var err error
	if m.Projector.SHA256, err = model.FileDigest(filepath.Join(b.dir, m.Projector.File)); err != nil {
		return *m, fmt.Errorf("sealing the bundle: %w", err)
	}
	return *m, m.Write(b.dir)
}

// llark is the prompt of LLark (m2t/conversation.py and m2t/data_modules.py of https://github.com/spotify-research/llark). bos is the
// name of the token at the beginning of a text, or empty. Without audio tokens the frames stand alone, as in models trained without them.
func llark(bos string, audio bool, context int) model.Prompt {
	p := model.Prompt{
		Revision: "llark-1",
		Prefix: bos + "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, " +
			"detailed, and polite answers to the human's questions.\n\n### Human: " + AudioStart,
		Suffix:     AudioEnd + "\n",
		Question:   model.Question + "\n### Assistant:",
		Whitespace: model.Trained,
		Stop:       []string{"###"},
		MaxTokens:  min(512, context),
	}
	if !audio {
		p.Prefix, p.Suffix = p.Prefix[:len(p.Prefix)-len(AudioStart)], "\n"
	}
	return p
}
