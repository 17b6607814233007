package index

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
	Run    string         `json:"run"`
	Name   string         `json:"name,omitempty"`
	State  string         `json:"state"`
	Format string         `json:"format"`
	Items  int            `json:"items"`
	States map[string]int `json:"states"`
	// LeftOut counts the items that have no row, by the reason: rekordbox knows only tracks that are files and have tags.
	LeftOut  map[string]int `json:"left_out,omitempty"`
	Models   []string       `json:"models,omitempty"`
	Licence  []string       `json:"licences,omitempty"`
	Exported time.Time      `json:"exported_at"`
	Parts    []Part         `json:"parts"`
}

// ManifestName is the name of an export's manifest.
const ManifestName = "_manifest.json"

// Export is how a run is exported.
type Export struct {
	Gateway *client.Client
	// Format is one of Formats.
	Format string
	// Dir is a folder, which is made where it is missing, or s3://bucket/prefix or gs://bucket/prefix. Files of an older export of the same format are replaced.
	Dir string
	// PartRows is how many rows a file has at most; default 100,000.
	PartRows int
	// Index is the index that the documents of the format elasticsearch go into; default DefaultIndex.
	Index string
	// Embeddings adds a table of the pooled embeddings.
	Embeddings bool
	Progress   func(items int)
}

// DefaultIndex is the index of an export for Elasticsearch.
const DefaultIndex = "larkstream-tracks"

// Check refuses what cannot be exported.
func (e Export) Check() error {
	if _, ok := formats[e.Format]; !ok {
		return fmt.Errorf("format %.20q is not one of %s", e.Format, strings.Join(Formats(), ", "))
	}
	if e.Index != "" && e.Format != formatElasticsearch {
		return fmt.Errorf("an index is for the format %s, not for %s", formatElasticsearch, e.Format)
	}
	if e.Embeddings && formats[e.Format].embeddings == nil {
		return fmt.Errorf("the format %s has no place for embeddings; parquet, jsonl and csv have", e.Format)
	}
	if e.PartRows < 0 {
		return errors.New("a file cannot have less than one row")
	}
	return checkIndex(cmp.Or(e.Index, DefaultIndex))
}

// Run exports a run, whatever its state, and returns the manifest.
func (e Export) Run(ctx context.Context, run client.Run) (m Manifest, err error) {
	if err := e.Check(); err != nil {
		return Manifest{}, err
	}
	e.PartRows, e.Index = cmp.Or(e.PartRows, 100_000), cmp.Or(e.Index, DefaultIndex)
	to, err := openTarget(e.Dir)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	if err := to.remove(ctx, ManifestName); err != nil {
		return Manifest{}, fmt.Errorf("replacing export: %w", err)
	}
	m = Manifest{
		Run: run.ID, Name: run.Asked.Name, State: run.State, Format: e.Format, Items: run.Items, States: make(map[string]int), LeftOut: make(map[string]int),
	}
	if m.Models, m.Licence, err = models(ctx, e.Gateway); err != nil {
		return Manifest{}, err
	}
	form := formats[e.Format]
	playlist := cmp.Or(run.Asked.Name, run.ID)
	tracks, windows := newTable(e, to, tableTracks, func(w io.Writer) (encoder[Track], error) { return form.tracks(w, e, playlist) }), newTable(e, to, tableWindows, form.windows)
	err = EachItem(ctx, e.Gateway, run.ID, "", true, func(it client.RunItem) error {
		t, ws := rows(it)
		m.States[t.State]++
		if e.Progress != nil {
			e.Progress(it.Number)
		}
		if form.leftOut != nil {
			if reason := form.leftOut(t); reason != "" {
				m.LeftOut[reason]++
				return nil
			}
		}
		if err := tracks.add(ctx, t); err != nil {
			return err
		}
		if form.windows == nil {
			return nil
		}
		for _, w := range ws {
			if err := windows.add(ctx, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, tracks.close(err == nil), windows.close(err == nil)); err != nil {
		return Manifest{}, fmt.Errorf("exporting run %s: %w", run.ID, err)
	}
	var embeddings []Part
	if e.Embeddings {
		if embeddings, err = e.exportEmbeddings(ctx, to, form, run.ID); err != nil {
			return Manifest{}, fmt.Errorf("exporting embeddings of run %s: %w", run.ID, err)
		}
	}
	m.Parts, m.Exported = slices.Concat(tracks.parts, windows.parts, embeddings), time.Now().UTC().Truncate(time.Second)
	if err := removeOlder(ctx, to, form, m.Parts); err != nil {
		return Manifest{}, fmt.Errorf("removing files of an older export: %w", err)
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Manifest{}, err
	}
	return m, writeFile(ctx, to, ManifestName, append(raw, '\n'))
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
