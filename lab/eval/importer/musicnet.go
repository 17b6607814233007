package importer

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

const (
	// The window of LLark's rule: seconds 30 to 55 of a track of 60 s or more, else the first 25.
	windowFrom, windowSpan, longTrack = 30, 25, 60
)

// musicnet (Thickstun et al., ICLR 2017) lies as {train,test}_data/ID.wav with {train,test}_labels/ID.csv, whose columns are start_time, end_time
// (samples), instrument, note, start_beat, end_beat, note_value; musicnet_metadata.csv holds the lengths. Labels are the instruments that sound in the
// window that models hear.
func musicnet(c *collection) error {
	seconds := map[string]float64{}
	if path := c.First("musicnet_metadata.csv"); path != "" {
		err := c.Table(path, ',', []string{"id", "seconds"}, func(r collect.Row) error {
			seconds[r.Get("id")], _ = strconv.ParseFloat(r.Get("seconds"), 64)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if _, err := c.Need("test_labels", "train_labels"); err != nil {
		return err
	}
	for _, split := range []string{"test", "train"} {
		dir := c.First(split + "_labels")
		if dir == "" {
			continue
		}
		names, err := collect.Files(dir, ".csv")
		if err != nil {
			return err
		}
		for _, name := range names {
			id := strings.TrimSuffix(name, ".csv")
			heard, err := c.musicnetHeard(filepath.Join(dir, name), seconds[id])
			if err != nil {
				return err
			}
			if len(heard) == 0 {
				c.Skip(collect.NoLabel, id)
				continue
			}
			c.add(split+"/"+id, c.Path(split+"_data", id+".wav"), eval.Labels{Instruments: &heard})
		}
	}
	return nil
}

// musicnetHeard are the instruments with a note in the window; seconds 0 = the length is that of the last note.
func (c *collection) musicnetHeard(path string, seconds float64) ([]string, error) {
	type note struct {
		from, to float64
		name     string
	}
	var notes []note
	err := c.Table(path, ',', []string{"start_time", "end_time", "instrument"}, func(r collect.Row) error {
		from, err1 := strconv.ParseFloat(r.Get("start_time"), 64)
		to, err2 := strconv.ParseFloat(r.Get("end_time"), 64)
		name := collect.MusicNetInstruments[r.Get("instrument")]
		if err1 != nil || err2 != nil || name == "" {
			c.Skip(collect.BadRow, filepath.Base(path)+" note "+strconv.Itoa(len(notes)))
			return nil
		}
		notes = append(notes, note{from / collect.MusicNetRate, to / collect.MusicNetRate, name})
		return nil
	})
	last := seconds
	if last == 0 {
		for _, n := range notes {
			last = max(last, n.to)
		}
	}
	from := 0.0
	if last >= longTrack {
		from = windowFrom
	}
	var heard []string
	for _, n := range notes {
		if n.to > from && n.from < from+windowSpan && !slices.Contains(heard, n.name) {
			heard = append(heard, n.name)
		}
	}
	slices.Sort(heard)
	return heard, err
}
