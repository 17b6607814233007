package eval

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/lab/engines"
)

// defaultQuestions are wordings that lark-nano's training kept back (training/nano/questions.py, split test).
//
//go:embed questions.json
var defaultQuestions []byte

// Config says what to measure.
type Config struct {
	// Data is a manifest, or the folder that holds manifest.jsonl.
	Data     string
	ModelDir string
	// Questions is a JSON file of wordings by kind; empty = wordings held back from lark-nano's training.
	Questions string
	// Limit measures only the first clips; 0 = all.
	Limit int
	// Progress is told how many clips are done. Optional; called from several goroutines, one at a time.
	Progress func(done, of int)
	// Answers takes one JSON line per clip with its label and answers. Optional.
	Answers io.Writer
}

const (
	maxManifestLine = 1 << 20
	maxQuestions    = 1 << 20
)

// Run asks about every clip and scores the answers. Each clip gets one wording of every kind of question, by its number, so
// that a run can be repeated.
func Run(ctx context.Context, cfg Config) (Report, error) {
	labels, dir, err := readManifest(cfg.Data, cfg.Limit)
	if err != nil {
		return Report{}, err
	}
	wordings, err := readQuestions(cfg.Questions)
	if err != nil {
		return Report{}, err
	}
	set, err := engines.Open(ctx, cfg.ModelDir)
	if err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, dir: dir, set: set, wordings: wordings, labels: labels, answers: make([]Answers, len(labels))}
	if err := errors.Join(r.clips(ctx), set.Close()); err != nil {
		return Report{}, err
	}
	if err := r.writeAnswers(); err != nil {
		return Report{}, err
	}
	return Report{
		Model: set.Bundle.DisplayName(), Digest: set.Bundle.Digest, Clips: len(labels), Scores: Summarise(labels, r.answers),
	}, nil
}

// readManifest reads labels; files are relative to the returned folder.
func readManifest(path string, limit int) ([]Label, string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "manifest.jsonl")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("opening manifest: %w", err)
	}
	defer file.Close()
	var labels []Label
	scan := bufio.NewScanner(file)
	scan.Buffer(make([]byte, 4096), maxManifestLine)
	for line := 1; scan.Scan() && (limit <= 0 || len(labels) < limit); line++ {
		if len(bytes.TrimSpace(scan.Bytes())) == 0 {
			continue
		}
		var l Label
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, "", fmt.Errorf("reading line %d of %s: %w", line, path, err)
		}
		if err := l.check(); err != nil {
			return nil, "", fmt.Errorf("reading line %d of %s: %w", line, path, err)
		}
		labels = append(labels, l)
	}
	if err := scan.Err(); err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", path, err)
	}
	if len(labels) == 0 {
		return nil, "", fmt.Errorf("reading %s: it names no clip", path)
	}
	return labels, filepath.Dir(path), nil
}

// check refuses a label that no answer could match.
func (l Label) check() error {
	_, known := pitchClass[l.Key]
	switch {
	case l.File == "":
		return errors.New("file is missing")
	case l.TempoBPM <= 0:
		return fmt.Errorf("tempo_bpm %g is not above 0", l.TempoBPM)
	case !known || l.Mode != "major" && l.Mode != "minor":
		return fmt.Errorf("key %q %q is not known", l.Key, l.Mode)
	case l.Metre != "3/4" && l.Metre != "4/4":
		return fmt.Errorf("metre %q is not 3/4 or 4/4", l.Metre)
	}
	for _, f := range l.Families {
		if !slices.Contains(Families(), f) {
			return fmt.Errorf("instrument family %q is not known", f)
		}
	}
	return nil
}

func readQuestions(path string) (map[string][]string, error) {
	raw := defaultQuestions
	if path != "" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("opening questions: %w", err)
		}
		defer file.Close()
		if raw, err = io.ReadAll(io.LimitReader(file, maxQuestions)); err != nil {
			return nil, fmt.Errorf("reading questions: %w", err)
		}
	}
	var wordings map[string][]string
	if err := json.Unmarshal(raw, &wordings); err != nil {
		return nil, fmt.Errorf("reading questions: %w", err)
	}
	for _, kind := range Kinds() {
		if len(wordings[kind]) == 0 {
			return nil, fmt.Errorf("reading questions: none of kind %s", kind)
		}
	}
	return wordings, nil
}

// run is one evaluation.
type run struct {
	cfg      Config
	dir      string
	set      *engines.Set
	wordings map[string][]string
	labels   []Label
	answers  []Answers
}

func (r *run) clips(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	done := make(chan struct{}, len(r.labels))
	for i := range r.labels {
		work.Go(func() (err error) {
			r.answers[i], err = r.clip(ctx, i)
			done <- struct{}{}
			return err
		})
		r.report(done)
	}
	err := work.Wait()
	r.report(done)
	return err
}

// report tells how many clips have ended; it is only called from one goroutine.
func (r *run) report(done chan struct{}) {
	if r.cfg.Progress != nil {
		r.cfg.Progress(len(done), len(r.labels))
	}
}

// clip asks every kind of question about one clip.
func (r *run) clip(ctx context.Context, i int) (Answers, error) {
	path := r.labels[i].File
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir, path)
	}
	var questions []string
	for _, kind := range Kinds() {
		questions = append(questions, r.wordings[kind][i%len(r.wordings[kind])])
	}
	answers := Answers{}
	_, err := r.set.Cut(ctx, path, plan.Auto, func(w cut.FileWindow) error {
		prompt, err := r.set.Prompt(ctx, w.PCM)
		if err != nil {
			return err
		}
		results, err := r.set.Answer(ctx, prompt, questions)
		for k, res := range results {
			answers[Kinds()[k]] = res.Text
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking about %s: %w", r.labels[i].File, err)
	}
	return answers, nil
}

func (r *run) writeAnswers() error {
	if r.cfg.Answers == nil {
		return nil
	}
	enc := json.NewEncoder(r.cfg.Answers)
	for i, l := range r.labels {
		if err := enc.Encode(map[string]any{"label": l, "answers": r.answers[i]}); err != nil {
			return fmt.Errorf("writing answers: %w", err)
		}
	}
	return nil
}
