package index

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/filetags"
)

// rekordboxTrack is an element TRACK of a collection: Pioneer DJ, "rekordbox XML format list".
type rekordboxTrack struct {
	XMLName    xml.Name `xml:"TRACK"`
	ID         int64    `xml:"TrackID,attr"`
	Name       string   `xml:"Name,attr"`
	Artist     string   `xml:"Artist,attr"`
	Album      string   `xml:"Album,attr"`
	Genre      string   `xml:"Genre,attr"`
	Kind       string   `xml:"Kind,attr,omitempty"`
	Size       int64    `xml:"Size,attr,omitempty"`
	TotalTime  int64    `xml:"TotalTime,attr"`
	AverageBpm string   `xml:"AverageBpm,attr,omitempty"`
	Tonality   string   `xml:"Tonality,attr,omitempty"`
	Location   string   `xml:"Location,attr"`
}

// rekordboxOf makes the element of a track. Title, artist and album are those of the manifest; a track without a title has the name of its file.
func rekordboxOf(t Track) rekordboxTrack {
	file, _ := localPath(t.URI) // others are left out before
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	ext := path.Ext(file)
	out := rekordboxTrack{
		ID: t.Number, Name: t.Fields["title"], Artist: t.Fields["artist"], Album: t.Fields["album"], Genre: text(t.Genre), Size: t.Bytes,
		TotalTime: int64(math.Round(t.DurationS)), Tonality: filetags.KeyName(text(t.Key), text(t.Mode)),
		Location: (&url.URL{Scheme: "file", Host: "localhost", Path: file}).String(),
	}
	if out.Name == "" {
		out.Name = strings.ToValidUTF8(strings.TrimSuffix(path.Base(file), ext), "\uFFFD")
	}
	if ext != "" {
		out.Kind = strings.ToUpper(strings.ToValidUTF8(ext[1:], "")) + " File"
	}
	if t.TempoBPM != nil {
		out.AverageBpm = fmt.Sprintf("%.2f", float64(*t.TempoBPM))
	}
	return out
}

// notForRekordbox tells why a track is not in a collection.
func notForRekordbox(t Track) string {
	if _, ok := localPath(t.URI); !ok {
		return "not a file"
	}
	if t.State != client.StateSucceeded && t.State != client.StatePartial {
		return t.State
	}
	return ""
}

// rekordbox writes a whole document, with the tracks in a playlist of the given name, so that all of them can be imported at once. The number of tracks stands
// before the first one; therefore tracks wait in a temporary file.
func rekordbox(out io.Writer, _ Export, playlist string) (encoder[Track], error) {
	spool, err := os.CreateTemp("", "lark-rekordbox-*.xml")
	if err != nil {
		return encoder[Track]{}, fmt.Errorf("making temporary file: %w", err)
	}
	enc := xml.NewEncoder(spool)
	enc.Indent("    ", "  ")
	var numbers []int64
	return encoder[Track]{
		write: func(t Track) error {
			numbers = append(numbers, t.Number)
			return enc.Encode(rekordboxOf(t))
		},
		flush: func() error {
			if _, err := spool.Seek(0, io.SeekStart); err != nil {
				return err
			}
			_, err := fmt.Fprintf(out, "%s<DJ_PLAYLISTS Version=\"1.0.0\">\n  <PRODUCT Name=\"larkstream\" Version=\"1.0\" Company=\"larkstream\"></PRODUCT>\n  <COLLECTION Entries=\"%d\">\n",
				xml.Header, len(numbers))
			if err == nil {
				_, err = io.Copy(out, spool)
			}
			if err == nil {
				_, err = io.WriteString(out, "\n  </COLLECTION>\n")
			}
			return errors.Join(err, writePlaylist(out, playlist, numbers))
		},
		close: func() error { return errors.Join(spool.Close(), os.Remove(spool.Name())) },
	}, nil
}

func writePlaylist(out io.Writer, name string, numbers []int64) error {
	var quoted strings.Builder
	if err := xml.EscapeText(&quoted, []byte(name)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "  <PLAYLISTS>\n    <NODE Type=\"0\" Name=\"ROOT\" Count=\"1\">\n      <NODE Name=\"%s\" Type=\"1\" KeyType=\"0\" Entries=\"%d\">\n", quoted.String(), len(numbers))
	for _, n := range numbers {
		if err == nil {
			_, err = fmt.Fprintf(out, "        <TRACK Key=\"%d\"></TRACK>\n", n)
		}
	}
	if err == nil {
		_, err = io.WriteString(out, "      </NODE>\n    </NODE>\n  </PLAYLISTS>\n</DJ_PLAYLISTS>\n")
	}
	return err
}
