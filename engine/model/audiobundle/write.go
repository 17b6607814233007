package audiobundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// Progress is told how many bytes of the weights are done, of how many. It is called often, from one goroutine.
type Progress func(done, total int64)

// piece is a tensor to be written: put takes its bytes in order.
type piece struct {
	gguf.Tensor
	fill func(ctx context.Context, put func([]byte) error) error
}

func bytesOf(pieces []piece) (total int64) {
	for _, p := range pieces {
		total += p.Bytes()
	}
	return total
}

// meter counts what is written of all files of a bundle.
type meter struct {
	done, total int64
	tell        Progress
}

func (m *meter) add(n int) {
	m.done += int64(n)
	m.tell(m.done, m.total)
}

// write writes a GGUF file, one piece of a tensor at a time. An interrupted call is continued by the next with the same arguments.
func write(ctx context.Context, path string, meta []gguf.KV, pieces []piece, m *meter) (digest string, err error) {
	tensors := make([]gguf.Tensor, len(pieces))
	for i, p := range pieces {
		tensors[i] = p.Tensor
	}
	next := 0
	return model.WriteResumable(ctx, path, func(w io.Writer) error {
		return gguf.Stream(w, meta, tensors, func(_ gguf.Tensor, w io.Writer) error {
			p := pieces[next]
			next++
			return p.fill(ctx, func(raw []byte) error {
				n, err := w.Write(raw)
				m.add(n)
				return err
			})
		})
	})
}

// source gives the values of tensors by the names of its files.
type source interface {
	// Values passes the values of a tensor to emit, in pieces of a multiple of 32 values except the last, and refuses what is not finite.
	Values(ctx context.Context, name string, emit func([]float32) error) error
}

// encoded is a piece made of values.
func encoded(from source, name string, t gguf.Tensor) piece {
	return piece{t, func(ctx context.Context, put func([]byte) error) error {
		var raw []byte
		return from.Values(ctx, name, func(values []float32) (err error) {
			if raw, err = gguf.Encode(raw[:0], t.Type, values); err != nil {
				return err
			}
			return put(raw)
		})
	}}
}

// encoderMeta puts what shapes cannot tell into the file of the encoder, so that its digest, and with it the key of every stored embedding, depends
// on it.
func encoderMeta(c Config) []gguf.KV {
	return []gguf.KV{
		{Key: "general.architecture", Value: "larkstream.whisper"}, {Key: "whisper.heads", Value: uint32(c.Heads)}, {Key: "whisper.block", Value: uint32(c.Block)},
	}
}

// bundle is one in the making.
type bundle struct {
	dir      string
	family   Family
	config   Config
	manifest model.Manifest
	// encoder and decoder are the tensors of their files. A decoder that is taken as it is has a path in place of them.
	encoder, decoder []piece
	decoderMeta      []gguf.KV
	decoderPath      string
	// projector are the layers of the projector: weight and bias by turns.
	projector []model.Tensor
}

// begin refuses a folder that holds a bundle, and makes it.
func begin(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, model.ManifestFile)); err == nil {
		return fmt.Errorf("%s holds a bundle already: name another folder or remove it", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a model is no secret
		return fmt.Errorf("making the bundle's folder: %w", err)
	}
	return nil
}

// write writes the parts and the manifest.
func (b *bundle) write(ctx context.Context, take func(ctx context.Context, from, to string) (string, error), progress Progress) (m model.Manifest, err error) {
	if err := begin(b.dir); err != nil {
		return m, err
	}
	count := &meter{total: bytesOf(b.encoder) + bytesOf(b.decoder), tell: progress}
	m = b.manifest
	if m.Encoder.SHA256, err = write(ctx, filepath.Join(b.dir, EncoderFile), encoderMeta(b.config), b.encoder, count); err != nil {
		return m, err
	}
	if err := model.WriteSafetensors(filepath.Join(b.dir, ProjectorFile), b.projector); err != nil {
		return m, err
	}
	if m.Projector.SHA256, err = model.FileDigest(filepath.Join(b.dir, ProjectorFile)); err != nil {
		return m, err
	}
	path := filepath.Join(b.dir, DecoderFile)
	if b.decoderPath == "" {
		m.LLM.SHA256, err = write(ctx, path, b.decoderMeta, b.decoder, count)
	} else if m.LLM.SHA256, err = take(ctx, b.decoderPath, path); err == nil && m.LLM.SHA256 == "" {
		m.LLM.SHA256, err = model.FileDigest(path)
	}
	if err != nil {
		return m, fmt.Errorf("writing the decoder: %w", err)
	}
	return m, m.Write(b.dir)
}

// describe makes the manifest. id names the encoder in keys.
func (b *bundle) describe(name, id string, llm model.LLM) error {
	f := b.family
	licence, restricted := f.terms(llm.Hidden)
	llm.Engine, llm.File = model.LlamaCPP, DecoderFile
	b.manifest = model.Manifest{
		Format: model.Format, Name: name, Licence: licence, NonCommercial: restricted,
		Encoder: model.Encoder{
			Engine: model.Whisper, File: EncoderFile, Width: b.config.Width, FrameRateHz: FrameRateHz, SpanS: WindowS, SampleRate: SampleRate, ID: id,
			Precision: "bf16", Config: b.config.values(),
		},
		Projector: model.Projector{Kind: f.Projector, File: ProjectorFile, In: b.config.Width, Out: llm.Hidden},
		LLM:       llm, Prompt: f.prompt(llm.Context),
	}
	return b.config.Validate()
}

// generates puts the settings of decoding into the manifest.
func (b *bundle) generates(g generation) {
	b.manifest.LLM.Sampling = g.sampling
	if g.maxTokens > 0 {
		b.manifest.Prompt.MaxTokens = min(g.maxTokens, b.manifest.LLM.Context)
	}
}

// licensed refuses a licence that nobody has accepted.
func (b *bundle) licensed(accepted bool) error {
	if b.manifest.NonCommercial && !accepted {
		return fmt.Errorf("the licence of %s models is %q: read it where you fetched the files, and add --accept-licence if you may use them; every answer will name it",
			b.family.Name, b.manifest.Licence)
	}
	return nil
}

// layers reads the projector's tensors; names are theirs in the source.
func (b *bundle) layers(ctx context.Context, from source, names []string, shapes [][]int) error {
	own := []string{"model.mm_projector"}
	if b.family.Projector != "" {
		own = []string{"linear_1", "linear_2"}
	}
	for i, name := range own {
		for j, end := range []string{".weight", ".bias"} {
			t := model.Tensor{Name: name + end, DType: "F32", Shape: shapes[2*i+j]}
			err := from.Values(ctx, names[2*i+j], func(values []float32) error {
				t.Data = append(t.Data, values...)
				return nil
			})
			if err != nil {
				return errors.Join(errors.New("reading the projector"), err)
			}
			b.projector = append(b.projector, t)
		}
	}
	return nil
}
