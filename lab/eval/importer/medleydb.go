package importer

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	collect "github.com/larkstream/larkstream/lab/collection"
	"github.com/larkstream/larkstream/lab/eval"
)

// medleyTrack is the part of TRACK_METADATA.yaml that labels need. An instrument is a name or a list of names.
type medleyTrack struct {
	Genre string `yaml:"genre"`
	Mix   string `yaml:"mix_filename"`
	Stems map[string]struct {
		Instrument any `yaml:"instrument"`
	} `yaml:"stems"`
}

// medleydbGenres are those of version 1, whose 98 tracks with genre LLark was measured on.
var medleydbGenres = []string{"Singer/Songwriter", "Classical", "Rock", "World/Folk", "Fusion", "Jazz", "Pop", "Musical Theatre", "Rap"}

// notInstruments stand in MedleyDB's lists where a stem is no instrument.
var notInstruments = []string{"unlabeled", "main system", "fx/processed sound", "fx", "scratches"}

// medleydb (Bittner et al., ISMIR 2014) lies as Audio/TRACK/TRACK_MIX.wav, with TRACK_METADATA.yaml beside it or, in the library of the same name, in
// medleydb/data/Metadata.
func medleydb(c *collection) error {
	return filepath.WalkDir(c.From, func(path string, d fs.DirEntry, err error) error {
		track, isMetadata := strings.CutSuffix(d.Name(), "_METADATA.yaml")
		if err != nil || d.IsDir() || !isMetadata || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		text, err := collect.ReadText(path)
		if err != nil {
			return err
		}
		var meta medleyTrack
		if yaml.Unmarshal([]byte(text), &meta) != nil {
			c.Skip(collect.BadRow, d.Name())
			return nil
		}
		mix := track + "_MIX"
		if meta.Mix != "" {
			mix = strings.TrimSuffix(filepath.Base(meta.Mix), filepath.Ext(meta.Mix))
		}
		audio, err := c.Indexed(mix)
		if err != nil {
			return err
		}
		c.add(track, audio, meta.labels())
		return nil
	})
}

func (m medleyTrack) labels() eval.Labels {
	var names []string
	add := func(v any) {
		if name, ok := v.(string); ok && name != "" && !slices.Contains(notInstruments, strings.ToLower(name)) {
			names = append(names, strings.ToLower(name))
		}
	}
	for _, s := range m.Stems {
		if several, ok := s.Instrument.([]any); ok {
			for _, v := range several {
				add(v)
			}
		}
		add(s.Instrument)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	drums := slices.ContainsFunc(names, func(n string) bool { return eval.FamilyOf(n) == "drums" })
	l := eval.Labels{Drums: &drums}
	if len(names) > 0 {
		l.Instruments = &names
	} else {
		l.Drums = nil
	}
	if slices.Contains(medleydbGenres, m.Genre) {
		l.Genre, l.GenreChoices = m.Genre, medleydbGenres
	}
	return l
}
