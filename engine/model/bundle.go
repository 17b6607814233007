package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/engine/tensor"
)

const (
	// Format is the value of the key format in model.yaml.
	Format = "larkstream.bundle/v1"
	// ManifestFile is the manifest's name inside a bundle.
	ManifestFile = "model.yaml"

	maxManifest = 1 << 20 // bytes
	hashBytes   = 1 << 20 // read at once
)

// Bundle is a checked model bundle: its manifest, and where its files lie.
type Bundle struct {
	Manifest
	// Dir is the folder of the bundle.
	Dir string
	// Digest is the hex SHA-256 over everything that an answer depends on; see Manifest.digest.
	Digest string
	// EncoderID names the encoder in keys: Encoder.ID.
	EncoderID string
}

// Load reads dir/model.yaml strictly, checks every value, and compares each file with its digest. All faults of the
// manifest are reported at once; each error names the file and what to do about it.
func Load(dir string) (*Bundle, error) {
	b, err := Read(dir)
	if err != nil {
		return nil, err
	}
	if err := b.verify(func(int64, int64) error { return nil }); err != nil {
		return nil, err
	}
	return b, nil
}

// Read reads the manifest as Load does, and leaves the other files alone: it returns at once whatever their size. Call Verify before
// you use them.
func Read(dir string) (*Bundle, error) {
	m, err := readManifest(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, err
	}
	return &Bundle{Manifest: *m, Dir: dir, Digest: m.digest(), EncoderID: m.Encoder.ID}, nil
}

// Verify compares the files of the parts with their digests; no parts means every file. It ends with ctx. It calls progress with the
// number of bytes read so far and in all. A part that the bundle keeps inside another file (the tokenizer of a GGUF) has no file of its own
// to compare.
func (b *Bundle) Verify(ctx context.Context, progress func(done, total int64), parts ...Part) error {
	return b.verify(func(done, total int64) error {
		progress(done, total)
		return ctx.Err()
	}, parts...)
}

// verify ends with an error of watch.
func (b *Bundle) verify(watch func(done, total int64) error, parts ...Part) error {
	files := b.files(parts...)
	total := int64(0)
	for _, part := range files {
		size, err := regular(filepath.Join(b.Dir, part.file))
		if err != nil {
			return fmt.Errorf("opening the model bundle: %w; the bundle is incomplete, fetch it again", err)
		}
		total += size
	}
	done := int64(0)
	count := watchFunc(func(n int) error {
		done += int64(n)
		return watch(done, total)
	})
	for _, part := range files {
		if err := verify(filepath.Join(b.Dir, part.file), *part.sha256, count); err != nil {
			return err
		}
	}
	return nil
}

// watchFunc is a writer that only counts; its error ends a copy.
type watchFunc func(n int) error

func (f watchFunc) Write(p []byte) (int, error) { return len(p), f(len(p)) }

// LoadComplete loads a bundle that has every part, for those who need more than the encoder.
func LoadComplete(dir string) (*Bundle, error) { return LoadCompleteContext(context.Background(), dir) }

// LoadCompleteContext is LoadComplete that ends with ctx: to compare many gigabytes with their digests takes minutes.
func LoadCompleteContext(ctx context.Context, dir string) (*Bundle, error) {
	b, err := Read(dir)
	if err != nil {
		return nil, err
	}
	if err := b.Require(PartProjector, PartLLM); err != nil {
		return nil, err
	}
	return b, b.verify(func(int64, int64) error { return ctx.Err() })
}

// Require returns an error if the bundle lacks one of the parts: a bundle may consist of an encoder only.
func (b *Bundle) Require(parts ...Part) error {
	if b.EncoderOnly() && slices.ContainsFunc(parts, func(p Part) bool { return p != PartEncoder }) {
		return fmt.Errorf("opening the model bundle: %s has an encoder only, and this needs projector and llm too; set LARK_MODEL_DIR to a complete bundle such as models/lark-nano", b.Dir)
	}
	return nil
}

func readManifest(path string) (*Manifest, error) {
	raw, err := readLimited(path, maxManifest)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening the model bundle: %w; set LARK_MODEL_DIR to a bundle such as models/lark-nano", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the model bundle: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("parsing %s: %w; docs/lark-nano.md lists its keys", path, err)
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("checking %s: %w", path, err)
	}
	return &m, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, err
}

// verify compares a file with its digest.
func verify(path, want string, watch io.Writer) error {
	got, err := digestOf(path, watch)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("checking %s: its sha256 is %s but %s says %s: it is damaged or of another version, fetch the bundle again", path, got, ManifestFile, want)
	}
	return nil
}

// FileDigest is the hex SHA-256 of a file.
func FileDigest(path string) (string, error) { return digestOf(path, io.Discard) }

// digestOf is the digest of a file. It also writes the whole file to watch.
func digestOf(path string, watch io.Writer) (string, error) {
	f, err := OpenFile(path)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(hash, watch), struct{ io.Reader }{f}, make([]byte, hashBytes)); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// SetPrecision replaces the encoder's arithmetic; digest and keys follow, so that results of different precisions never mix. Empty
// keeps the bundle's. Which names there are is for the encoder's engine to say.
func (b *Bundle) SetPrecision(name string) error {
	if name == "" || name == b.Encoder.Precision {
		return nil
	}
	if _, err := tensor.ParsePrecision(name); err != nil {
		return fmt.Errorf("setting the encoder's precision: %w", err)
	}
	if b.Encoder.Engine != Jukebox && b.Encoder.Engine != Whisper {
		return fmt.Errorf("setting the encoder's precision: the encoder of engine %q has %s only", b.Encoder.Engine, b.Encoder.Precision)
	}
	b.Encoder.Precision = name
	b.Digest = b.digest()
	return nil
}

// DisplayName is the model's name in outcomes: name and version, marked when the weights are random or not for commercial use.
func (b *Bundle) DisplayName() string {
	name := b.Name
	if b.Version != "" {
		name += " " + b.Version
	}
	if b.Random {
		name += " (random weights)"
	}
	if b.NonCommercial {
		name += " (non-commercial licence)"
	}
	return name
}

// EmbeddingKey is where the embedding of a window is stored: emb/v1/<encoder id>@<weights>/<precision>/<window>.
func (b *Bundle) EmbeddingKey(windowHash string) string {
	return "emb/v1/" + b.EncoderKey() + "/" + windowHash
}

// PromptKey is where the soft prompt of a window is stored: the embedding's key with the projector's digest.
func (b *Bundle) PromptKey(windowHash string) string {
	return "prompt/v1/" + b.EncoderKey() + "/" + b.Projector.SHA256[:16] + "/" + windowHash
}

// EncoderKey names the encoder, its weights and its precision: embeddings of one EncoderKey can be compared.
func (b *Bundle) EncoderKey() string {
	return b.Encoder.ID + "@" + b.Encoder.SHA256[:16] + "/" + b.Encoder.Precision
}

// EncoderPath is the file of the encoder.
func (b *Bundle) EncoderPath() string { return filepath.Join(b.Dir, b.Encoder.File) }

// ProjectorPath is the file of the projector.
func (b *Bundle) ProjectorPath() string { return filepath.Join(b.Dir, b.Projector.File) }

// LLMPath is the file of the decoder.
func (b *Bundle) LLMPath() string { return filepath.Join(b.Dir, b.LLM.File) }

// NotesPath is the file that says what the decoder notes, if LLM.Notes names one.
func (b *Bundle) NotesPath() string { return filepath.Join(b.Dir, b.LLM.Notes) }

// TokenizerPath is the file of the tokenizer.
func (b *Bundle) TokenizerPath() string { return filepath.Join(b.Dir, b.LLM.Tokenizer) }
