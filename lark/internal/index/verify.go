package index

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

// Verification tells what a reconciliation has found.
type Verification struct {
	Run      string         `json:"run"`
	State    string         `json:"state"`
	Items    int            `json:"items"`
	States   map[string]int `json:"states"`
	Outcomes int            `json:"outcomes"`
	// Differences are all in words, the first 1,000 of them; DifferenceCount counts all.
	Differences     []string `json:"differences"`
	DifferenceCount int      `json:"difference_count"`
}

const maxDifferences = 1000

func (v *Verification) differs(format string, args ...any) {
	if v.DifferenceCount++; len(v.Differences) < maxDifferences {
		v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
	}
}

// Verify reconciles a run's counters with its items, its items with their outcomes, the items with a source if src is not nil, and all with an export if
// dir is not empty.
func Verify(ctx context.Context, gw *client.Client, run client.Run, src *Source, dir string) (Verification, error) {
	v := Verification{Run: run.ID, State: run.State, Items: run.Items, States: make(map[string]int), Differences: []string{}}
	wanted, err := ids(ctx, src, &v)
	if err != nil {
		return v, err
	}
	items, windows := 0, 0
	err = EachItem(ctx, gw, run.ID, "", true, func(it client.RunItem) error {
		items++
		v.States[it.State]++
		v.Outcomes += len(it.Outcomes)
		checkOutcomes(&v, run, it)
		_, ws := rows(it)
		windows += len(ws)
		if wanted != nil {
			if !wanted[it.ID] {
				v.differs("item %q is in the run and not in the source", it.ID)
			}
			delete(wanted, it.ID)
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	for id := range wanted {
		v.differs("item %q is in the source and not in the run", id)
	}
	if items != run.Items {
		v.differs("the run counts %d items and has %d", run.Items, items)
	}
	c := run.Counts
	for state, n := range map[string]int{
		"pending": c.Pending, "running": c.Running, "succeeded": c.Succeeded, "partial": c.Partial, "failed": c.Failed, "cancelled": c.Cancelled, "skipped": c.Skipped,
	} {
		if v.States[state] != n {
			v.differs("the run counts %d items as %s and has %d", n, state, v.States[state])
		}
	}
	if client.RunTerminal(run.State) && c.Pending+c.Running > 0 {
		v.differs("the run has ended as %s with %d items pending and %d running", run.State, c.Pending, c.Running)
	}
	if dir != "" {
		return v, verifyExport(ctx, &v, run, dir, windows)
	}
	return v, nil
}

// ids are those of the source's items; nil for no source.
func ids(ctx context.Context, src *Source, v *Verification) (map[string]bool, error) {
	if src == nil {
		return nil, nil
	}
	wanted := make(map[string]bool)
	_, err := src.Read(ctx, func(it client.NewItem) error {
		wanted[it.ID] = true
		return nil
	}, func(b Bad) { v.differs("line %d of the source is no item: %s", b.Line, b.Reason) })
	return wanted, err
}

// checkOutcomes demands one outcome for each question of each window of an item that has ended with a job.
func checkOutcomes(v *Verification, run client.Run, it client.RunItem) {
	seen := make(map[string]bool, len(it.Outcomes))
	answered := 0
	for _, o := range it.Outcomes {
		if seen[o.ID] {
			v.differs("item %q has outcome %s twice", it.ID, o.ID)
		}
		seen[o.ID] = true
		if o.State == "answered" {
			answered++
		}
	}
	switch it.State {
	case client.StateSucceeded, client.StatePartial:
		if n := it.Windows * len(run.Asked.Questions); n != len(it.Outcomes) {
			v.differs("item %q has %d outcomes of %d", it.ID, len(it.Outcomes), n)
		}
		if it.State == client.StateSucceeded && answered != len(it.Outcomes) {
			v.differs("item %q has succeeded with %d of %d outcomes answered", it.ID, answered, len(it.Outcomes))
		}
	case client.StateFailed:
		if it.Code == "" {
			v.differs("item %q has failed without a reason", it.ID)
		}
	}
}

// verifyExport compares the files of an export with its manifest, and the manifest with the run.
func verifyExport(ctx context.Context, v *Verification, run client.Run, dir string, windows int) error {
	from, err := openTarget(dir)
	if err != nil {
		return err
	}
	defer func() { _ = from.close() }() // only read
	m, err := readManifest(ctx, from)
	if errors.Is(err, fs.ErrNotExist) {
		v.differs("%s has no %s: the export was not finished", Place(dir), ManifestName)
		return nil
	}
	if err != nil {
		v.differs("reading %s: %v", ManifestName, err)
		return nil
	}
	if m.Run != run.ID {
		v.differs("the export is of run %s", m.Run)
	}
	rows, leftOut := make(map[string]int), 0
	for _, p := range m.Parts {
		rows[p.Table] += p.Rows
		if sum, n, err := sumOf(ctx, from, filepath.Base(p.File)); err != nil {
			v.differs("reading %s: %v", p.File, err)
		} else if sum != p.SHA256 || n != p.Bytes {
			v.differs("%s is not what was exported: it has another digest or size", p.File)
		}
	}
	for _, n := range m.LeftOut {
		leftOut += n
	}
	if rows["tracks"]+leftOut != run.Items {
		v.differs("the export has %d tracks and has left out %d, the run has %d items", rows["tracks"], leftOut, run.Items)
	}
	if formats[m.Format].windows != nil && rows["windows"] != windows {
		v.differs("the export has %d rows of windows, the run %d outcomes of windows", rows["windows"], windows)
	}
	for state, n := range v.States {
		if m.States[state] != n {
			v.differs("the export has %d items as %s, the run %d", m.States[state], state, n)
		}
	}
	return nil
}

// maxManifest bounds a manifest in bytes: some 100,000 files.
const maxManifest = 32 << 20

func readManifest(ctx context.Context, from target) (m Manifest, err error) {
	f, err := from.open(ctx, ManifestName)
	if err != nil {
		return m, err
	}
	defer func() { _ = f.Close() }() // only read
	return m, json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m)
}

// Place is the place of an export without its parameters, which may hold credentials.
func Place(dir string) string {
	if isBucket(dir) {
		dir, _, _ = strings.Cut(dir, "?")
	}
	return dir
}

func sumOf(ctx context.Context, from target, name string) (string, int64, error) {
	f, err := from.open(ctx, name)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), n, err
}
