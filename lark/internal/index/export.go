package index

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/larkstream/larkstream/gateway/client"
)

// Track is a row of tracks: one for each item of a run, also for those that failed.
type Track struct {
	Number    int64             `json:"number" parquet:"number"`
	ID        string            `json:"id" parquet:"id"`
	URI       string            `json:"uri" parquet:"uri"`
	State     string            `json:"state" parquet:"state,dict"`
	Code      string            `json:"code,omitempty" parquet:"code,dict"`
	Message   string            `json:"message,omitempty" parquet:"message"`
	Attempts  int64             `json:"attempts" parquet:"attempts"`
	SHA256    string            `json:"sha256,omitempty" parquet:"sha256"`
	Bytes     int64             `json:"bytes,omitempty" parquet:"bytes"`
	DurationS float64           `json:"duration_s,omitempty" parquet:"duration_s"`
	Windows   int64             `json:"windows,omitempty" parquet:"windows"`
	HeardS    float64           `json:"heard_s,omitempty" parquet:"heard_s"`
	Fields    map[string]string `json:"fields,omitempty" parquet:"fields"`
	// Of the whole track: combined, or those of the only window.
	Answers     []Answer  `json:"answers,omitempty" parquet:"answers,list"`
	TempoBPM    *int64    `json:"tempo_bpm,omitempty" parquet:"tempo_bpm,optional"`
	Key         *string   `json:"key,omitempty" parquet:"key,optional"`
	Mode        *string   `json:"mode,omitempty" parquet:"mode,optional"`
	Metre       *string   `json:"metre,omitempty" parquet:"metre,optional"`
	Genre       *string   `json:"genre,omitempty" parquet:"genre,optional"`
	Instruments []string  `json:"instruments,omitempty" parquet:"instruments,list"`
	Mood        []string  `json:"mood,omitempty" parquet:"mood,list"`
	Description *string   `json:"description,omitempty" parquet:"description,optional"`
	Model       string    `json:"model,omitempty" parquet:"model,dict"`
	ModelDigest string    `json:"model_digest,omitempty" parquet:"model_digest,dict"`
	JobID       string    `json:"job_id,omitempty" parquet:"job_id"`
	EndedAt     time.Time `json:"ended_at,omitzero" parquet:"ended_at,timestamp"`
}

// Answer is the answer to one question about a whole track.
type Answer struct {
	Question   string  `json:"question" parquet:"question,dict"`
	State      string  `json:"state" parquet:"state,dict"`
	Answer     string  `json:"answer,omitempty" parquet:"answer"`
	Error      string  `json:"error,omitempty" parquet:"error,dict"`
	Confidence float64 `json:"confidence,omitempty" parquet:"confidence"`
	// Rule says how the windows' answers were combined, "" for the only window's own; Share is the share of what was heard that stands behind it.
	Rule  string  `json:"rule,omitempty" parquet:"rule,dict"`
	Share float64 `json:"share,omitempty" parquet:"share"`
}

// WindowRow is a row of windows: one for each outcome about a window.
type WindowRow struct {
	ItemID   string  `json:"item_id" parquet:"item_id"`
	Window   int64   `json:"window" parquet:"window"`
	StartS   float64 `json:"start_s" parquet:"start_s"`
	EndS     float64 `json:"end_s" parquet:"end_s"`
	HeardS   float64 `json:"heard_s" parquet:"heard_s"`
	Question string  `json:"question" parquet:"question,dict"`
	State    string  `json:"state" parquet:"state,dict"`
	Answer   string  `json:"answer,omitempty" parquet:"answer"`
	Error    string  `json:"error,omitempty" parquet:"error,dict"`
	Cache    string  `json:"cache,omitempty" parquet:"cache,dict"`
	// Measured says what signal processing measures, Agrees whether the answer says the same; both are unset where nothing was compared.
	Measured    string    `json:"measured,omitempty" parquet:"measured"`
	Agrees      *bool     `json:"agrees,omitempty" parquet:"agrees,optional"`
	Confidence  float64   `json:"confidence,omitempty" parquet:"confidence"`
	OutcomeID   string    `json:"outcome_id" parquet:"outcome_id"`
	ModelDigest string    `json:"model_digest,omitempty" parquet:"model_digest,dict"`
	EndedAt     time.Time `json:"ended_at,omitzero" parquet:"ended_at,timestamp"`
}

// rows makes the rows of an item.
func rows(it client.RunItem) (Track, []WindowRow) {
	t := Track{
		Number: int64(it.Number), ID: it.ID, URI: it.URI, State: it.State, Code: it.Code, Message: it.Message, Attempts: int64(it.Attempts), SHA256: it.SHA256,
		Bytes: it.Bytes, DurationS: it.DurationS, Windows: int64(it.Windows), Fields: it.Fields, JobID: it.JobID,
	}
	if it.EndedAt != nil {
		t.EndedAt = *it.EndedAt
	}
	combined := slices.ContainsFunc(it.Outcomes, func(o client.Outcome) bool { return o.Combined != nil })
	heard := make(map[int]float64)
	var windows []WindowRow
	for _, o := range it.Outcomes {
		t.Model, t.ModelDigest = cmp.Or(t.Model, o.Model), cmp.Or(t.ModelDigest, o.ModelDigest)
		if o.Combined == nil {
			windows = append(windows, windowRow(it.ID, o))
			heard[o.Window.Index] = o.Window.HeardS
		}
		if (o.Combined != nil) == combined {
			t.take(o)
		}
	}
	for _, s := range heard {
		t.HeardS += s
	}
	return t, windows
}

// take makes an outcome about the whole track part of the track's row.
func (t *Track) take(o client.Outcome) {
	a := Answer{Question: o.Question, State: o.State, Answer: o.Answer, Confidence: o.Confidence}
	if o.Error != nil {
		a.Error = o.Error.Code
	}
	if o.Combined != nil {
		a.Rule, a.Share = o.Combined.Rule, o.Combined.Share
	}
	t.Answers = append(t.Answers, a)
	if o.Tags == nil {
		return
	}
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	if n := int64(o.Tags.TempoBPM); n > 0 {
		t.TempoBPM = &n
	}
	t.Key, t.Mode, t.Metre, t.Genre, t.Description = text(o.Tags.Key), text(o.Tags.Mode), text(o.Tags.Metre), text(o.Tags.Genre), text(o.Tags.Description)
	t.Instruments, t.Mood = o.Tags.Instruments, o.Tags.Mood
}

func windowRow(id string, o client.Outcome) WindowRow {
	w := WindowRow{
		ItemID: id, Window: int64(o.Window.Index), StartS: o.Window.StartS, EndS: o.Window.EndS, HeardS: o.Window.HeardS, Question: o.Question, State: o.State,
		Answer: o.Answer, Cache: o.Cache, Confidence: o.Confidence, OutcomeID: o.ID, ModelDigest: o.ModelDigest, EndedAt: o.EndedAt,
	}
	if o.Error != nil {
		w.Error = o.Error.Code
	}
	if o.Check != nil {
		w.Measured, w.Agrees = o.Check.Measured, &o.Check.Agrees
	}
	return w
}

// Part is a file of an export.
type Part struct {
	File   string `json:"file"`
	Table  string `json:"table"`
	Rows   int    `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Manifest is the file _manifest.json of an export. It is written last: an export without it is not whole.
type Manifest struct {
	Run      string         `json:"run"`
	Name     string         `json:"name,omitempty"`
	State    string         `json:"state"`
	Format   string         `json:"format"`
	Items    int            `json:"items"`
	States   map[string]int `json:"states"`
	Models   []string       `json:"models,omitempty"`
	Licence  []string       `json:"licences,omitempty"`
	Exported time.Time      `json:"exported_at"`
	Parts    []Part         `json:"parts"`
}

// ManifestName is the name of an export's manifest.
const ManifestName = "_manifest.json"

// Formats are the forms of an export.
func Formats() []string { return []string{"parquet", "jsonl", "csv"} }

// Export is how a run is exported.
type Export struct {
	Gateway *client.Client
	Format  string
	// Dir is made where it is missing. Files of an older export of the same format are replaced.
	Dir string
	// PartRows is how many rows a file has at most; default 100,000.
	PartRows int
	Progress func(items int)
}

// Run exports a run, whatever its state, and returns the manifest.
func (e Export) Run(ctx context.Context, run client.Run) (m Manifest, err error) {
	if !slices.Contains(Formats(), e.Format) {
		return Manifest{}, fmt.Errorf("format %.20q is not one of %s", e.Format, strings.Join(Formats(), ", "))
	}
	if err := os.MkdirAll(e.Dir, 0o750); err != nil {
		return Manifest{}, fmt.Errorf("making folder of export: %w", err)
	}
	if err := os.Remove(filepath.Join(e.Dir, ManifestName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Manifest{}, fmt.Errorf("replacing export: %w", err)
	}
	m = Manifest{Run: run.ID, Name: run.Asked.Name, State: run.State, Format: e.Format, Items: run.Items, States: make(map[string]int)}
	if m.Models, m.Licence, err = models(ctx, e.Gateway); err != nil {
		return Manifest{}, err
	}
	tracks, windows := newTable[Track](e, "tracks"), newTable[WindowRow](e, "windows")
	err = EachItem(ctx, e.Gateway, run.ID, "", true, func(it client.RunItem) error {
		t, ws := rows(it)
		m.States[t.State]++
		if e.Progress != nil {
			e.Progress(it.Number)
		}
		if err := tracks.add(t); err != nil {
			return err
		}
		for _, w := range ws {
			if err := windows.add(w); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, tracks.close(err == nil), windows.close(err == nil)); err != nil {
		return Manifest{}, fmt.Errorf("exporting run %s: %w", run.ID, err)
	}
	m.Parts, m.Exported = slices.Concat(tracks.parts, windows.parts), time.Now().UTC().Truncate(time.Second)
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Manifest{}, err
	}
	return m, writeFile(filepath.Join(e.Dir, ManifestName), append(raw, '\n'))
}

// models names the models that the gateway serves, and their licences.
func models(ctx context.Context, gw *client.Client) (names, licences []string, err error) {
	list, err := gw.Models(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range list {
		names, licences = append(names, m.ID), append(licences, m.Licence)
	}
	return names, licences, nil
}

// table writes rows into part files.
type table[T any] struct {
	e     Export
	name  string
	parts []Part
	now   *part[T]
}

func newTable[T any](e Export, name string) *table[T] {
	if e.PartRows <= 0 {
		e.PartRows = 100_000
	}
	return &table[T]{e: e, name: name}
}

func (t *table[T]) add(row T) error {
	if t.now != nil && t.now.rows >= t.e.PartRows {
		if err := t.end(true); err != nil {
			return err
		}
	}
	if t.now == nil {
		p, err := newPart[T](t.e, fmt.Sprintf("%s-%05d.%s", t.name, len(t.parts), t.e.Format), t.name)
		if err != nil {
			return err
		}
		t.now = p
	}
	return t.now.add(row)
}

func (t *table[T]) close(good bool) error {
	if t.now == nil {
		return nil
	}
	return t.end(good)
}

func (t *table[T]) end(good bool) error {
	p, err := t.now.close(good)
	t.now = nil
	if good && err == nil {
		t.parts = append(t.parts, p)
	}
	return err
}

// part is a file under a temporary name until it is whole.
type part[T any] struct {
	Part
	path  string
	file  *os.File
	sum   hash.Hash
	count *counter
	write func(T) error
	flush func() error
	rows  int
}

type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

func newPart[T any](e Export, name, table string) (*part[T], error) {
	f, err := os.CreateTemp(e.Dir, "."+name+".*")
	if err != nil {
		return nil, fmt.Errorf("making part: %w", err)
	}
	p := &part[T]{Part: Part{File: name, Table: table}, path: filepath.Join(e.Dir, name), file: f, sum: sha256.New()}
	p.count = &counter{Writer: io.MultiWriter(f, p.sum)}
	switch e.Format {
	case "parquet":
		w := parquet.NewGenericWriter[T](p.count, parquet.Compression(&parquet.Zstd))
		p.write = func(row T) error {
			_, err := w.Write([]T{row})
			return err
		}
		p.flush = w.Close
	case "jsonl":
		enc := json.NewEncoder(p.count)
		enc.SetEscapeHTML(false)
		p.write, p.flush = func(row T) error { return enc.Encode(row) }, func() error { return nil }
	default:
		w := csv.NewWriter(p.count)
		head := false
		p.write = func(row T) error {
			names, cells := cells(row)
			if !head {
				head = true
				if err := w.Write(names); err != nil {
					return err
				}
			}
			return w.Write(cells)
		}
		p.flush = func() error {
			w.Flush()
			return w.Error()
		}
	}
	return p, nil
}

func (p *part[T]) add(row T) error {
	p.rows++
	return p.write(row)
}

func (p *part[T]) close(good bool) (Part, error) {
	err := p.flush()
	if err == nil {
		err = p.file.Sync()
	}
	err = errors.Join(err, p.file.Close())
	if err != nil || !good {
		return Part{}, errors.Join(err, os.Remove(p.file.Name()))
	}
	p.Rows, p.Bytes, p.SHA256 = p.rows, p.count.n, hex.EncodeToString(p.sum.Sum(nil))
	if err := os.Chmod(p.file.Name(), 0o644); err != nil { //nolint:gosec // as any file that a user makes
		return Part{}, err
	}
	return p.Part, os.Rename(p.file.Name(), p.path)
}

// cells are a row's columns for CSV: a list or an object is JSON.
func cells(row any) (names, texts []string) {
	raw, err := json.Marshal(row)
	if err != nil {
		return nil, []string{err.Error()}
	}
	values := make(map[string]any)
	_ = json.Unmarshal(raw, &values) // just written
	for _, name := range columns(row) {
		names = append(names, name)
		switch v := values[name].(type) {
		case nil:
			texts = append(texts, "")
		case string:
			texts = append(texts, safe(v))
		case float64:
			texts = append(texts, strconv.FormatFloat(v, 'f', -1, 64))
		case bool:
			texts = append(texts, strconv.FormatBool(v))
		default:
			inner, err := json.Marshal(v)
			if err != nil {
				inner = []byte(err.Error())
			}
			texts = append(texts, string(inner))
		}
	}
	return names, texts
}

// safe keeps spreadsheet programs from taking a text for a formula (OWASP, CSV injection).
func safe(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// columns are the names of a row's columns.
func columns(row any) []string {
	schema := parquet.SchemaOf(row)
	var names []string
	for _, f := range schema.Fields() {
		names = append(names, f.Name())
	}
	return names
}

func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".part.*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil { //nolint:gosec // as any file that a user makes
		return err
	}
	return os.Rename(f.Name(), path)
}
