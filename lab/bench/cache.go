package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
)

// CacheConfig says which embeddings to store.
type CacheConfig struct {
	ModelDir string
	// Tracks are audio files; the windows of plan "all" are encoded.
	Tracks []string
	// Windows bounds the windows of each track; 0 is all.
	Windows int
	// Layers of a Jukebox encoder to run, from the first; 0 is all.
	Layers int
	// Rounds of storing and reading, of which the mean is taken.
	Rounds int
	// Progress is told of each track.
	Progress func(what string)
}

// CacheForm is what a stored form costs.
type CacheForm struct {
	DType string `json:"dtype"`
	Codec string `json:"codec"`
	// Bytes of one window's embedding, the mean.
	Bytes float64 `json:"bytes"`
	// Ratio of Bytes to the plain form's of the same number format.
	Ratio float64 `json:"ratio"`
	// StoreMs and ReadMs are processor milliseconds for one window's embedding.
	StoreMs float64 `json:"store_ms"`
	ReadMs  float64 `json:"read_ms"`
}

// CacheReport is the result.
type CacheReport struct {
	Model   string      `json:"model"`
	Machine string      `json:"machine"`
	Tracks  int         `json:"tracks"`
	Windows int         `json:"windows"`
	Frames  int         `json:"frames"`
	Width   int         `json:"width"`
	Forms   []CacheForm `json:"forms"`
}

// RunCache encodes the tracks and stores and reads their embeddings in every form of the cache.
func RunCache(ctx context.Context, cfg CacheConfig) (CacheReport, error) {
	r := CacheReport{Machine: machine(), Tracks: len(cfg.Tracks)}
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return r, err
	}
	if cfg.Layers > 0 {
		if cfg.Layers, _, err = depth(bundle, cfg.Layers); err != nil {
			return r, err
		}
		bundle.Encoder.Config["layers"] = cfg.Layers
	}
	r.Model = bundle.DisplayName()
	embeddings, err := embed(ctx, bundle, cfg)
	if err != nil {
		return r, err
	}
	r.Windows, r.Frames, r.Width = len(embeddings), embeddings[0].Rows, embeddings[0].Cols
	for _, dtype := range []cache.DType{cache.F16, cache.F32} {
		for _, codec := range []cache.Codec{cache.Plain, cache.Zstd} {
			form, err := storeAll(embeddings, dtype, codec, cfg.Rounds)
			if err != nil {
				return r, err
			}
			form.Ratio = 1
			if codec != cache.Plain {
				form.Ratio = form.Bytes / r.Forms[len(r.Forms)-1].Bytes
			}
			r.Forms = append(r.Forms, form)
		}
	}
	return r, nil
}

// embed encodes the windows of the tracks.
func embed(ctx context.Context, bundle *model.Bundle, cfg CacheConfig) (embeddings []tensor.Matrix, err error) {
	engine, err := encoder.Open(ctx, bundle, encoder.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return nil, err
	}
	cutter, rule := cut.New(files, ""), plan.NewRule(plan.All, nil, plan.HearingOf(bundle.Encoder))
	for _, track := range cfg.Tracks {
		cfg.Progress("encoding " + track)
		var windows [][]int16
		_, err := cutter.CutFile(ctx, track, rule, func(w cut.FileWindow) error {
			if cfg.Windows == 0 || len(windows) < cfg.Windows {
				windows = append(windows, w.PCM)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("cutting %s: %w", track, err)
		}
		for _, pcm := range windows {
			e, err := engine.Encode(ctx, pcm)
			if err != nil {
				return nil, fmt.Errorf("encoding %s: %w", track, err)
			}
			embeddings = append(embeddings, e)
		}
	}
	if len(embeddings) == 0 {
		return nil, errors.New("the tracks have no windows")
	}
	return embeddings, nil
}

// storeAll measures a form, with as many rounds over the embeddings as asked for.
func storeAll(embeddings []tensor.Matrix, dtype cache.DType, codec cache.Codec, rounds int) (CacheForm, error) {
	form := CacheForm{DType: map[cache.DType]string{cache.F16: "f16", cache.F32: "f32"}[dtype], Codec: map[cache.Codec]string{cache.Plain: "plain", cache.Zstd: "zstd"}[codec]}
	stored := make([][]byte, len(embeddings))
	store, err := spent(func() error {
		for range rounds {
			for i, e := range embeddings {
				raw, err := cache.Encode("emb/v1/bench", e, dtype, codec)
				if err != nil {
					return err
				}
				stored[i] = raw
			}
		}
		return nil
	})
	if err != nil {
		return form, err
	}
	read, err := spent(func() error {
		for range rounds {
			for _, raw := range stored {
				if _, _, err := cache.Decode(raw); err != nil {
					return err
				}
			}
		}
		return nil
	})
	windows := float64(rounds * len(embeddings))
	for _, raw := range stored {
		form.Bytes += float64(len(raw)) / float64(len(stored))
	}
	form.StoreMs, form.ReadMs = 1000*store/windows, 1000*read/windows
	return form, err
}

// Write prints the report as Markdown.
func (r CacheReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s.\n%d windows of %d tracks, %d frames of width %d.\n\n", r.Model, r.Machine, r.Windows, r.Tracks, r.Frames, r.Width)
	fmt.Fprintf(w, "| numbers | codec | bytes a window | ratio | store, ms | read, ms |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, f := range r.Forms {
		fmt.Fprintf(w, "| %s | %s | %.0f | %.3f | %.2f | %.2f |\n", f.DType, f.Codec, f.Bytes, f.Ratio, f.StoreMs, f.ReadMs)
	}
}
