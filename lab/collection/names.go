package collection

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// ClipFile is the file of a clip of a video, by the names that download scripts give it; "" = none.
func (f *Folder) ClipFile(id, start, end string) (string, error) {
	for _, name := range []string{id, fmt.Sprintf("[%s]-[%s-%s]", id, start, end), id + "_" + start, id + "_" + start + "_" + end} {
		path, err := f.Indexed(name)
		if err != nil || path != "" {
			return path, err
		}
	}
	return "", nil
}

// jamendoNames are tags of MTG-Jamendo that are written as one word.
var jamendoNames = map[string]string{
	"acousticbassguitar": "bass guitar", "acousticguitar": "acoustic guitar", "classicalguitar": "classical guitar", "doublebass": "double bass",
	"drummachine": "drum machine", "electricguitar": "electric guitar", "electricpiano": "electric piano", "pipeorgan": "organ", "hiphop": "hip hop",
	"drumnbass": "drum and bass", "easylistening": "easy listening", "newage": "new age", "singersongwriter": "singer-songwriter", "synthpop": "synth pop",
}

// JamendoName is a tag of MTG-Jamendo as people write it.
func JamendoName(tag string) string {
	if n, ok := jamendoNames[tag]; ok {
		return n
	}
	return tag
}

// JamendoAudio is the file of a path of MTG-Jamendo, in full or in low quality; "" = none.
func (f *Folder) JamendoAudio(path string) string {
	low := strings.TrimSuffix(path, ".mp3") + ".low.mp3"
	return f.First(path, low, "audio/"+path, "audio/"+low, "raw_30s/audio/"+path, "raw_30s/audio-low/"+low, "autotagging/audio/"+path)
}

// MagnaGenres are the tags of MagnaTagATune that name a genre.
var MagnaGenres = []string{
	"classical", "rock", "techno", "electronic", "ambient", "opera", "indian", "country", "metal", "pop", "new age", "jazz", "blues", "folk", "punk",
	"hip hop", "disco", "funk", "reggae", "trance", "dance", "medieval", "baroque", "celtic", "jungle", "industrial", "house", "rap", "heavy metal", "hard rock",
}

// MusicNetInstruments are the General MIDI programs, from 1, that MusicNet's labels hold.
var MusicNetInstruments = map[string]string{
	"1": "piano", "7": "harpsichord", "41": "violin", "42": "viola", "43": "cello", "44": "double bass", "61": "horn", "69": "oboe", "71": "bassoon",
	"72": "clarinet", "74": "flute",
}

// MusicNetRate is the rate of the times in MusicNet's labels, in Hz.
const MusicNetRate = 44100

// Lines calls each with the lines of a text file. A line longer than MaxText is an error.
func (f *Folder) Lines(path string, each func(string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	scan := bufio.NewScanner(SkipMark(file))
	scan.Buffer(make([]byte, 4096), MaxText)
	for scan.Scan() {
		if strings.TrimSpace(scan.Text()) == "" {
			continue
		}
		if err := each(scan.Text()); err != nil {
			return err
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// Located is the first of several places that is there, or else the first as it would be named; "" = all lead out of the folder.
func (f *Folder) Located(names ...string) string {
	if p := f.First(names...); p != "" {
		return p
	}
	return f.Path(names[0])
}
