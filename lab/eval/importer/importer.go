// Package importer makes sets for lark eval out of public collections, each in the form in which it is distributed. Audio is not copied: the set
// names the files where they lie.
package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
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
	*collect.Folder
	out   string
	clips []eval.Clip
	ids   map[string]bool
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
	folder, err := collect.Open(from)
	if err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	c := &collection{Folder: folder, ids: map[string]bool{}}
	if c.out, err = filepath.Abs(out); err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	if err := run(c); err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	if len(c.clips) == 0 {
		return Result{Skipped: c.Skipped, Example: c.Example}, fmt.Errorf("importing %s: no clip with audio was found in %s (%s)", name, from, c.Reasons())
	}
	if err := c.write(); err != nil {
		return Result{}, fmt.Errorf("importing %s: %w", name, err)
	}
	return Result{Clips: len(c.clips), Skipped: c.Skipped, Example: c.Example}, nil
}

// Reasons says what was left out, in a line.
func (r Result) Reasons() string { return collect.Reasons(r.Skipped, r.Example) }

// add adds a clip if its audio is there.
func (c *collection) add(id, path string, labels eval.Labels) {
	fault := collect.AudioFault(path)
	if fault == "" && c.ids[id] {
		fault = collect.Twice
	}
	if fault != "" {
		c.Skip(fault, id)
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
