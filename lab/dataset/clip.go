package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// Span of a clip in its audio file, in seconds. End 0 = to the end of the file.
type Span struct {
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

// Clip is one line of clips.jsonl: a piece of audio and what its collection says about it.
type Clip struct {
	// ID is COLLECTION/NAME, once in a set.
	ID      string `json:"id"`
	Dataset string `json:"dataset"`
	// Track and Artist tell what must not be torn apart by a split; Artist may be empty.
	Track  string `json:"track"`
	Artist string `json:"artist,omitempty"`
	// Audio is a file, relative to the set's folder or absolute. It is named also where it is Missing.
	Audio string `json:"audio"`
	Span  Span   `json:"span"`
	// Licence of the audio, as the collection states it.
	Licence string `json:"licence"`
	// Split is that of the collection: train, validation, test, or empty where it has none.
	Split string `json:"split,omitempty"`
	// Missing is why the audio cannot be had; empty = it is there.
	Missing string `json:"missing,omitempty"`
	// Labels are what the collection says, in one spelling for all collections.
	Labels facts.Labels `json:"labels"`
	// Source are the collection's own fields, untouched.
	Source json.RawMessage `json:"source,omitempty"`
}

// check refuses a clip that later steps could not work with.
func (c Clip) check() error {
	switch {
	case c.ID == "" || c.Dataset == "" || c.Track == "":
		return errors.New("id, dataset and track are needed")
	case c.Licence == "":
		return fmt.Errorf("clip %s has no licence", c.ID)
	case c.Span.Start < 0 || c.Span.End != 0 && c.Span.End <= c.Span.Start:
		return fmt.Errorf("clip %s has the span %g to %g s", c.ID, c.Span.Start, c.Span.End)
	case c.Audio == "" && c.Missing == "":
		return fmt.Errorf("clip %s has no audio and no reason for it", c.ID)
	}
	return nil
}

// Path is where a clip's audio lies.
func (s *Set) Path(c Clip) string {
	path := filepath.FromSlash(strings.TrimPrefix(c.Audio, "file://"))
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.Dir, path)
}
