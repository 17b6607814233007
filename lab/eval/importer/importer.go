// Package importer makes sets for lark eval out of public collections, each in the form in which it is distributed. Audio is not copied: the set
// names the files where they lie.
package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/lab/eval"
)

// Result is what became of a collection.
type Result struct {
	Clips int
	// Skipped counts what was left out, by reason; Example is the first of each.
	Skipped map[string]int
	Example map[string]string
}

// collection is one import.
type collection struct {
	from, out string
	clips     []eval.Clip
	result    Result
	ids       map[string]bool
	audio     map[string]string // base name without ending, lower case -> path; made by index
}

var imports = map[string]func(*collection) error{
	"giantsteps-key":   giantstepsKey,
	"giantsteps-tempo": giantstepsTempo,
	"gtzan":            gtzan,
	"magnatagatune":    magnatagatune,
	"manifest":         manifest,
	"medleydb":         medleydb,
	"mtg-jamendo":      jamendo,
	"muchomusic":       muchomusic,
	"musiccaps":        musiccaps,
	"musicnet":         musicnet,
}

// Names are the collections that can be imported, sorted.
func Names() []string { return slices.Sorted(maps.Keys(imports)) }

// Import reads the collection that lies in from and writes out/set.jsonl, anew if it is there.
func Import(name, from, out string) (Result, error) {
	run, ok := imports[name]
	if !ok {
		return Result{}, fmt.Errorf("importing %.40q: it is no collection that can be imported; there are %s", name, strings.Join(Names(), ", "))
	}
	c := &collection{ids: map[string]bool{}, result: Result{Skipped: map[string]int{}, Example: map[string]string{}}}
	var err error
	if c.from, err = filepath.Abs(from); err == nil {
		c.out, err = filepath.Abs(out)
	}
	if err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	if info, err := os.Stat(c.from); err != nil || !info.IsDir() {
		return Result{}, fmt.Errorf("importing %s: %s is no folder: --from names the folder into which the collection was unpacked", name, from)
	}
	if err := run(c); err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	if len(c.clips) == 0 {
		return c.result, fmt.Errorf("importing %s: no clip with audio was found in %s (%s)", name, from, c.result.Reasons())
	}
	if err := c.write(); err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	c.result.Clips = len(c.clips)
	return c.result, nil
}

// Reasons says what was left out, in a line.
func (r Result) Reasons() string {
	if len(r.Skipped) == 0 {
		return "nothing was left out"
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(r.Skipped)) {
		parts = append(parts, fmt.Sprintf("%d %s, the first %s", r.Skipped[reason], reason, r.Example[reason]))
	}
	return "left out: " + strings.Join(parts, "; ")
}

// Reasons for leaving a row out.
const (
	noAudio  = "without an audio file"
	emptyID  = "named twice"
	noLabel  = "without a label that can be used"
	badRow   = "rows that cannot be read"
	badAudio = "with an empty audio file"
)

func (c *collection) skip(reason, what string) {
	if c.result.Skipped[reason]++; c.result.Skipped[reason] == 1 {
		c.result.Example[reason] = what
	}
}

// add adds a clip if its audio is there.
func (c *collection) add(id, path string, labels eval.Labels) {
	info, err := os.Stat(path)
	switch {
	case path == "" || err != nil || info.IsDir():
		c.skip(noAudio, id)
		return
	case info.Size() == 0:
		c.skip(badAudio, id)
		return
	case c.ids[id]:
		c.skip(emptyID, id)
		return
	}
	audio := path
	if rel, err := filepath.Rel(c.out, path); err == nil {
		audio = filepath.ToSlash(rel)
	}
	c.ids[id] = true
	c.clips = append(c.clips, eval.Clip{ID: id, Audio: audio, Labels: labels})
}

// write writes the set whole or not at all.
func (c *collection) write() (err error) {
	if err := os.MkdirAll(c.out, 0o750); err != nil {
		return err
	}
	file, err := os.CreateTemp(c.out, ".set-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, clip := range c.clips {
		if err = enc.Encode(clip); err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Flush(), file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(c.out, eval.SetFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// path joins parts under the collection's folder. It refuses parts that lead out of it: a list may come from anywhere.
func (c *collection) path(parts ...string) string {
	p := filepath.Join(append([]string{c.from}, parts...)...)
	if p != c.from && !strings.HasPrefix(p, c.from+string(filepath.Separator)) {
		return ""
	}
	return p
}

// first is the first of several places that is there; "" = none.
func (c *collection) first(names ...string) string {
	for _, n := range names {
		if p := c.path(filepath.FromSlash(n)); p != "" {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return ""
}

// need is first, or an error that names the places.
func (c *collection) need(names ...string) (string, error) {
	if p := c.first(names...); p != "" {
		return p, nil
	}
	return "", fmt.Errorf("%s holds none of %s", c.from, strings.Join(names, ", "))
}

var endings = []string{".wav", ".mp3", ".flac", ".au", ".ogg", ".m4a"}

// maxFiles bounds how many files a collection is searched for.
const maxFiles = 2_000_000

// indexed is the audio file of a base name without its ending, wherever it lies in the collection; "" = none.
func (c *collection) indexed(name string) (string, error) {
	if c.audio == nil {
		c.audio = map[string]string{}
		err := filepath.WalkDir(c.from, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
				return err
			}
			ending := filepath.Ext(path)
			if !slices.Contains(endings, strings.ToLower(ending)) {
				return nil
			}
			if len(c.audio) > maxFiles {
				return fmt.Errorf("%s holds more than %d audio files", c.from, maxFiles)
			}
			c.audio[strings.TrimSuffix(d.Name(), ending)] = path
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return c.audio[name], nil
}

// plain text files in a folder, by name.
func files(dir, ending string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ending) && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
