package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// SetFile is the name of the file that lists a set's clips, one JSON object a line.
const SetFile = "set.jsonl"

// Limits of a set.
const (
	maxLine      = 1 << 20
	maxClips     = 200_000
	maxText      = 16 << 10
	maxChoices   = 200
	maxQuestions = 64
	maxFaults    = 10
)

// Clip is one line of a set.
type Clip struct {
	ID string `json:"id"`
	// Audio is a file, relative to the set's folder or absolute.
	Audio  string `json:"audio"`
	Labels Labels `json:"labels"`
}

// Labels are what is true of a clip; any may be missing, and only the tasks that need no other label ask about the clip.
type Labels struct {
	// TempoBPM is in beats a minute.
	TempoBPM float64 `json:"tempo_bpm,omitempty"`
	// Key as "Eb minor".
	Key string `json:"key,omitempty"`
	// Metre as "3/4".
	Metre string `json:"metre,omitempty"`
	// Instruments by name or family; nil = not labelled, empty = none.
	Instruments *[]string `json:"instruments,omitempty"`
	Drums       *bool     `json:"drums,omitempty"`
	Genre       string    `json:"genre,omitempty"`
	// GenreChoices are the labels out of which an answer is matched; without them, all genres of the set.
	GenreChoices []string `json:"genre_choices,omitempty"`
	Caption      string   `json:"caption,omitempty"`
	// Captions are further references.
	Captions []string `json:"captions,omitempty"`
	// Unanswerable asks a question that no audio answers.
	Unanswerable bool `json:"unanswerable,omitempty"`
	// MultipleChoice are questions in MuChoMusic's form.
	MultipleChoice []Choice `json:"multiple_choice,omitempty"`
}

// Choice is a question with options; Answer is the right option's text.
type Choice struct {
	Question string   `json:"question"`
	Choices  []string `json:"choices"`
	Answer   string   `json:"answer"`
}

// References are all captions.
func (l Labels) References() []string {
	if l.Caption == "" {
		return l.Captions
	}
	return append([]string{l.Caption}, l.Captions...)
}

// Set is a folder of labelled clips.
type Set struct {
	Dir   string
	Clips []Clip
	// Ignored are names of labels that the harness does not know, each once.
	Ignored []string
}

// Path is where a clip's audio lies.
func (s *Set) Path(c Clip) string {
	if filepath.IsAbs(c.Audio) {
		return c.Audio
	}
	return filepath.Join(s.Dir, filepath.FromSlash(c.Audio))
}

// ReadSet reads dir/set.jsonl, or the first limit clips of it (0 = all), and looks for their audio. The error names up to ten faults with their
// lines.
func ReadSet(dir string, limit int) (*Set, error) {
	path := filepath.Join(dir, SetFile)
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading set: %s is not there: --set names a folder that holds %s, and lark eval import makes one of a public set", path, SetFile)
	}
	if err != nil {
		return nil, fmt.Errorf("reading set: %w", err)
	}
	defer file.Close()
	s := &Set{Dir: dir}
	faults, err := s.read(file, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for i, f := range faults {
		faults[i] = fmt.Errorf("%s, %w", path, f)
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("reading set: %w", errors.Join(faults...))
	}
	if len(s.Clips) == 0 {
		return nil, fmt.Errorf("reading set: %s names no clip", path)
	}
	return s, nil
}

// read adds the lines' clips and returns the first faults.
func (s *Set) read(from io.Reader, limit int) (faults []error, err error) {
	scan := bufio.NewScanner(from)
	scan.Buffer(make([]byte, 4096), maxLine)
	seen := map[string]int{}
	line := 0
	for scan.Scan() && (limit <= 0 || len(s.Clips) < limit) {
		line++
		raw := bytes.TrimSpace(bytes.TrimPrefix(scan.Bytes(), []byte("\ufeff")))
		if len(raw) == 0 {
			continue
		}
		c, err := s.parse(raw)
		if err == nil {
			if first, twice := seen[c.ID]; twice {
				err = fmt.Errorf("id %q is that of line %d already", c.ID, first)
			}
			seen[c.ID] = line
		}
		if err != nil {
			if faults = append(faults, fmt.Errorf("line %d: %w", line, err)); len(faults) == maxFaults {
				return append(faults, errors.New("and perhaps more")), nil
			}
			continue
		}
		if s.Clips = append(s.Clips, c); len(s.Clips) > maxClips {
			return nil, fmt.Errorf("it has more than %d clips: split it", maxClips)
		}
	}
	if errors.Is(scan.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d is longer than %d bytes", line+1, maxLine)
	}
	return faults, scan.Err()
}

func (s *Set) parse(raw []byte) (Clip, error) {
	var c Clip
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("it is no JSON object of a clip: %w", err)
	}
	if err := c.check(); err != nil {
		return c, err
	}
	s.note(raw)
	info, err := os.Stat(s.Path(c))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return c, fmt.Errorf("audio %s is missing", s.Path(c))
	case err != nil:
		return c, fmt.Errorf("audio: %w", err)
	case info.IsDir() || info.Size() == 0:
		return c, fmt.Errorf("audio %s is empty or a folder", s.Path(c))
	}
	return c, nil
}

// known are the names of labels.
var known = []string{
	"tempo_bpm", "key", "metre", "instruments", "drums", "genre", "genre_choices", "caption", "captions", "unanswerable", "multiple_choice",
}

// note remembers labels that are not known: a misspelt one would otherwise silently leave its task without clips.
func (s *Set) note(raw []byte) {
	var names struct {
		Labels map[string]json.RawMessage `json:"labels"`
	}
	if json.Unmarshal(raw, &names) != nil {
		return
	}
	for name := range names.Labels {
		if !slices.Contains(known, name) && !slices.Contains(s.Ignored, name) && len(s.Ignored) < maxFaults {
			s.Ignored = append(s.Ignored, name)
			slices.Sort(s.Ignored)
		}
	}
}

var metrePattern = regexp.MustCompile(`^[0-9]{1,2}/[0-9]{1,2}$`)

// check refuses what no answer could match.
func (c Clip) check() error {
	l := c.Labels
	switch {
	case c.ID == "":
		return errors.New("id is missing")
	case c.Audio == "":
		return errors.New("audio is missing")
	case l.TempoBPM < 0 || l.TempoBPM > 1000 || math.IsNaN(l.TempoBPM):
		return fmt.Errorf("tempo_bpm %g is not within 0 to 1000", l.TempoBPM)
	case l.Key != "" && parseKeyLabel(l.Key) == "":
		return fmt.Errorf("key %.40q is not known: write it as Eb minor or F# major", l.Key)
	case l.Metre != "" && !metrePattern.MatchString(l.Metre):
		return fmt.Errorf("metre %.40q is not known: write it as 3/4", l.Metre)
	case len(l.GenreChoices) > maxChoices:
		return fmt.Errorf("genre_choices has %d entries, limit %d", len(l.GenreChoices), maxChoices)
	case l.Genre != "" && len(l.GenreChoices) > 0 && !slices.ContainsFunc(l.GenreChoices, func(g string) bool { return plain(g) == plain(l.Genre) }):
		return fmt.Errorf("genre %.40q is not among its genre_choices", l.Genre)
	case len(l.MultipleChoice) > maxQuestions:
		return fmt.Errorf("multiple_choice has %d questions, limit %d", len(l.MultipleChoice), maxQuestions)
	}
	for i, q := range l.MultipleChoice {
		if err := q.check(); err != nil {
			return fmt.Errorf("multiple_choice %d: %w", i+1, err)
		}
	}
	return nil
}

func (q Choice) check() error {
	switch {
	case strings.TrimSpace(q.Question) == "" || len(q.Question) > maxText:
		return fmt.Errorf("the question is empty or over %d bytes", maxText)
	case len(q.Choices) < 2 || len(q.Choices) > len(letters):
		return fmt.Errorf("it has %d choices, want 2 to %d", len(q.Choices), len(letters))
	case slices.ContainsFunc(q.Choices, func(c string) bool { return strings.TrimSpace(c) == "" }):
		return errors.New("one of its choices is empty")
	case !slices.Contains(q.Choices, q.Answer):
		return fmt.Errorf("the answer %.40q is not among the choices", q.Answer)
	}
	return nil
}

// CheckLabels refuses labels that no answer could match.
func CheckLabels(l Labels) error { return Clip{ID: "-", Audio: "-", Labels: l}.check() }
