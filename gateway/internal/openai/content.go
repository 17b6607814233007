package openai

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Content of a message: a text, or parts.
type Content []Part

// UnmarshalJSON implements json.Unmarshaler.
func (c *Content) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		err := json.Unmarshal(raw, &text)
		*c = Content{{Type: partText, Text: text}}
		return err
	}
	return json.Unmarshal(raw, (*[]Part)(c))
}

// Schema implements huma.SchemaProvider.
func (Content) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, huma.SchemaFromType(r, partsType)}}
}

// Types of parts.
const (
	partText  = "text"
	partAudio = "input_audio"
	partURL   = "audio_url"
)

// said is the text of the parts, line by line.
func (c Content) said() string {
	var lines []string
	for _, p := range c {
		if p.Text != "" {
			lines = append(lines, p.Text)
		}
	}
	return strings.Join(lines, "\n")
}
