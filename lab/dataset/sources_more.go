package dataset

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil { // maps of strings always marshal
		return nil
	}
	return raw
}

// magnaSource keeps a row without its zeros, and what clip_info_final.csv says.
func magnaSource(fields map[string]string, t titles) json.RawMessage {
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "0" || v == "" })
	for name, value := range map[string]string{"title": t.title, "artist": t.artist, "album": t.album} {
		if value != "" {
			fields[name] = value
		}
	}
	return mustJSON(fields)
}

// musicnet (Thickstun et al., ICLR 2017) lies as {train,test}_data/ID.wav with {train,test}_labels/ID.csv (start_time and end_time in samples, instrument, note)
// and musicnet_metadata.csv (id, composer, composition, movement, ensemble, seconds). A clip is cut every 30 s. Its labels are under CC-BY-4.0.
func musicnet(s *source) error {
	path, err := s.Need("musicnet_metadata.csv")
	if err != nil {
		return err
	}
	return s.Table(path, ',', []string{"id", "composer", "composition", "movement", "ensemble", "seconds"}, func(r collect.Row) error {
		id := r.Get("id")
		seconds, err := strconv.ParseFloat(r.Get("seconds"), 64)
		if err != nil || id == "" || seconds <= 0 {
			s.Skip(collect.BadRow, "recording "+id)
			return nil
		}
		split := splitTrain
		if s.First("test_labels/"+id+".csv", "test_data/"+id+".wav") != "" {
			split = splitTest
		}
		notes, err := s.musicnetNotes(s.First(split + "_labels/" + id + ".csv"))
		if err != nil {
			return err
		}
		base := Clip{Track: id, Audio: s.Located(split + "_data/" + id + ".wav"), Licence: "CC-BY-4.0", Split: split, Source: untouched(r)}
		base.Labels = facts.Labels{Composer: r.Get("composer"), Composition: r.Get("composition"), Movement: r.Get("movement"), Ensemble: r.Get("ensemble")}
		for k := range max(1, int(seconds/chunkS)) {
			c, from := base, float64(k)*chunkS
			c.ID, c.Span = fmt.Sprintf("%s-%03d", id, k), Span{from, min(from+heardS, seconds)}
			c.Labels.Notes = within(notes, c.Span)
			c.Labels.Instruments = slices.Sorted(maps.Keys(c.Labels.Notes))
			c.Labels.Complete = len(c.Labels.Instruments) > 0
			if err := s.add(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// musicnetNotes are a recording's notes by instrument, in seconds of the recording.
func (s *source) musicnetNotes(path string) (map[string][]facts.Note, error) {
	out := map[string][]facts.Note{}
	if path == "" {
		return out, nil
	}
	return out, s.Table(path, ',', []string{"start_time", "end_time", "instrument", "note"}, func(r collect.Row) error {
		from, err1 := strconv.ParseFloat(r.Get("start_time"), 64)
		to, err2 := strconv.ParseFloat(r.Get("end_time"), 64)
		pitch, err3 := strconv.Atoi(r.Get("note"))
		name := collect.MusicNetInstruments[r.Get("instrument")]
		if err1 != nil || err2 != nil || err3 != nil || name == "" {
			s.Skip("notes that cannot be read", filepath.Base(path))
			return nil
		}
		out[name] = append(out[name], facts.Note{Start: from / collect.MusicNetRate, End: to / collect.MusicNetRate, Pitch: pitch})
		return nil
	})
}

// within are the notes that sound in a span, in seconds from its start, to the hundredth.
func within(notes map[string][]facts.Note, span Span) map[string][]facts.Note {
	out := map[string][]facts.Note{}
	for name, list := range notes {
		for _, n := range list {
			if n.End > span.Start && n.Start < span.End {
				out[name] = append(out[name], facts.Note{Start: rounded(max(n.Start, span.Start) - span.Start), End: rounded(min(n.End, span.End) - span.Start), Pitch: n.Pitch})
			}
		}
	}
	return out
}

// rounded is a time to the hundredth of a second.
func rounded(seconds float64) float64 { return math.Round(seconds*100) / 100 }

// fma (Defferrard et al., ISMIR 2017) is tracks.csv, whose three first lines make its columns, genres.csv, and the audio as fma_SIZE/000/000002.mp3. fma_full holds whole
// tracks, the other sizes 30 s of each. Every track has a licence of its own.
func fma(s *source) error {
	path, err := s.Need("fma_metadata/tracks.csv", "tracks.csv")
	if err != nil {
		return err
	}
	genres := map[string]string{}
	if list := s.First("fma_metadata/genres.csv", "genres.csv"); list != "" {
		err := s.Table(list, ',', []string{"genre_id", "title"}, func(r collect.Row) error {
			genres[r.Get("genre_id")] = r.Get("title")
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.TwoHeaders(path, func(get func(name string) string) error { return s.fmaTrack(get, genres) })
}

var fmaFields = []string{
	"track.title", "track.genre_top", "track.genres_all", "track.duration", "track.license", "track.tags", "track.language_code", "artist.id", "artist.name",
	"album.title", "set.split", "set.subset",
}

func (s *source) fmaTrack(get func(string) string, genres map[string]string) error {
	id, err := strconv.Atoi(get("track_id"))
	seconds, _ := strconv.ParseFloat(get("track.duration"), 64) // empty: unknown
	if err != nil {
		s.Skip(collect.BadRow, "track "+get("track_id"))
		return nil
	}
	name := fmt.Sprintf("%03d/%06d.mp3", id/1000, id)
	audio := s.Located("fma_full/"+name, "fma_large/"+name, "fma_medium/"+name, "fma_small/"+name, name)
	split := map[string]string{"training": splitTrain, "validation": splitValidation, "test": splitTest}[get("set.split")]
	l := facts.Labels{Title: get("track.title"), Artist: get("artist.name"), Album: get("album.title"), Tags: pythonList(get("track.tags"))}
	for _, g := range strings.FieldsFunc(get("track.genres_all"), func(r rune) bool { return r < '0' || r > '9' }) {
		if title := genres[g]; title != "" {
			l.Genres = append(l.Genres, title)
		}
	}
	if top := get("track.genre_top"); top != "" && !slices.Contains(l.Genres, top) {
		l.Genres = append([]string{top}, l.Genres...)
	}
	span := Span{0, heardS}
	if strings.Contains(audio, "fma_full"+string(filepath.Separator)) {
		span = s.crop(strconv.Itoa(id), split, seconds)
	}
	fields := map[string]string{}
	for _, f := range fmaFields {
		if v := get(f); v != "" {
			fields[f] = v
		}
	}
	licence := get("track.license")
	if licence == "" {
		licence = "not stated"
	}
	return s.add(Clip{
		ID: fmt.Sprintf("%06d", id), Track: strconv.Itoa(id), Artist: get("artist.id"), Audio: audio, Span: span, Licence: licence, Split: split, Labels: l, Source: mustJSON(fields),
	})
}

// generated is a label of training/nano/generate.py.
type generated struct {
	File     string   `json:"file"`
	TempoBPM float64  `json:"tempo_bpm"`
	Key      string   `json:"key"`
	Mode     string   `json:"mode"`
	Metre    string   `json:"metre"`
	Families []string `json:"families"`
	Drums    bool     `json:"drums"`
	Groove   string   `json:"groove"`
}

// synthetic is what training/nano/generate.py makes: manifest.jsonl and NAME.wav, with NAME.json for each. Clips of one groove count as one artist. A name that begins with test is
// of the test split.
func synthetic(s *source) error {
	path, err := s.Need("manifest.jsonl")
	if err != nil {
		return err
	}
	return s.Lines(path, func(line string) error {
		var g generated
		if err := json.Unmarshal([]byte(line), &g); err != nil || g.File == "" || g.TempoBPM <= 0 {
			s.Skip(collect.BadRow, line[:min(len(line), 80)])
			return nil
		}
		name := strings.TrimSuffix(filepath.Base(g.File), filepath.Ext(g.File))
		raw := json.RawMessage(line)
		if more, err := collect.ReadText(s.Path(strings.TrimSuffix(g.File, filepath.Ext(g.File)) + ".json")); err == nil && json.Valid([]byte(more)) {
			raw = json.RawMessage(more)
			_ = json.Unmarshal(raw, &g) // the groove, where it is there; the rest is the same
		}
		drums := g.Drums
		l := facts.Labels{TempoBPM: g.TempoBPM, Metre: g.Metre, Instruments: slices.DeleteFunc(slices.Clone(g.Families), func(f string) bool { return f == "drums" }), Complete: true, Drums: &drums}
		if g.Key != "" {
			l.Key = g.Key + " " + g.Mode
		}
		split := splitTrain
		if strings.HasPrefix(name, splitTest) {
			split = splitTest
		}
		return s.add(Clip{ID: name, Track: name, Artist: g.Groove, Audio: s.Path(g.File), Span: Span{0, heardS}, Licence: "CC0-1.0", Split: split, Labels: l, Source: raw})
	})
}

// folder is any folder of audio files. licence.txt in it, or in a folder on the way to a file, names the licence; a file without one is left out.
func folder(s *source) error {
	return filepath.WalkDir(s.From, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains(collect.Endings, strings.ToLower(filepath.Ext(path))) {
			return err
		}
		licence := s.licenceOf(filepath.Dir(path))
		rel, err := filepath.Rel(s.From, path)
		if err != nil {
			return err
		}
		if licence == "" {
			s.Skip("without licence.txt", rel)
			return nil
		}
		name := filepath.ToSlash(strings.TrimSuffix(rel, filepath.Ext(rel)))
		return s.add(Clip{ID: name, Track: name, Artist: filepath.ToSlash(filepath.Dir(rel)), Audio: path, Span: Span{0, heardS}, Licence: licence, Source: mustJSON(map[string]string{"file": filepath.ToSlash(rel)})})
	})
}

func (s *source) licenceOf(dir string) string {
	for ; strings.HasPrefix(dir, s.From); dir = filepath.Dir(dir) {
		if text, err := collect.ReadText(filepath.Join(dir, "licence.txt")); err == nil {
			line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
			return strings.TrimSpace(line)
		}
	}
	return ""
}
