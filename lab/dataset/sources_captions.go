package dataset

import (
	"regexp"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// musiccaps (Agostinelli et al., 2023) is musiccaps-public.csv with ytid, start_s, end_s, aspect_list, caption, is_audioset_eval; the audio is the user's own, ten
// seconds a file, named as collection.ClipFile knows. Captions are CC-BY-SA-4.0; the videos have licences of their own, which the collection does not state.
func musiccaps(s *source) error {
	path, err := s.Need("musiccaps-public.csv", "data/musiccaps-public.csv")
	if err != nil {
		return err
	}
	return s.Table(path, ',', []string{"ytid", "start_s", "end_s", "aspect_list", "caption"}, func(r collect.Row) error {
		split := splitTrain
		if strings.EqualFold(r.Get("is_audioset_eval"), "true") {
			split = splitTest
		}
		l := facts.Labels{Tags: pythonList(r.Get("aspect_list")), Captions: some(r.Get("caption"))}
		return s.youtube(r, r.Get("ytid"), r.Get("start_s"), r.Get("end_s"), split, "captions CC-BY-SA-4.0; audio not stated", l)
	})
}

// youtube8m (YouTube8M-MusicTextClips, McKee et al., CVPR 2023) is train.csv and test.csv with video_id, start, end, text; the audio is the user's own, ten
// seconds a file.
func youtube8m(s *source) error {
	if _, err := s.Need("train.csv", "test.csv"); err != nil {
		return err
	}
	for _, split := range []string{splitTrain, splitTest} {
		path := s.First(split + ".csv")
		if path == "" {
			continue
		}
		err := s.Table(path, ',', []string{"video_id", "start", "end", "text"}, func(r collect.Row) error {
			l := facts.Labels{Captions: some(r.Get("text"))}
			return s.youtube(r, r.Get("video_id"), r.Get("start"), r.Get("end"), split, "Adobe Research License (research only, non-commercial); audio not stated", l)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// youtube adds a clip of a video: a file holds the clip alone, so its span starts at 0.
func (s *source) youtube(r collect.Row, id, start, end, split, licence string, l facts.Labels) error {
	from, err1 := strconv.ParseFloat(start, 64)
	to, err2 := strconv.ParseFloat(end, 64)
	if id == "" || err1 != nil || err2 != nil || to <= from {
		s.Skip(collect.BadRow, id+" from "+start+" to "+end)
		return nil
	}
	audio, err := s.ClipFile(id, start, end)
	if err != nil {
		return err
	}
	c := Clip{ID: id + "-" + start, Track: id, Audio: audio, Span: Span{0, to - from}, Licence: licence, Split: split, Labels: l, Source: untouched(r)}
	if audio == "" {
		c.Missing = "no file has the clip's name: the video was not fetched, or cannot be had any more"
	}
	return s.add(c)
}

func some(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

var pythonItem = regexp.MustCompile(`'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"`)

// pythonList reads a list of strings as Python prints it.
func pythonList(text string) []string {
	var out []string
	for _, m := range pythonItem.FindAllStringSubmatch(text, -1) {
		item := strings.TrimSpace(strings.NewReplacer(`\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(m[1] + m[2]))
		if item != "" {
			out = append(out, item)
		}
	}
	return out
}
