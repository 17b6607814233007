package importer

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

// GiantSteps (Knees et al., ISMIR 2015) as its two repositories hold it: annotations/key/ID.LOFI.key and annotations_v2/tempo/ID.LOFI.bpm with the value
// alone, or annotations/giantsteps/ with the value at the end of a line, and audio/ID.LOFI.mp3 as audio_dl.sh fetches it.

func giantstepsKey(c *collection) error {
	dir, err := c.Need("annotations/key", "annotations/giantsteps")
	if err != nil {
		return err
	}
	return c.annotated(dir, ".key", func(value string) (eval.Labels, error) {
		if fields := strings.Fields(value); len(fields) > 2 {
			value = strings.Join(fields[len(fields)-2:], " ")
		}
		return eval.Labels{Key: value}, eval.CheckLabels(eval.Labels{Key: value})
	})
}

func giantstepsTempo(c *collection) error {
	dir, err := c.Need("annotations_v2/tempo", "annotations/tempo", "annotations/giantsteps")
	if err != nil {
		return err
	}
	return c.annotated(dir, ".bpm", func(value string) (eval.Labels, error) {
		fields := strings.Fields(value)
		bpm, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err == nil && bpm <= 0 {
			err = fmt.Errorf("%g BPM", bpm)
		}
		return eval.Labels{TempoBPM: bpm}, err
	})
}

// annotated adds a clip for each annotation file; its value is on its last line that is no comment.
func (c *collection) annotated(dir, ending string, parse func(value string) (eval.Labels, error)) error {
	names, err := collect.Files(dir, ending)
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := collect.ReadText(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		id, value := strings.TrimSuffix(name, ending), ""
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				value = line
			}
		}
		if value == "" {
			c.Skip(collect.NoLabel, name)
			continue
		}
		labels, err := parse(value)
		if err != nil {
			c.Skip(collect.NoLabel, name)
			continue
		}
		path, err := c.Indexed(id)
		if err != nil {
			return err
		}
		c.add(id, path, labels)
	}
	return nil
}
