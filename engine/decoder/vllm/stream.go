package vllm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/larkstream/larkstream/engine/decoder/contract"
)

const (
	maxLine   = 1 << 20  // bytes of one line of an event stream
	maxStream = 32 << 20 // bytes of a whole one
)

// errDone ends the reading of a stream whose end was told.
var errDone = errors.New("done")

// readEvents calls handle with the data of each server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)
// until the stream ends or handle returns an error. Every other field is passed over.
func readEvents(r io.Reader, handle func(data []byte) error) error {
	limited := &io.LimitedReader{R: r, N: maxStream + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	var data []byte
	has := false
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if has {
				if err := handle(data); err != nil {
					return err
				}
			}
			data, has = data[:0], false
			continue
		}
		value, found := bytes.CutPrefix(line, []byte("data:"))
		if !found {
			continue
		}
		if has {
			data = append(data, '\n')
		}
		data, has = append(data, bytes.TrimPrefix(value, []byte(" "))...), true
		if len(data) > maxLine {
			return fmt.Errorf("an event is larger than %d bytes", maxLine)
		}
	}
	switch {
	case errors.Is(lines.Err(), bufio.ErrTooLong):
		return fmt.Errorf("a line is longer than %d bytes", maxLine)
	case lines.Err() != nil:
		return lines.Err()
	case limited.N == 0:
		return fmt.Errorf("the stream is longer than %d bytes", maxStream)
	}
	return nil // an event without its empty line was cut off, and does not count
}

// chunk is one event of a completion.
type chunk struct {
	Error   *serverFault `json:"error"`
	Choices []struct {
		Index        int             `json:"index"`
		Text         string          `json:"text"`
		FinishReason *string         `json:"finish_reason"`
		StopReason   json.RawMessage `json:"stop_reason"` // null: the end of sequence; a number: a stop token; a string: a stop text
	} `json:"choices"`
	Usage *struct {
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
}

// completion is how an answer ended.
type completion struct {
	finish string
	tokens int // without the stop token; the tokens of a stop text count
}

// reading puts a completion together from its events.
type reading struct {
	emit     func(text string)
	finish   string
	byToken  bool // the answer ended with a stop token, which the server counts
	tokens   int
	hasUsage bool
	done     bool
}

// readCompletion reads a completion's stream to its end. emit is called with the text of each event, also with an empty one.
func readCompletion(r io.Reader, emit func(text string)) (completion, error) {
	s := reading{emit: emit}
	if err := readEvents(r, s.event); err != nil && !errors.Is(err, errDone) {
		return completion{}, err
	}
	switch {
	case !s.done || s.finish == "":
		return completion{}, io.ErrUnexpectedEOF
	case !s.hasUsage:
		return completion{}, errors.New("the server does not tell the number of tokens (stream_options.include_usage)")
	}
	if s.byToken {
		s.tokens--
	}
	return completion{finish: s.finish, tokens: max(s.tokens, 0)}, nil
}

func (s *reading) event(data []byte) error {
	if string(data) == "[DONE]" {
		s.done = true
		return errDone
	}
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("an event is not the JSON of a completion: %w", err)
	}
	if c.Error != nil {
		return c.Error.refusal()
	}
	if c.Usage != nil {
		if c.Usage.CompletionTokens < 0 {
			return errors.New("the number of tokens is below 0")
		}
		s.tokens, s.hasUsage = c.Usage.CompletionTokens, true
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 || s.finish != "" {
			return errors.New("the stream holds more than the one answer asked for")
		}
		s.emit(choice.Text)
		if choice.FinishReason == nil {
			continue
		}
		s.finish = *choice.FinishReason
		s.byToken = s.finish == contract.FinishStop && !bytes.HasPrefix(choice.StopReason, []byte(`"`))
		if s.finish != contract.FinishStop && s.finish != contract.FinishLength {
			return fmt.Errorf("the server ended the answer with %.40q", s.finish)
		}
	}
	return nil
}
