package importer

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

// jamendo (MTG-Jamendo, Bogdanov et al., 2019) lists tracks in TSV: TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, and then any number of tags such as
// genre---rock; audio lies as 48/948.mp3 or, in low quality, 48/948.low.mp3. The first test split is taken where it is there.
func jamendo(c *collection) error {
	path, err := c.Need(
		"data/splits/split-0/autotagging-test.tsv", "splits/split-0/autotagging-test.tsv", "autotagging-test.tsv", "data/autotagging.tsv", "autotagging.tsv",
		"data/raw_30s_cleantags_50artists.tsv", "raw_30s_cleantags_50artists.tsv",
	)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var genres []string
	scan := bufio.NewScanner(file)
	scan.Buffer(make([]byte, 4096), collect.MaxText)
	for first := true; scan.Scan(); first = false {
		fields := strings.Split(strings.TrimSpace(scan.Text()), "\t")
		if first && fields[0] == "TRACK_ID" {
			continue
		}
		if len(fields) < 6 {
			c.Skip(collect.BadRow, scan.Text())
			continue
		}
		labels := jamendoLabels(fields[5:])
		if labels.Genre != "" && !slices.Contains(genres, labels.Genre) {
			genres = append(genres, labels.Genre)
		}
		if labels.Genre == "" && labels.Instruments == nil {
			c.Skip(collect.NoLabel, fields[0])
			continue
		}
		c.add(fields[0], c.JamendoAudio(fields[3]), labels)
	}
	slices.Sort(genres)
	c.choices(genres)
	return scan.Err()
}

// choices gives every clip with a genre the same list to choose from.
func (c *collection) choices(genres []string) {
	for i := range c.clips {
		if c.clips[i].Labels.Genre != "" {
			c.clips[i].Labels.GenreChoices = genres
		}
	}
}

// jamendoLabels takes instruments, and a genre where there is exactly one.
func jamendoLabels(tags []string) eval.Labels {
	var l eval.Labels
	var genres, instruments []string
	for _, t := range tags {
		switch kind, name, _ := strings.Cut(t, "---"); {
		case kind == "genre":
			genres = append(genres, collect.JamendoName(name))
		case kind == "instrument" && eval.IsInstrument(collect.JamendoName(name)):
			instruments = append(instruments, collect.JamendoName(name))
		}
	}
	if len(genres) == 1 {
		l.Genre = genres[0]
	}
	if len(instruments) > 0 {
		l.Instruments = &instruments
	}
	return l
}

// magnatagatune (Law et al., ISMIR 2009) lists clips in annotations_final.csv, with tabs and quotes: clip_id, 188 tags as 0 or 1, mp3_path. Three files of the
// distribution are empty.
func magnatagatune(c *collection) error {
	path, err := c.Need("annotations_final.csv", "data/annotations_final.csv")
	if err != nil {
		return err
	}
	return c.Table(path, '\t', []string{"clip_id", "mp3_path"}, func(r collect.Row) error {
		var l eval.Labels
		var genres, instruments []string
		for name, value := range r.Fields() {
			if value != "1" || name == "clip_id" {
				continue
			}
			if slices.Contains(collect.MagnaGenres, name) {
				genres = append(genres, name)
			}
			if eval.IsInstrument(name) && !slices.Contains(collect.MagnaGenres, name) {
				instruments = append(instruments, name)
			}
		}
		if len(genres) == 1 {
			l.Genre, l.GenreChoices = genres[0], collect.MagnaGenres
		}
		if slices.Sort(instruments); len(instruments) > 0 {
			l.Instruments = &instruments
		}
		if l.Genre == "" && l.Instruments == nil {
			c.Skip(collect.NoLabel, r.Get("clip_id"))
			return nil
		}
		mp3 := filepath.ToSlash(r.Get("mp3_path"))
		c.add(r.Get("clip_id"), c.First(mp3, "audio/"+mp3, "mp3/"+mp3), l)
		return nil
	})
}
