package dataset

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/dataset/facts"
	"github.com/larkstream/larkstream/lab/eval"
)

// jamendo (MTG-Jamendo, Bogdanov et al., 2019) lists tracks in TSV: TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, and then any number of tags such as
// genre---rock. raw.meta.tsv has titles and names. audio_licenses.txt names the licence of each file; without it, only "Creative Commons" is known.
func jamendo(s *source) error {
	path, err := s.Need("data/autotagging.tsv", "autotagging.tsv", "data/raw_30s_cleantags_50artists.tsv", "raw_30s_cleantags_50artists.tsv")
	if err != nil {
		return err
	}
	meta, err := s.jamendoMeta()
	if err != nil {
		return err
	}
	licences, err := s.jamendoLicences()
	if err != nil {
		return err
	}
	splits, err := s.jamendoSplits()
	if err != nil {
		return err
	}
	return s.Lines(path, func(line string) error {
		f := strings.Split(strings.TrimSpace(line), "\t")
		switch {
		case f[0] == "TRACK_ID":
			return nil
		case len(f) < 6:
			s.Skip(collect.BadRow, line[:min(len(line), 80)])
			return nil
		}
		seconds, err := strconv.ParseFloat(f[4], 64)
		if err != nil || seconds <= 0 {
			s.Skip(collect.BadRow, f[0]+" with the duration "+f[4])
			return nil
		}
		l := jamendoLabels(f[5:])
		l.Title, l.Artist, l.Album = meta[f[0]].title, meta[f[0]].artist, meta[f[0]].album
		licence := licences[f[3]]
		if licence == "" {
			licence = "Creative Commons, which one is not known: audio_licenses.txt is missing or silent"
		}
		raw := mustJSON(map[string]any{"TRACK_ID": f[0], "ARTIST_ID": f[1], "ALBUM_ID": f[2], "PATH": f[3], "DURATION": f[4], "TAGS": f[5:]})
		split := splits[f[0]]
		return s.add(Clip{
			ID: f[0], Track: f[0], Artist: f[1], Audio: s.JamendoAudio(f[3]), Span: s.crop(f[0], split, seconds), Licence: licence, Split: split, Labels: l, Source: raw,
		})
	})
}

type titles struct{ title, artist, album string }

func (s *source) jamendoMeta() (map[string]titles, error) {
	out := map[string]titles{}
	path := s.First("data/raw.meta.tsv", "raw.meta.tsv")
	if path == "" {
		return out, nil
	}
	return out, s.Table(path, '\t', []string{"TRACK_ID", "TRACK_NAME", "ARTIST_NAME", "ALBUM_NAME"}, func(r collect.Row) error {
		out[r.Get("TRACK_ID")] = titles{r.Get("TRACK_NAME"), r.Get("ARTIST_NAME"), r.Get("ALBUM_NAME")}
		return nil
	})
}

// jamendoLicences reads audio_licenses.txt: a line that names a file and holds a licence's URL.
func (s *source) jamendoLicences() (map[string]string, error) {
	out := map[string]string{}
	path := s.First("audio_licenses.txt", "data/audio_licenses.txt")
	if path == "" {
		return out, nil
	}
	return out, s.Lines(path, func(line string) error {
		file, url := "", ""
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t,;\"()", r) }) {
			switch word = strings.TrimRight(word, ":"); {
			case strings.HasSuffix(word, ".mp3"):
				file = word
			case strings.Contains(word, "creativecommons.org/"):
				url = word
			}
		}
		if file != "" && url != "" {
			out[file] = creativeCommons(url)
		}
		return nil
	})
}

// creativeCommons writes the URL of a licence as its short name; what is no such URL stays.
func creativeCommons(url string) string {
	_, path, found := strings.Cut(strings.TrimSuffix(url, "/"), "creativecommons.org/licenses/")
	parts := strings.Split(path, "/")
	if !found || len(parts) < 2 {
		return url
	}
	return "CC-" + strings.ToUpper(parts[0]) + "-" + parts[1]
}

// jamendoSplits reads the first split, where it is there.
func (s *source) jamendoSplits() (map[string]string, error) {
	out := map[string]string{}
	for _, split := range []string{splitTrain, splitValidation, splitTest} {
		path := s.First("data/splits/split-0/autotagging-"+split+".tsv", "splits/split-0/autotagging-"+split+".tsv")
		if path == "" {
			continue
		}
		err := s.Lines(path, func(line string) error {
			track, _, _ := strings.Cut(line, "\t")
			out[track] = split
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func jamendoLabels(tags []string) facts.Labels {
	var l facts.Labels
	for _, t := range tags {
		kind, name, _ := strings.Cut(t, "---")
		name = collect.JamendoName(name)
		switch kind {
		case "genre":
			l.Genres = append(l.Genres, name)
		case "instrument":
			l.Instruments = append(l.Instruments, name)
		case "mood/theme":
			l.Moods = append(l.Moods, name)
		}
	}
	return l
}

// magnatagatune (Law et al., ISMIR 2009) is annotations_final.csv (clip_id, 188 tags as 0 or 1, mp3_path) and clip_info_final.csv (title, artist, album, segmentStart),
// with tabs. Magnatune's music is under CC-BY-NC-SA-1.0. The usual split goes by the folder of the file: 0 to b training, c validation, d to f test.
func magnatagatune(s *source) error {
	path, err := s.Need("annotations_final.csv", "data/annotations_final.csv")
	if err != nil {
		return err
	}
	info := map[string]titles{}
	if list := s.First("clip_info_final.csv", "data/clip_info_final.csv"); list != "" {
		err := s.Table(list, '\t', []string{"clip_id", "title", "artist", "album"}, func(r collect.Row) error {
			info[r.Get("clip_id")] = titles{r.Get("title"), r.Get("artist"), r.Get("album")}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.Table(path, '\t', []string{"clip_id", "mp3_path"}, func(r collect.Row) error {
		id, mp3 := r.Get("clip_id"), filepath.ToSlash(r.Get("mp3_path"))
		if id == "" || mp3 == "" {
			s.Skip(collect.BadRow, "clip "+id)
			return nil
		}
		t := info[id]
		l := facts.Labels{Title: t.title, Artist: t.artist, Album: t.album}
		fields := r.Fields()
		for name, value := range fields {
			switch {
			case value != "1" || name == "clip_id":
			case slices.Contains(collect.MagnaGenres, name):
				l.Genres = append(l.Genres, name)
			case eval.IsInstrument(name) && !strings.HasPrefix(name, "no "):
				l.Instruments = append(l.Instruments, name)
			default:
				l.Tags = append(l.Tags, name)
			}
		}
		slices.Sort(l.Genres)
		slices.Sort(l.Instruments)
		slices.Sort(l.Tags)
		track := strings.TrimSuffix(mp3, filepath.Ext(mp3))
		if t.title != "" {
			track = t.artist + "/" + t.album + "/" + t.title
		}
		return s.add(Clip{
			ID: id, Track: track, Artist: t.artist, Audio: s.Located(mp3, "audio/"+mp3, "mp3/"+mp3), Span: Span{0, heardS}, Licence: "CC-BY-NC-SA-1.0",
			Split: magnaSplit(mp3), Labels: l, Source: magnaSource(fields, t),
		})
	})
}

func magnaSplit(mp3 string) string {
	switch {
	case mp3[0] >= '0' && mp3[0] <= '9' || mp3[0] == 'a' || mp3[0] == 'b':
		return splitTrain
	case mp3[0] == 'c':
		return splitValidation
	}
	return splitTest
}
