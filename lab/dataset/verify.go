package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/check"
	"github.com/larkstream/larkstream/shared/cache"
)

// Verified is what was compared, and what is wrong.
type Verified struct {
	Clips  int `json:"clips"`
	Pairs  int `json:"pairs"`
	Frames int `json:"frames"`
	// Faults are the first mostFaults; FaultCount counts all.
	Faults     []string `json:"faults"`
	FaultCount int      `json:"fault_count"`
}

const mostFaults = 20

func (v *Verified) fault(format string, args ...any) {
	if v.FaultCount++; len(v.Faults) < mostFaults {
		v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
	}
}

// VerifyConfig names what lies elsewhere.
type VerifyConfig struct {
	// Store is where frames lie, as Encode was told. Export is the folder of an export; empty = none is compared.
	Store, Export string
}

// Verify reads a whole set and reconciles it: every step has one row a clip, every accepted pair is still true by the checks, frames are where they should be, no
// track, artist or audio is in two splits, and an export's files are those of its manifest.
func Verify(ctx context.Context, s *Set, cfg VerifyConfig) (v Verified, err error) {
	store, err := s.openStore(ctx, cfg.Store)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	owner := map[string]string{} // what must not be torn apart -> its split
	for _, name := range s.Names {
		if err := s.verifySteps(name, &v); err != nil {
			return v, err
		}
		if err := s.verifyPairs(name, &v); err != nil {
			return v, err
		}
		if err := s.verifyFrames(ctx, name, store, &v); err != nil {
			return v, err
		}
		if err := s.verifySplits(name, owner, &v); err != nil {
			return v, err
		}
	}
	if cfg.Export != "" {
		err = verifyExport(cfg.Export, &v)
	}
	return v, err
}

// verifySteps compares the rows of every step with the clips.
func (s *Set) verifySteps(name string, v *Verified) error {
	steps, err := s.pairSteps(name)
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for c, err := range s.Clips(name) {
		if err == nil {
			err = c.check()
		}
		if err != nil {
			v.fault("%s: %v", name, err)
			break
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(c.ID)) // never fails
		if seen[h.Sum64()] {
			v.fault("%s: clip %s is there twice", name, c.ID)
		}
		seen[h.Sum64()] = true
		v.Clips++
	}
	for _, step := range append(steps, stepAnnotate, stepFrames, stepSplit) {
		if !s.has(name, step) {
			continue
		}
		if _, err := os.Stat(s.path(name, step+oldSuffix+".jsonl")); err == nil {
			v.fault("%s: a retry of %s was stopped: run it again", name, step)
		}
		s.verifyRows(name, step, v)
	}
	left, err := filepath.Glob(s.path(name, "*.*-of-*.jsonl"))
	for _, f := range left {
		v.fault("%s: %s is a part that was not taken over: run the step again, without --part", name, filepath.Base(f))
	}
	return err
}

func (s *Set) verifyRows(name, step string, v *Verified) {
	next, stop := iter.Pull2(rows[outcome](s.path(name, step+".jsonl")))
	defer stop()
	for c, err := range s.Clips(name) {
		if err != nil {
			return // a fault already
		}
		row, err := follow(next, c.ID)
		switch {
		case err != nil:
			v.fault("%s, %s: %v", name, step, err)
			return
		case row == nil:
			v.fault("%s, %s: it ends before clip %s: run it again", name, step, c.ID)
			return
		}
	}
	if row, err, more := next(); more {
		v.fault("%s, %s: behind the last clip stands %s %v", name, step, row.Clip, err)
	}
}

// verifyPairs checks accepted pairs again.
func (s *Set) verifyPairs(name string, v *Verified) error {
	steps, err := s.pairSteps(name)
	if err != nil || !s.has(name, stepAnnotate) {
		return err
	}
	for _, step := range steps {
		pairs := besideOf[pairRow](s, name, step)
		for k, err := range s.knowns(name) {
			var row pairRow
			if err == nil {
				row, err = pairs.of(k.clip.ID)
			}
			if err != nil {
				break // a fault already
			}
			for _, p := range row.Pairs {
				if p.Rejected != nil {
					continue
				}
				v.Pairs++
				if f := check.Pair(k.check, p.Question, p.Answer, nil); f.Found() {
					v.fault("%s, %s: an accepted pair of clip %s is not true: %s %s", name, step, k.clip.ID, f.Kind, f.Detail)
				}
			}
		}
		pairs.stop()
	}
	return nil
}

func (s *Set) verifyFrames(ctx context.Context, name string, store *frameStore, v *Verified) error {
	if !s.has(name, stepFrames) {
		return nil
	}
	for f, err := range rows[framesRow](s.path(name, stepFrames+".jsonl")) {
		if err != nil {
			return nil //nolint:nilerr // a fault already
		}
		if f.State != stateDone {
			continue
		}
		v.Frames++
		_, err := store.Shape(ctx, f.Key, cache.Shape{Rows: f.Rows, Cols: f.Cols})
		if errors.Is(err, cache.ErrMiss) {
			v.fault("%s: the frames of clip %s are gone: run lark dataset encode --anew", name, f.Clip)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) verifySplits(name string, owner map[string]string, v *Verified) error {
	if !s.has(name, stepSplit) {
		return nil
	}
	splits := besideOf[splitRow](s, name, stepSplit)
	defer splits.stop()
	err := s.besideClips(name, func(c Clip, f framesRow) error {
		row, err := splits.of(c.ID)
		if err != nil || row.Split == "" {
			return err
		}
		for _, thing := range []string{trackOf(c), "a|" + c.Dataset + "|" + strings.ToLower(c.Artist), "w|" + f.Window} {
			if strings.HasSuffix(thing, "|") {
				continue
			}
			if other, ok := owner[thing]; ok && other != row.Split {
				v.fault("%s: clip %s is in split %s, and its track, artist or audio in %s too", name, c.ID, row.Split, other)
			}
			owner[thing] = row.Split
		}
		return nil
	})
	if err != nil {
		v.fault("%s: %v", name, err)
	}
	return nil
}

func verifyExport(dir string, v *Verified) error {
	raw, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return fmt.Errorf("%w: an export without its manifest is not whole, run it again", err)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("reading the export's manifest: %w", err)
	}
	for _, f := range m.Files {
		file, err := os.Open(filepath.Join(dir, filepath.Base(f.Name)))
		if err != nil {
			v.fault("export: %v", err)
			continue
		}
		h := sha256.New()
		_, err = io.Copy(h, file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
			v.fault("export: %s is not as the manifest has it", f.Name)
		}
	}
	return nil
}
