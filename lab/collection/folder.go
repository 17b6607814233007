// Package collection reads public collections of music as they are distributed: tables, lists and audio files in a folder that is somebody else's.
package collection

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is a collection's folder and the count of what in it could not be used. It is not safe for concurrent use.
type Folder struct {
	// From is the folder, absolute.
	From string
	// Skipped counts what was left out, by reason; Example is the first of each.
	Skipped map[string]int
	Example map[string]string

	audio map[string]string // base name without ending -> path; made by Indexed
}

// Open checks that the folder is there.
func Open(from string) (*Folder, error) {
	path, err := filepath.Abs(from)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: --from names the folder into which the collection was unpacked", from)
	}
	return &Folder{From: path, Skipped: map[string]int{}, Example: map[string]string{}}, nil
}

// Reasons for leaving a row out.
const (
	NoAudio  = "without an audio file"
	Twice    = "named twice"
	NoLabel  = "without a label that can be used"
	BadRow   = "rows that cannot be read"
	BadAudio = "with an empty audio file"
)

// Skip counts something that is left out.
func (f *Folder) Skip(reason, what string) {
	if f.Skipped[reason]++; f.Skipped[reason] == 1 {
		f.Example[reason] = what
	}
}

// Reasons says what was left out, in a line.
func (f *Folder) Reasons() string { return Reasons(f.Skipped, f.Example) }

// Reasons says what was left out, in a line.
func Reasons(skipped map[string]int, example map[string]string) string {
	if len(skipped) == 0 {
		return "nothing was left out"
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(skipped)) {
		parts = append(parts, fmt.Sprintf("%d %s, the first %s", skipped[reason], reason, example[reason]))
	}
	return "left out: " + strings.Join(parts, "; ")
}

// AudioFault is why a file cannot be a clip's audio, NoAudio or BadAudio; "" = it can.
func AudioFault(path string) string {
	info, err := os.Stat(path)
	switch {
	case path == "" || err != nil || info.IsDir():
		return NoAudio
	case info.Size() == 0:
		return BadAudio
	}
	return ""
}

// Path joins parts under the collection's folder. It refuses parts that lead out of it: a list may come from anywhere.
func (f *Folder) Path(parts ...string) string {
	p := filepath.Join(append([]string{f.From}, parts...)...)
	if p != f.From && !strings.HasPrefix(p, f.From+string(filepath.Separator)) {
		return ""
	}
	return p
}

// First is the first of several places that is there; "" = none.
func (f *Folder) First(names ...string) string {
	for _, n := range names {
		if p := f.Path(filepath.FromSlash(n)); p != "" {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return ""
}

// Need is First, or an error that names the places.
func (f *Folder) Need(names ...string) (string, error) {
	if p := f.First(names...); p != "" {
		return p, nil
	}
	return "", fmt.Errorf("%s holds none of %s", f.From, strings.Join(names, ", "))
}

// Endings are those of audio files.
var Endings = []string{".wav", ".mp3", ".flac", ".au", ".ogg", ".m4a"}

// maxFiles bounds how many files a collection is searched for.
const maxFiles = 2_000_000

// Indexed is the audio file of a base name without its ending, wherever it lies in the collection; "" = none.
func (f *Folder) Indexed(name string) (string, error) {
	if f.audio == nil {
		f.audio = map[string]string{}
		err := filepath.WalkDir(f.From, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
				return err
			}
			ending := filepath.Ext(path)
			if !slices.Contains(Endings, strings.ToLower(ending)) {
				return nil
			}
			if len(f.audio) > maxFiles {
				return fmt.Errorf("%s holds more than %d audio files", f.From, maxFiles)
			}
			f.audio[strings.TrimSuffix(d.Name(), ending)] = path
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return f.audio[name], nil
}

// Files are the names of the files in a folder that end so, sorted.
func Files(dir, ending string) ([]string, error) {
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
