// Package fake is a language model's API for tests and trials: it answers well out of the metadata that it is sent, or as badly as it is told to.
package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/larkstream/larkstream/lab/dataset/rules"
)

// Kind of an answer.
type Kind int

// The kinds.
const (
	// Well answers with true pairs, Fenced with the same in a code fence.
	Well Kind = iota
	Fenced
	// Prose puts words around the JSON, CutOff ends in the middle of it, NotAList sends an object, Empty sends nothing.
	Prose
	CutOff
	NotAList
	Empty
	// Lies answers with things that the metadata does not have, Leaks speaks of the metadata.
	Lies
	Leaks
	// WrongClip answers about the clip of the request before.
	WrongClip
	// TooMany, Broken, Refuses and Forbidden are 429, 500, 400 and 401.
	TooMany
	Broken
	Refuses
	Forbidden
	// HangsUp closes the connection.
	HangsUp
	// Waits sends nothing before Server.Go is closed.
	Waits
)

// Server is an http.Handler. Answers says of what kind the answer to each request is, by its number from 0.
type Server struct {
	Answers func(n int, metadata string) Kind
	// Go releases answers that wait.
	Go chan struct{}
	// Requests counts requests.
	Requests atomic.Int64

	before atomic.Pointer[[]rules.Pair]
}

type request struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
}

// ServeHTTP answers /v1/chat/completions.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(s.Requests.Add(1)) - 1
	var req request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<24)).Decode(&req); err != nil || len(req.Messages) == 0 || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		http.Error(w, "want a chat completion", http.StatusBadRequest)
		return
	}
	metadata := req.Messages[len(req.Messages)-1].Content
	kind := Well
	if s.Answers != nil {
		kind = s.Answers(n, metadata)
	}
	switch kind {
	case TooMany:
		w.Header().Set("Retry-After", "0")
		http.Error(w, "slow down", http.StatusTooManyRequests)
	case Broken:
		http.Error(w, "oops", http.StatusInternalServerError)
	case Refuses:
		http.Error(w, "the context is too long", http.StatusBadRequest)
	case Forbidden:
		http.Error(w, "no such key", http.StatusUnauthorized)
	case HangsUp:
		panic(http.ErrAbortHandler)
	case Waits:
		select {
		case <-s.Go:
		case <-r.Context().Done():
			return
		}
		s.send(w, req, text(Well, s.pairs(metadata)))
	case WrongClip:
		pairs := s.before.Load()
		if pairs == nil {
			pairs = &[]rules.Pair{}
		}
		s.send(w, req, text(Well, *pairs))
	default:
		s.send(w, req, text(kind, s.pairs(metadata)))
	}
}

// pairs says what the metadata says, in ten pairs.
func (s *Server) pairs(metadata string) []rules.Pair {
	var m struct {
		Tempo float64 `json:"tempo_bpm"`
		Mir   float64 `json:"tempo_in_beats_per_minute_mir"`
		Key   string  `json:"key"`
		Metre string  `json:"metre"`
		Drums *bool   `json:"drums"`
	}
	_ = json.Unmarshal([]byte(metadata), &m) // what it does not have is not said
	if m.Tempo == 0 {
		m.Tempo = m.Mir
	}
	pairs := []rules.Pair{{Question: "How does this music strike you?", Answer: "It strikes me as a piece worth hearing twice."}}
	if m.Tempo > 0 {
		pairs = append(pairs, rules.Pair{Question: "How fast should I dance to this?", Answer: fmt.Sprintf("Dance at %.0f BPM.", m.Tempo)},
			rules.Pair{Question: "At what tempo would a band count this in?", Answer: fmt.Sprintf("They would count it in at %.0f beats per minute.", m.Tempo)},
			rules.Pair{Question: "What does the pulse of the music measure?", Answer: fmt.Sprintf("It measures %.0f BPM.", m.Tempo)})
	}
	if m.Key != "" {
		pairs = append(pairs, rules.Pair{Question: "Where is the harmony at home?", Answer: "It is at home in " + m.Key + "."},
			rules.Pair{Question: "Which key would you write at the top of the page?", Answer: "I would write " + m.Key + "."},
			rules.Pair{Question: "What is the tonality, as far as you hear it?", Answer: "The tonality is " + m.Key + "."})
	}
	if m.Metre != "" {
		pairs = append(pairs, rules.Pair{Question: "How would you beat time to this?", Answer: "I would beat time in " + m.Metre + "."},
			rules.Pair{Question: "What is the time signature of the music?", Answer: "Its time signature is " + m.Metre + "."})
	}
	if m.Tempo > 0 && m.Key != "" {
		pairs = append(pairs, rules.Pair{Question: "What should I know before I join in?", Answer: fmt.Sprintf("Join in at %.0f BPM, in %s.", m.Tempo, m.Key)})
	}
	s.before.Store(&pairs)
	return pairs
}

func text(kind Kind, pairs []rules.Pair) string {
	switch kind {
	case Lies:
		pairs = []rules.Pair{
			{Question: "How fast is this going?", Answer: "It goes at 213.7 BPM."},
			{Question: "Which chords do you hear here?", Answer: "The chords are C#dim and Gbaug."},
			{Question: "Who is playing on this?", Answer: "A tuba and a harpsichord."},
			{Question: "When was this made?", Answer: "It was made in Liverpool in 1963."},
		}
	case Leaks:
		pairs = []rules.Pair{{Question: "What can you say about this?", Answer: "According to the metadata it is a fine piece."}}
	case Empty:
		return ""
	case NotAList:
		return `{"pairs": []}`
	}
	raw, _ := json.Marshal(pairs) // pairs of strings always marshal
	switch kind {
	case Fenced:
		return "```json\n" + string(raw) + "\n```"
	case Prose:
		return "Sure! Here are the pairs:\n" + string(raw)
	case CutOff:
		return string(raw[:len(raw)*2/3])
	}
	return string(raw)
}

func (s *Server) send(w http.ResponseWriter, req request, text string) {
	in := 0
	for _, m := range req.Messages {
		in += len(m.Content) / 4
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client has gone: nobody is left to tell
		"object": "chat.completion", "model": req.Model, "usage": map[string]int{"prompt_tokens": in, "completion_tokens": len(text) / 4},
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": text}}},
	})
}
