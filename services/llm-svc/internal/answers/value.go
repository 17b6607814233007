package answers

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/shared/event"
)

// maxStored is the largest stored answer in bytes: JSON writes a byte of text as six bytes at most.
const maxStored = 6*event.MaxAnswerBytes + 4096

var (
	errCorrupt  = errors.New("the stored answer is damaged")
	errOtherKey = errors.New("the stored answer belongs to another key")
)

// Answer is an answer with what it cost when it was decoded.
type Answer struct {
	Text         string `json:"text"`
	PromptTokens int    `json:"prompt_tokens"`
	OutputTokens int    `json:"output_tokens"`
	// AudioTokens are those of PromptTokens that are frames, and Finish is why the answer ends; answers kept before this was counted have neither.
	AudioTokens int    `json:"audio_tokens,omitempty"`
	Finish      string `json:"finish,omitempty"`
	// Confidence is the decoder's own; left out where it does not tell.
	Confidence float64 `json:"confidence,omitempty"`
}

// stored is the form in the object store, behind the SHA-256 of its JSON.
type stored struct {
	Key string `json:"key"`
	Answer
}

func (a Answer) check() error {
	if len(a.Text) > event.MaxAnswerBytes || !utf8.ValidString(a.Text) {
		return fmt.Errorf("a text of %d bytes is over %d or not UTF-8", len(a.Text), event.MaxAnswerBytes)
	}
	for _, n := range []int{a.PromptTokens, a.AudioTokens, a.OutputTokens} {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%d tokens are no count", n)
		}
	}
	if !slices.Contains([]string{"", contract.FinishStop, contract.FinishLength}, a.Finish) {
		return fmt.Errorf("%.20q is no end of an answer", a.Finish)
	}
	if !(a.Confidence >= 0 && a.Confidence <= 1) { // also where it is NaN
		return fmt.Errorf("confidence %v is not between 0 and 1", a.Confidence)
	}
	return nil
}

// seal makes the stored form of an answer.
func seal(key string, a Answer) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("storing %s: %w", key, err)
	}
	raw, err := json.Marshal(stored{key, a})
	if err != nil {
		return nil, fmt.Errorf("storing %s: %w", key, err)
	}
	sum := sha256.Sum256(raw)
	return append(sum[:], raw...), nil
}

// unseal reads the stored form of the answer of key.
func unseal(key string, raw []byte) (Answer, error) {
	if len(raw) < sha256.Size || len(raw) > maxStored {
		return Answer{}, fmt.Errorf("%w: %d bytes", errCorrupt, len(raw))
	}
	sum := sha256.Sum256(raw[sha256.Size:])
	if !bytes.Equal(sum[:], raw[:sha256.Size]) {
		return Answer{}, fmt.Errorf("%w: its checksum differs", errCorrupt)
	}
	var s stored
	if err := json.Unmarshal(raw[sha256.Size:], &s); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	if s.Key != key {
		return Answer{}, errOtherKey
	}
	if err := s.check(); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return s.Answer, nil
}
