package audio

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// ffmpegLog reads what ffmpeg says, line by line, and keeps what it means. Nothing of its text goes further: it holds
// addresses, paths and advice about options that nobody here can set.
type ffmpegLog struct {
	line    []byte
	reasons map[string]bool
	errors  int  // lines that tell of damage
	corrupt int  // packets that were called corrupt
	early   bool // the file ends within something
	length  time.Duration
	guessed bool // the length is an estimate
	streams int  // beside covers
	audio   bool
	output  bool // decoding has begun
	codec   bool // a decoder that is not allowed was asked for
}

const maxLogLine = 1 << 10

const unknownContent = "the content is no audio format that is known"

// meanings are what ffmpeg says of a file, and what that means for its owner, the most telling first.
var meanings = []struct{ says, means string }{
	{"moov atom not found", "the %s file has no index (moov): its upload or recording was not finished"},
	{"DRM protected", "the %s file is encrypted (DRM): only its rightful player reads it"},
	{"Format not on whitelist", unknownContent},
	{"Unknown decoder", "the ffmpeg that is installed was built without its decoder of %s: install the ffmpeg of the system"},
	{"Cannot allocate memory", "decoding the %s file needs more memory than is allowed"},
}

func (l *ffmpegLog) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		l.line = append(l.line, line[:min(len(line), maxLogLine-len(l.line))]...)
		b = rest
		if whole {
			l.take(string(l.line))
			l.line = l.line[:0]
		}
	}
	return n, nil
}

func (l *ffmpegLog) take(line string) {
	for _, m := range meanings {
		if strings.Contains(line, m.says) {
			l.note(m.says)
		}
	}
	switch {
	case strings.Contains(line, "Output #0"):
		l.output = true
	case strings.Contains(line, "Estimating duration from bitrate"):
		l.guessed = true
	case strings.Contains(line, "  Duration: "):
		l.length = parseDuration(line)
	case strings.Contains(line, "  Stream #0:") && !strings.Contains(line, " -> ") && !l.output:
		l.stream(line)
	case strings.Contains(line, "File ended prematurely"), strings.Contains(line, "partial file"), strings.Contains(line, "Truncating packet"):
		l.early, l.errors = true, l.errors+1
	case strings.Contains(line, "not on whitelist"):
		l.codec = true
	case strings.Contains(line, "Packet corrupt"):
		l.corrupt++
	case strings.Contains(line, "[error]"), strings.Contains(line, "[fatal]"), strings.Contains(line, "[panic]"):
		l.errors++
	}
}

func (l *ffmpegLog) note(says string) {
	if l.reasons == nil {
		l.reasons = map[string]bool{}
	}
	l.reasons[says] = true
}

func (l *ffmpegLog) stream(line string) {
	if strings.Contains(line, "(attached pic)") {
		return
	}
	l.streams++
	l.audio = l.audio || strings.Contains(line, ": Audio: ")
}

// parseDuration reads "  Duration: 01:02:03.45, start: ..."; 0 if it is not known.
func parseDuration(line string) time.Duration {
	_, rest, _ := strings.Cut(line, "Duration: ")
	var h, m int
	var s float64
	if n, _ := fmt.Sscanf(rest, "%d:%d:%f", &h, &m, &s); n != 3 {
		return 0
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s*float64(time.Second))
}

// duration is the length in seconds that the container tells of its one stream of sound. Of several streams another may be longer.
func (l *ffmpegLog) duration() (float64, bool) {
	return l.length.Seconds(), l.length > 0 && !l.guessed && l.streams == 1
}

// reason tells why a file gave nothing.
func (l *ffmpegLog) reason(name string) string {
	for _, m := range meanings {
		if !l.reasons[m.says] {
			continue
		}
		if strings.Contains(m.means, "%s") {
			return fmt.Sprintf(m.means, name)
		}
		return m.means
	}
	switch {
	case l.streams > 0 && !l.audio:
		return "the file has no audio stream: it holds video or data only"
	case l.audio && l.codec && !l.output:
		return fmt.Sprintf("the sound of the %s file is in a codec that is not read here: convert it to flac, mp3 or aac", name)
	case l.early:
		return fmt.Sprintf("the %s file is truncated before its first sample", name)
	case l.streams == 0 && name == unknownName:
		return unknownContent
	case l.streams == 0:
		return fmt.Sprintf("the file begins like %s, but its header cannot be read: it is damaged or of another format", name)
	}
	return fmt.Sprintf("nothing of the %s file could be decoded: it is damaged, encrypted, of another format, or of a variant that is not read here", name)
}
