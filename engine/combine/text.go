package combine

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Part is what was said about a stretch of the track, in seconds.
type Part struct {
	StartS, EndS float64
	Text         string
}

// maxShare bounds what one window's answer takes of a question, in bytes.
const maxShare = 1200

// Question asks the model to combine its own answers about the parts of a track into one answer to a question. The result has at most limit bytes: long
// answers are cut, all to the same length.
func Question(question string, parts []Part, limit int) string {
	head := "You have listened to one track in parts, and described them one after the other:\n"
	tail := "Combine this into one answer about the whole track, without naming the parts. " + question
	room := limit - len(head) - len(tail)
	share := maxShare
	if len(parts) > 0 {
		share = min(share, room/len(parts))
	}
	return head + list(parts, share) + tail
}

// Join is the answers one behind the other, each with its stretch of the track, in at most limit bytes.
func Join(parts []Part, limit int) string {
	return strings.TrimSpace(list(parts, limit/max(1, len(parts))))
}

// list has one line for each part, none of more than share bytes.
func list(parts []Part, share int) string {
	var out strings.Builder
	for _, p := range parts {
		line := fmt.Sprintf("%s to %s: %s", clock(p.StartS), clock(p.EndS), strings.Join(strings.Fields(p.Text), " "))
		if line = cut(line, share-1); line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// cut shortens a text to so many bytes, between two characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:max(0, limit)]
}

func clock(s float64) string { return fmt.Sprintf("%d:%02d", int(s)/60, int(s)%60) }
