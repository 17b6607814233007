package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/rules"
)

// mostPairs bounds a reply.
const mostPairs = 64

var fence = regexp.MustCompile("(?s)^```(?:json)?\\s*\\n(.*)\\n```$")

// Parse reads a reply: one JSON list of objects with question and answer and nothing else. The list may stand in one code fence, which some models
// cannot be kept from.
func Parse(reply string) ([]rules.Pair, error) {
	text := strings.TrimSpace(reply)
	if m := fence.FindStringSubmatch(text); m != nil {
		text = strings.TrimSpace(m[1])
	}
	if text == "" {
		return nil, errors.New("the reply is empty")
	}
	if text[0] != '[' {
		return nil, fmt.Errorf("the reply begins with %.20q and not with a JSON list", text)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	var pairs []struct {
		Question *string `json:"question"`
		Answer   *string `json:"answer"`
	}
	if err := dec.Decode(&pairs); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "unexpected end") {
			return nil, errors.New("the reply is cut off")
		}
		return nil, fmt.Errorf("the reply is no list of question and answer: %w", err)
	}
	if rest := strings.TrimSpace(text[dec.InputOffset():]); rest != "" {
		return nil, fmt.Errorf("the reply goes on behind its JSON list with %.20q", rest)
	}
	if len(pairs) == 0 || len(pairs) > mostPairs {
		return nil, fmt.Errorf("the reply has %d pairs, want 1 to %d", len(pairs), mostPairs)
	}
	out := make([]rules.Pair, len(pairs))
	for i, p := range pairs {
		if p.Question == nil || p.Answer == nil {
			return nil, fmt.Errorf("pair %d of the reply has no question or no answer", i+1)
		}
		out[i] = rules.Pair{Question: strings.TrimSpace(*p.Question), Answer: strings.TrimSpace(*p.Answer)}
	}
	return out, nil
}
