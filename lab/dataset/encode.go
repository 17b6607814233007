package dataset

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// EncodeConfig says with what clips are encoded.
type EncodeConfig struct {
	RunOptions

	// Model is the folder of a bundle; its encoder is used.
	Model string
	// Store is the URL of the object store that keeps frames; empty = the set's own folder. A deployment's store is as good: frames that it
	// has are not computed again, and the other way round.
	Store string
	// Device of the encoder: cpu, auto, cuda and so on.
	Device string
	// Server is a deployment whose encoders make the frames; nil = this process does. Store must then be the deployment's.
	Server Gateway
}

// framesRow is a row of frames.jsonl.
type framesRow struct {
	outcome

	// Window is the SHA-256 of the PCM that was encoded and the preprocessing revision; Key is where its frames lie in the store.
	Window string `json:"window,omitempty"`
	Key    string `json:"key,omitempty"`
	Rows   int    `json:"frames,omitempty"`
	Cols   int    `json:"width,omitempty"`
	// Known says that the frames were there before.
	Known bool `json:"known,omitempty"`
	// Sketch is the mean of the frames in sketchSize random directions: enough to find clips that are nearly alike.
	Sketch []float32 `json:"sketch,omitempty"`
}

type encodeSettings struct {
	Encoder string `json:"encoder"`
	Store   string `json:"store"`
}

// frameStore keeps frames as the pipeline's services do.
type frameStore struct {
	cache.Cache
	blobs *blob.Store
}

// openStore opens the object store at url, or the set's own.
func (s *Set) openStore(ctx context.Context, url string) (*frameStore, error) {
	if url == "" {
		url = "file://" + filepath.ToSlash(filepath.Join(s.Dir, "frames"))
	}
	blobs, err := blob.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	c, err := cache.Open(ctx, "", blobs, cache.Deps{Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewCacheMetrics()})
	if err != nil {
		return nil, errors.Join(err, blobs.Close())
	}
	return &frameStore{c, blobs}, nil
}

func (f *frameStore) close() error { return errors.Join(f.Close(), f.blobs.Close()) }

// framer makes frames of files.
type framer struct {
	bundle *model.Bundle
	// engine is nil where a deployment encodes.
	engine encoder.Engine
	server Gateway
	files  *audio.Decoder
	store  *frameStore
}

func (s *Set) newFramer(ctx context.Context, cfg EncodeConfig) (f *framer, err error) {
	f = &framer{server: cfg.Server}
	if f.bundle, err = model.Load(cfg.Model); err != nil {
		return nil, err
	}
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return nil, err
	}
	f.files = files.At(f.bundle.Encoder.Rate())
	if f.store, err = s.openStore(ctx, cfg.Store); err != nil || f.server != nil {
		return f, err
	}
	device := encoder.Device{Name: cfg.Device, NativeDir: os.Getenv("LARK_NATIVE_DIR")}
	if f.engine, err = encoder.Open(ctx, f.bundle, encoder.Options{Device: device}); err != nil {
		return nil, errors.Join(err, f.store.close())
	}
	return f, nil
}

func (f *framer) close() (err error) {
	if f.engine != nil {
		err = f.engine.Close()
	}
	return errors.Join(f.store.close(), err)
}

// Encode runs the frozen encoder over every clip that has audio and keeps its frames, unless the store has them already.
func Encode(ctx context.Context, s *Set, cfg EncodeConfig) (tally Tally, err error) {
	f, err := s.newFramer(ctx, cfg)
	if err != nil {
		return tally, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	run := step[Clip, framesRow]{
		set: s, name: stepFrames, opts: cfg.RunOptions, settings: encodeSettings{f.bundle.EmbeddingKey(""), cfg.Store},
		items: func(name string) iter.Seq2[Clip, error] { return s.Clips(name) }, id: func(c Clip) string { return c.ID },
		do: func(ctx context.Context, c Clip) (framesRow, error) {
			row := framesRow{outcome: outcome{Clip: c.ID, State: stateDone}}
			if c.Missing != "" {
				row.State, row.Reason = stateMissing, c.Missing
				return row, nil
			}
			return row, f.frames(ctx, s.Path(c), c.Span, &row)
		},
	}
	return run.run(ctx)
}

// frames fills the row of a clip. A file that cannot be encoded is its own fault; a store that fails ends the run.
func (f *framer) frames(ctx context.Context, path string, span Span, row *framesRow) error {
	var pcm []int16
	err := hear(ctx, f.files, path, span, f.bundle.Encoder.SpanS, func(part []int16) { pcm = append(pcm, part...) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		row.State, row.Reason = stateFailed, err.Error()
		return nil
	}
	row.Window = windowHash(pcm)
	row.Key = f.bundle.EmbeddingKey(row.Window)
	frames, err := f.store.Get(ctx, row.Key, cache.Shape{Cols: f.bundle.Encoder.Width})
	row.Known = err == nil
	switch {
	case !errors.Is(err, cache.ErrMiss):
	case f.server != nil:
		frames, err = f.ask(ctx, pcm, row)
	default:
		frames, err = f.encode(ctx, pcm, row)
	}
	if err != nil || row.State == stateFailed {
		return err
	}
	row.Rows, row.Cols, row.Sketch = frames.Rows, frames.Cols, sketch(frames)
	return nil
}

// encode runs the engine and reads the frames back as the store rounds them, so that a second run gives the same row.
func (f *framer) encode(ctx context.Context, pcm []int16, row *framesRow) (tensor.Matrix, error) {
	frames, err := f.engine.Encode(ctx, pcm)
	if ctx.Err() != nil {
		return frames, context.Cause(ctx)
	}
	if err != nil {
		row.State, row.Reason = stateFailed, "encoding: "+err.Error()
		return frames, nil
	}
	if err := f.store.Put(ctx, row.Key, frames); err != nil {
		return frames, fmt.Errorf("keeping frames of clip %s: %w", row.Clip, err)
	}
	return f.store.Get(ctx, row.Key, cache.Shape{})
}

// windowHash names PCM as the chunker does.
func windowHash(pcm []int16) string {
	h, raw := audio.WindowHash(), make([]byte, 0, 1<<12)
	for len(pcm) > 0 {
		n := min(len(pcm), 1<<11)
		raw = raw[:0]
		for _, v := range pcm[:n] {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(v))
		}
		h.Write(raw)
		pcm = pcm[n:]
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sketchSize random directions keep distances within about a tenth (Johnson and Lindenstrauss, 1984).
const sketchSize = 128

// sketch projects the mean frame onto random directions, which depend on the width alone.
func sketch(frames tensor.Matrix) []float32 {
	mean := make([]float64, frames.Cols)
	for r := range frames.Rows {
		for c, v := range frames.Data[r*frames.Cols : (r+1)*frames.Cols] {
			mean[c] += float64(v) / float64(frames.Rows)
		}
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "sketch %d", frames.Cols)
	dice := rand.New(rand.NewPCG(1, h.Sum64())) //nolint:gosec // not a secret
	out := make([]float32, sketchSize)
	for i := range out {
		sum := 0.0
		for _, v := range mean {
			sum += v * dice.NormFloat64()
		}
		out[i] = float32(sum / math.Sqrt(sketchSize))
	}
	return out
}
