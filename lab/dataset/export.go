package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/cache"
)

// Formats of exports.
const (
	FormatWebdataset = "webdataset"
	FormatParquet    = "parquet"
	FormatJSONL      = "jsonl"
)

// Formats lists all formats.
func Formats() []string { return []string{FormatWebdataset, FormatParquet, FormatJSONL} }

// ExportConfig says what goes out and how.
type ExportConfig struct {
	Out    string
	Format string
	// Store is where frames lie, as Encode was told.
	Store string
	// Licences are patterns such as CC-BY-4.0 or CC*; clips whose licence matches none stay behind. Empty = all.
	Licences []string
	// Seed decides which pairs stay behind where there are too many.
	Seed    uint64
	Thin    ThinConfig
	Balance Balance
	// ShardBytes is how large a file becomes before the next one is begun; 0 = 1 GiB.
	ShardBytes int64
	// Pickle writes frames as the released training script of LLark reads them, audio_encoding.pyd, instead of audio_encoding.npy. Only webdataset.
	Pickle bool
}

// Manifest is what an export holds: manifest.json.
type Manifest struct {
	Format  string `json:"format"`
	Encoder string `json:"encoder"`
	// Clips and Pairs count by split, Families, Datasets and Licences count pairs.
	Clips    map[string]int `json:"clips"`
	Pairs    map[string]int `json:"pairs"`
	Families map[string]int `json:"families"`
	Datasets map[string]int `json:"datasets"`
	Licences map[string]int `json:"licences"`
	// Left counts by reason what stayed behind: clips, and pairs.
	LeftClips map[string]int `json:"left_clips"`
	LeftPairs map[string]int `json:"left_pairs"`
	Files     []File         `json:"files"`
}

// ManifestFile is the name of an export's manifest. It is written last: an export without it is not whole.
const ManifestFile = "manifest.json"

// File of an export.
type File struct {
	Name   string `json:"name"`
	Split  string `json:"split"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Clips  int    `json:"clips"`
	Pairs  int    `json:"pairs"`
}

// exportPair is an accepted pair.
type exportPair struct {
	Family, Maker, Question, Answer string
}

// sample is a clip with its accepted pairs.
type sample struct {
	clip   Clip
	split  string
	frames framesRow
	pairs  []exportPair
}

// sink writes samples in one format.
type sink interface {
	add(s sample, frames tensor.Matrix) error
	// close finishes the files and names them.
	close() ([]File, error)
}

// Export writes the accepted pairs of all clips that have frames and a split. Equal sets and settings give equal files. Memory does not grow with
// the set.
func Export(ctx context.Context, s *Set, cfg ExportConfig) (m Manifest, err error) {
	if err := cfg.check(); err != nil {
		return m, err
	}
	ratios, err := s.ratios(cfg)
	if err != nil {
		return m, err
	}
	store, err := s.openStore(ctx, cfg.Store)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	if err := os.MkdirAll(cfg.Out, 0o750); err != nil {
		return m, err
	}
	if err := os.Remove(filepath.Join(cfg.Out, ManifestFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	m = newManifest(cfg.Format)
	to, err := newSink(cfg)
	if err != nil {
		return m, err
	}
	pick := &picker{cfg: cfg, ratios: ratios, thin: newThinner(cfg.Thin), left: m.LeftPairs}
	err = s.samples(pick, m.LeftClips, func(x sample) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		frames, err := store.Get(ctx, x.frames.Key, cache.Shape{Rows: x.frames.Rows, Cols: x.frames.Cols})
		if err != nil {
			return fmt.Errorf("frames of clip %s: %w: run lark dataset encode --anew", x.clip.ID, err)
		}
		m.count(x)
		return to.add(x, frames)
	})
	files, closed := to.close()
	if err := errors.Join(err, closed); err != nil {
		return m, err
	}
	m.Files = files
	if len(files) == 0 {
		return m, fmt.Errorf("nothing is left to export: left clips %v, left pairs %v", m.LeftClips, m.LeftPairs)
	}
	return m, writeJSON(filepath.Join(cfg.Out, ManifestFile), m)
}

func (c ExportConfig) check() error {
	switch {
	case c.Out == "":
		return errors.New("the export needs a folder")
	case !slices.Contains(Formats(), c.Format):
		return fmt.Errorf("format %.40q is not known: the formats are %s", c.Format, strings.Join(Formats(), ", "))
	case c.Pickle && c.Format != FormatWebdataset:
		return fmt.Errorf("pickled frames are for the format %s only", FormatWebdataset)
	}
	for _, l := range c.Licences {
		if _, err := path.Match(l, ""); err != nil {
			return fmt.Errorf("licence pattern %q: %w", l, err)
		}
	}
	return errors.Join(c.Thin.check(), c.Balance.check())
}

func newManifest(format string) Manifest {
	return Manifest{
		Format: format, Clips: map[string]int{}, Pairs: map[string]int{}, Families: map[string]int{}, Datasets: map[string]int{}, Licences: map[string]int{},
		LeftClips: map[string]int{}, LeftPairs: map[string]int{},
	}
}

func (m *Manifest) count(x sample) {
	m.Encoder = path.Dir(x.frames.Key)
	m.Clips[x.split]++
	m.Pairs[x.split] += len(x.pairs)
	m.Datasets[x.clip.Dataset] += len(x.pairs)
	m.Licences[x.clip.Licence] += len(x.pairs)
	for _, p := range x.pairs {
		m.Families[p.Family]++
	}
}

// samples calls each with what is to go out, in the order of the collections and clips; leftClips counts the others.
func (s *Set) samples(pick *picker, leftClips map[string]int, each func(sample) error) error {
	for _, name := range s.Names {
		for _, step := range []string{stepFrames, stepSplit} {
			if !s.has(name, step) {
				return fmt.Errorf("%s has no %s.jsonl: run lark dataset encode, then lark dataset split", name, step)
			}
		}
		err := s.withPairs(name, func(x sample, err error) error {
			if err != nil {
				return err
			}
			left := pick.clip(&x)
			if left != "" {
				leftClips[left]++
				return nil
			}
			return each(x)
		})
		if err != nil {
			return fmt.Errorf("exporting %s: %w", name, err)
		}
	}
	return nil
}

// withPairs reads all steps of a collection side by side.
func (s *Set) withPairs(name string, each func(sample, error) error) error {
	steps, err := s.pairSteps(name)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return errors.New("it has no pairs: run lark dataset generate")
	}
	frames, splits := besideOf[framesRow](s, name, stepFrames), besideOf[splitRow](s, name, stepSplit)
	defer frames.stop()
	defer splits.stop()
	pairs := make([]*beside[pairRow], len(steps))
	for i, step := range steps {
		pairs[i] = besideOf[pairRow](s, name, step)
		defer pairs[i].stop()
	}
	for c, err := range s.Clips(name) {
		x := sample{clip: c}
		if err == nil {
			x.frames, err = frames.of(c.ID)
		}
		if err == nil {
			var split splitRow
			split, err = splits.of(c.ID)
			x.split = split.Split
		}
		for _, p := range pairs {
			if err == nil {
				err = x.take(p)
			}
		}
		if err := each(x, err); err != nil {
			return err
		}
	}
	return nil
}

// take adds the accepted pairs of a step.
func (x *sample) take(b *beside[pairRow]) error {
	row, err := b.of(x.clip.ID)
	parts := strings.Split(b.step, ".") // pairs.FAMILY.MAKER
	for _, p := range row.Pairs {
		if p.Rejected == nil {
			x.pairs = append(x.pairs, exportPair{parts[1], parts[len(parts)-1], p.Question, p.Answer})
		}
	}
	return err
}
