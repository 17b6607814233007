package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/larkstream/larkstream/lab/eval"
)

// SplitConfig says how clips are divided.
type SplitConfig struct {
	Seed uint64
	// Validation and Test are the shares of groups whose collection names no split, 0 to 1.
	Validation, Test float64
	// KeepOut are sets of lark eval whose clips, and clips nearly like them, must not be trained on. They need Encode.
	KeepOut []string
	Encode  EncodeConfig
	// Alike is the cosine of two centred mean embeddings from which clips count as alike; 0 = such clips are not looked for.
	Alike float64
}

// SplitResult counts clips.
type SplitResult struct {
	Splits map[string]int `json:"splits"`
	// Left are clips in no split, by reason.
	Left map[string]int `json:"left_out"`
}

// splitRow is a row of splits.jsonl. Split is empty where the clip is left out, for the Reason.
type splitRow struct {
	outcome

	Split string `json:"split,omitempty"`
}

// Reasons for which a clip is in no split.
const (
	leftArtist = "its track, artist or audio is in a split that is tested on"
	leftEval   = "its audio is in a set that is kept out"
	leftAlike  = "its embedding is nearly that of a clip that is tested on"
)

// Split divides clips by track and artist: no track, artist or piece of audio is in two splits. A clip whose collection names a split stays there, or is
// left out where a stricter split has its artist. It writes splits.jsonl anew; equal settings give equal splits. Memory grows with clips and
// artists, by about 200 bytes each, and with the clips that are tested on, by 1 kB each.
func Split(ctx context.Context, s *Set, cfg SplitConfig) (SplitResult, error) {
	out := SplitResult{Splits: map[string]int{}, Left: map[string]int{}}
	g := newGroups()
	if err := s.group(g); err != nil {
		return out, err
	}
	t := &tested{windows: map[string]bool{}, alike: cfg.Alike}
	if err := s.keepOut(ctx, cfg, t); err != nil {
		return out, err
	}
	if err := s.gather(g, cfg, t); err != nil {
		return out, err
	}
	for _, name := range s.Names {
		if err := s.writeSplits(name, g, cfg, t, &out); err != nil {
			return out, fmt.Errorf("splitting %s: %w", name, err)
		}
		settings := map[string]any{"seed": cfg.Seed, "validation": cfg.Validation, "test": cfg.Test, "alike": cfg.Alike, "keep_out": cfg.KeepOut}
		if err := writeJSON(s.path(name, stepSplit+".settings.json"), settings); err != nil {
			return out, err
		}
	}
	return out, nil
}

// groups joins what must not be torn apart (union and find).
type groups struct {
	parent map[string]string
	// strictest is the strictest split that a collection names for a clip of the group.
	strictest map[string]int
}

func newGroups() *groups { return &groups{parent: map[string]string{}, strictest: map[string]int{}} }

func (g *groups) find(a string) string {
	p, ok := g.parent[a]
	if !ok {
		g.parent[a] = a
		return a
	}
	if p != a {
		p = g.find(p)
		g.parent[a] = p
	}
	return p
}

func (g *groups) join(a, b string) {
	a, b = g.find(a), g.find(b)
	if a == b {
		return
	}
	if a > b {
		a, b = b, a // the name of a group does not depend on the order
	}
	g.parent[b] = a
	g.strictest[a] = max(g.strictest[a], g.strictest[b])
}

// strictness orders splits; 0 = none is named.
var strictness = map[string]int{splitTrain: 1, splitValidation: 2, splitTest: 3}

func splitOf(strict int) string {
	return map[int]string{1: splitTrain, 2: splitValidation, 3: splitTest}[strict]
}

func trackOf(c Clip) string { return "t|" + c.Dataset + "|" + c.Track }

// besideClips calls each with the clips of a collection and their frames, or empty rows where nothing was encoded.
func (s *Set) besideClips(name string, each func(Clip, framesRow) error) error {
	var frames *beside[framesRow]
	if s.has(name, stepFrames) {
		frames = besideOf[framesRow](s, name, stepFrames)
		defer frames.stop()
	}
	for c, err := range s.Clips(name) {
		var f framesRow
		if err == nil && frames != nil {
			f, err = frames.of(c.ID)
		}
		if err == nil {
			err = each(c, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) group(g *groups) error {
	for _, name := range s.Names {
		err := s.besideClips(name, func(c Clip, f framesRow) error {
			track := trackOf(c)
			if c.Artist != "" {
				g.join(track, "a|"+c.Dataset+"|"+strings.ToLower(c.Artist))
			}
			if f.Window != "" {
				g.join(track, "w|"+f.Window)
			}
			root := g.find(track)
			g.strictest[root] = max(g.strictest[root], strictness[c.Split])
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// base is a clip's split by its group alone.
func (g *groups) base(c Clip, cfg SplitConfig) (split, left string) {
	root := g.find(trackOf(c))
	strict := g.strictest[root]
	own := strictness[c.Split]
	switch {
	case own != 0 && own < strict:
		return "", leftArtist
	case strict != 0:
		return splitOf(strict), ""
	}
	at := share(cfg.Seed, root)
	switch {
	case at < cfg.Test:
		return splitTest, ""
	case at < cfg.Test+cfg.Validation:
		return splitValidation, ""
	}
	return splitTrain, ""
}

// tested is what must not be trained on.
type tested struct {
	windows  map[string]bool
	sketches [][]float32
	mean     []float64
	clips    int
	alike    float64
}

func (t *tested) add(f framesRow) {
	t.windows[f.Window] = true
	if t.alike > 0 && len(f.Sketch) > 0 {
		t.sketches = append(t.sketches, f.Sketch)
	}
}

// keepOut encodes the clips of evaluation sets.
func (s *Set) keepOut(ctx context.Context, cfg SplitConfig, t *tested) (err error) {
	if len(cfg.KeepOut) == 0 {
		return nil
	}
	if cfg.Encode.Model == "" {
		return errors.New("to keep evaluation sets out their clips must be encoded as the set's are: name the model")
	}
	f, err := s.newFramer(ctx, cfg.Encode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for _, dir := range cfg.KeepOut {
		set, err := eval.ReadSet(dir, 0)
		if err != nil {
			return err
		}
		for _, c := range set.Clips {
			for _, span := range []Span{{0, heardS}, {chunkS, chunkS + heardS}} {
				row := framesRow{outcome: outcome{Clip: c.ID}}
				if err := f.frames(ctx, set.Path(c), span, &row); err != nil {
					return err
				}
				if row.Window != "" {
					t.add(row)
				}
			}
		}
	}
	return nil
}

// gather adds the set's own clips that are tested on, and takes the mean of all.
func (s *Set) gather(g *groups, cfg SplitConfig, t *tested) error {
	t.mean = make([]float64, sketchSize)
	for _, name := range s.Names {
		err := s.besideClips(name, func(c Clip, f framesRow) error {
			if len(f.Sketch) != sketchSize {
				return nil
			}
			t.clips++
			for i, v := range f.Sketch {
				t.mean[i] += float64(v)
			}
			if split, _ := g.base(c, cfg); split == splitTest && t.alike > 0 {
				t.sketches = append(t.sketches, f.Sketch)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range t.mean {
		t.mean[i] /= float64(max(1, t.clips))
	}
	for _, k := range t.sketches {
		t.centre(k)
	}
	return nil
}

// centre takes the mean of all clips away, which all embeddings have in common, and gives the rest the length 1.
func (t *tested) centre(sketch []float32) {
	power := 1e-12
	for i := range sketch {
		sketch[i] -= float32(t.mean[i])
		power += float64(sketch[i]) * float64(sketch[i])
	}
	scale := float32(1 / math.Sqrt(power))
	for i := range sketch {
		sketch[i] *= scale
	}
}

func (t *tested) near(sketch []float32) bool {
	if len(t.sketches) == 0 || len(sketch) != sketchSize {
		return false
	}
	t.centre(sketch)
	for _, other := range t.sketches {
		dot := float32(0)
		for i, v := range sketch {
			dot += v * other[i]
		}
		if float64(dot) >= t.alike {
			return true
		}
	}
	return false
}

// writeSplits writes the splits of a collection whole or not at all.
func (s *Set) writeSplits(name string, g *groups, cfg SplitConfig, t *tested, out *SplitResult) error {
	return writeWhole(s.path(name, stepSplit+".jsonl"), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		return s.besideClips(name, func(c Clip, f framesRow) error {
			row := splitRow{outcome: outcome{Clip: c.ID, State: stateDone}}
			row.Split, row.Reason = g.base(c, cfg)
			switch {
			case c.Missing != "":
				row.State, row.Split, row.Reason = stateMissing, "", "it has no audio"
			case row.Split == splitTest || row.Split == "":
			case t.windows[f.Window] && f.Window != "":
				row.Split, row.Reason = "", leftEval
			case t.near(f.Sketch):
				row.Split, row.Reason = "", leftAlike
			}
			if row.Split == "" {
				out.Left[row.Reason]++
			} else {
				out.Splits[row.Split]++
			}
			return enc.Encode(row)
		})
	})
}
