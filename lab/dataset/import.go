package dataset

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
)

const (
	// heardS is how much of a clip LLark's annotations and encoder take, in seconds.
	heardS = 25.0
	// chunkS is how far apart clips of one track are: LLark cuts 30 s and keeps 25.
	chunkS = 30.0
	// longS is the length from which a track is heard from its second 30 on, but for a share of earlyShare.
	longS = 60.0
	// earlyShare of long training tracks is heard from the beginning (crop_audio.py of the release: 0.2 in training, 0 in evaluation).
	earlyShare = 0.2
)

// source is one import under way.
type source struct {
	*collect.Folder
	name, out string
	seed      uint64
	ids       map[uint64]bool
	emit      func(Clip) error
	result    ImportResult
}

// ImportResult is what became of a collection.
type ImportResult struct {
	Clips   int `json:"clips"`
	Missing int `json:"missing"`
	// Skipped counts rows that are no clip, by reason; Example is the first of each.
	Skipped map[string]int    `json:"skipped"`
	Example map[string]string `json:"example"`
}

// Reasons says what was left out, in a line.
func (r ImportResult) Reasons() string { return collect.Reasons(r.Skipped, r.Example) }

var sources = map[string]func(*source) error{
	"fma":           fma,
	"magnatagatune": magnatagatune,
	"mtg-jamendo":   jamendo,
	"musiccaps":     musiccaps,
	"musicnet":      musicnet,
	"synthetic":     synthetic,
	"youtube8m-mtc": youtube8m,
	"folder":        folder,
}

// Collections are the names that Import knows, sorted.
func Collections() []string { return slices.Sorted(maps.Keys(sources)) }

// Import reads a collection as it is distributed and writes its clips into the set at out, anew if they are there. Audio is not copied. A row whose audio
// cannot be had is a clip with the reason; a row that is no clip is counted. The seed decides which long tracks are heard from the beginning.
func Import(name, from, out string, seed uint64) (result ImportResult, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("importing %.40s: %w", name, err)
		}
	}()
	run, ok := sources[name]
	if !ok {
		return result, fmt.Errorf("it is no collection that can be imported; there are %s", strings.Join(Collections(), ", "))
	}
	s := &source{name: name, seed: seed, ids: map[uint64]bool{}}
	if s.Folder, err = collect.Open(from); err != nil {
		return result, err
	}
	if s.out, err = filepath.Abs(out); err != nil {
		return result, err
	}
	s.result = ImportResult{Skipped: s.Skipped, Example: s.Example}
	path := filepath.Join(s.out, name, clipsFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return result, err
	}
	err = writeWhole(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		s.emit = func(c Clip) error { return enc.Encode(c) }
		if err := run(s); err != nil {
			return err
		}
		if s.result.Clips == 0 {
			return fmt.Errorf("%s holds no clip (%s)", from, s.Reasons())
		}
		return nil
	})
	if err != nil {
		_ = os.Remove(filepath.Dir(path)) // only if nothing lies in it
		return s.result, err
	}
	return s.result, nil
}

// add writes a clip. Its audio is looked for here, so that no collection forgets to.
func (s *source) add(c Clip) error {
	c.Dataset, c.ID = s.name, s.name+"/"+c.ID
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.ID)) // never fails
	if s.ids[h.Sum64()] {
		s.Skip(collect.Twice, c.ID)
		return nil
	}
	s.ids[h.Sum64()] = true
	if c.Missing == "" {
		c.Missing = s.missing(c.Audio)
	}
	if c.Audio != "" {
		if rel, err := filepath.Rel(s.out, c.Audio); err == nil {
			c.Audio = filepath.ToSlash(rel)
		}
	}
	if err := c.check(); err != nil {
		s.Skip(collect.BadRow, err.Error())
		return nil
	}
	s.result.Clips++
	if c.Missing != "" {
		s.result.Missing++
	}
	return s.emit(c)
}

// missing is why audio cannot be had.
func (s *source) missing(path string) string {
	switch collect.AudioFault(path) {
	case collect.NoAudio:
		return "the audio is not in the collection's folder: it was not fetched, or cannot be had any more"
	case collect.BadAudio:
		return "the audio file is empty"
	}
	return ""
}

// crop is LLark's rule: the first 25 s of a track below 60 s, and of a share of longer training tracks; else seconds 30 to 55. Seconds 0 = unknown: the beginning.
func (s *source) crop(id, split string, seconds float64) Span {
	start := 0.0
	if seconds >= longS && (split == splitTest || share(s.seed, s.name, id) >= earlyShare) {
		start = chunkS
	}
	end := start + heardS
	if seconds > 0 {
		end = min(end, seconds)
	}
	return Span{start, end}
}

// share is a number from 0 to 1 that depends on the parts alone.
func share(seed uint64, parts ...string) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed)
	for _, p := range parts {
		fmt.Fprintf(h, "|%d:%s", len(p), p)
	}
	// FNV's upper bits depend little on the last bytes: mix them (the finaliser of SplitMix64).
	z := h.Sum64()
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// Splits.
const (
	splitTrain      = "train"
	splitValidation = "validation"
	splitTest       = "test"
)

// untouched is a table's row as JSON, without its empty fields.
func untouched(r collect.Row) json.RawMessage {
	fields := r.Fields()
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	raw, err := json.Marshal(fields)
	if err != nil { // strings always marshal
		return nil
	}
	return raw
}
