package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

// musiccaps (Agostinelli et al., 2023) is musiccaps-public.csv with ytid, start_s, end_s and caption; the audio is the user's own, ten seconds a file, named
// YTID.wav or [YTID]-[START-END].wav as the usual scripts do.
func musiccaps(c *collection) error {
	path, err := c.Need("musiccaps-public.csv", "data/musiccaps-public.csv")
	if err != nil {
		return err
	}
	return c.Table(path, ',', []string{"ytid", "start_s", "end_s", "caption"}, func(r collect.Row) error {
		id := r.Get("ytid")
		if r.Get("caption") == "" {
			c.Skip(collect.NoLabel, id)
			return nil
		}
		audio, err := c.ClipFile(id, r.Get("start_s"), r.Get("end_s"))
		if err != nil {
			return err
		}
		c.add(id, audio, eval.Labels{Caption: r.Get("caption")})
		return nil
	})
}

// muchomusic (Weck, Manco et al., ISMIR 2024) is data/muchomusic.csv with question, correct_answer, distractor_1_answer to distractor_3_answer, dataset
// (sdd or musiccaps) and dataset_identifier, beside data/sdd (song_describer.csv, audio/NN/ID.2min.mp3) and data/musiccaps.
func muchomusic(c *collection) error {
	path, err := c.Need("data/muchomusic.csv", "muchomusic.csv")
	if err != nil {
		return err
	}
	songs, spans, err := c.muchomusicAudio()
	if err != nil {
		return err
	}
	var order []string
	questions, audio := map[string][]eval.Choice{}, map[string]string{}
	err = c.Table(path, ',', []string{"question", "correct_answer", "dataset", "dataset_identifier"}, func(r collect.Row) error {
		q := eval.Choice{Question: r.Get("question"), Answer: r.Get("correct_answer"), Choices: []string{r.Get("correct_answer")}}
		for n := 1; n <= 3; n++ {
			if d := r.Get(fmt.Sprintf("distractor_%d_answer", n)); d != "" && !slices.Contains(q.Choices, d) {
				q.Choices = append(q.Choices, d)
			}
		}
		id := strings.TrimSuffix(r.Get("dataset_identifier"), ".json")
		if q.Question == "" || q.Answer == "" || len(q.Choices) < 2 {
			c.Skip(collect.BadRow, id)
			return nil
		}
		key, file, err := c.muchomusicFile(r.Get("dataset"), id, songs, spans)
		if err != nil {
			return err
		}
		if questions[key] == nil {
			order = append(order, key)
		}
		questions[key], audio[key] = append(questions[key], q), file
		return nil
	})
	for _, key := range order {
		c.add(key, audio[key], eval.Labels{MultipleChoice: questions[key]})
	}
	return err
}

// muchomusicAudio reads the paths of Song Describer's tracks and the spans of MusicCaps' clips.
func (c *collection) muchomusicAudio() (songs map[string]string, spans map[string][2]string, err error) {
	songs, spans = map[string]string{}, map[string][2]string{}
	if list := c.First("data/sdd/song_describer.csv", "sdd/song_describer.csv", "song_describer.csv"); list != "" {
		err = c.Table(list, ',', []string{"track_id", "path"}, func(r collect.Row) error {
			songs[r.Get("track_id")] = r.Get("path")
			return nil
		})
	}
	if list := c.First("data/musiccaps/musiccaps-public.csv", "musiccaps/musiccaps-public.csv"); list != "" && err == nil {
		err = c.Table(list, ',', []string{"ytid", "start_s", "end_s"}, func(r collect.Row) error {
			spans[r.Get("ytid")] = [2]string{r.Get("start_s"), r.Get("end_s")}
			return nil
		})
	}
	return songs, spans, err
}

// muchomusicFile is a clip's id and file. An identifier is a number of Song Describer, or a MusicCaps id with a number after its last underscore.
func (c *collection) muchomusicFile(dataset, id string, songs map[string]string, spans map[string][2]string) (key, file string, err error) {
	if dataset == "sdd" {
		path := songs[id]
		if path == "" {
			return "sdd/" + id, "", nil
		}
		short := strings.TrimSuffix(path, ".mp3") + ".2min.mp3"
		return "sdd/" + id, c.First("data/sdd/audio/"+short, "data/sdd/audio/"+path, "sdd/audio/"+short, "audio/"+short), nil
	}
	if at := strings.LastIndexByte(id, '_'); at > 0 {
		if _, err := strconv.Atoi(id[at+1:]); err == nil {
			id = id[:at]
		}
	}
	file, err = c.ClipFile(id, whole(spans[id][0]), whole(spans[id][1]))
	return "musiccaps/" + id, file, err
}

// whole writes 30.0 as 30.
func whole(seconds string) string {
	v, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return seconds
	}
	return strconv.Itoa(int(v))
}

// manifest is lark-nano's own form, as training/nano/generate.py writes it: manifest.jsonl.
func manifest(c *collection) error {
	path, err := c.Need("manifest.jsonl")
	if err != nil {
		return err
	}
	clips, err := readManifest(path)
	if err != nil {
		return err
	}
	for _, m := range clips {
		drums := m.Drums
		l := eval.Labels{TempoBPM: m.TempoBPM, Metre: m.Metre, Instruments: &m.Families, Drums: &drums, Unanswerable: true}
		if m.Key != "" {
			l.Key = m.Key + " " + m.Mode
		}
		name := filepath.Base(m.File)
		c.add(strings.TrimSuffix(name, filepath.Ext(name)), c.Path(m.File), l)
	}
	return nil
}
