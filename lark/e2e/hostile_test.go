package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
)

// memoryBound is what no process may have held at once, whatever it was sent.
const memoryBound = 256 << 20

// hostile is a file that somebody may send and what must come of it: a problem of the API, a failed outcome, or an answer.
type hostile struct {
	name  string
	audio func() []byte
	// code of the problem or of the failed outcome; empty for an answer.
	code string
}

func hostiles() []hostile {
	second := make([]int16, sampleRate)
	for i := range second {
		second[i] = int16(i)
	}
	return []hostile{
		{"empty file", func() []byte { return nil }, event.CodeAudioEmpty},
		{"text named mp3", func() []byte { return []byte(strings.Repeat("All work and no play. ", 1000)) }, event.CodeAudioUndecodable},
		{"truncated flac", func() []byte { f := flacTone(4); return f[:len(f)/2] }, event.CodeAudioUndecodable},
		{"wav that claims 4 GB", func() []byte { return wavClaiming(0xffff_ff00, sampleRate, 1, second) }, event.CodeAudioUndecodable},
		{"wav header alone that claims 4 GB", func() []byte { return wavClaiming(0xffff_ff00, sampleRate, 1, nil) }, event.CodeAudioUndecodable},
		{"10 ms", func() []byte { return wav(sampleRate, 1, second[:sampleRate/100]) }, event.CodeAudioTooShort},
		{"silence", func() []byte { return wav(sampleRate, 1, make([]int16, 5*sampleRate)) }, ""},
		{"8 channels at 192 kHz", func() []byte { return wav(192_000, 8, make([]int16, 8*192_000*2)) }, ""},
		{"an hour", func() []byte { return wav(8000, 1, make([]int16, 3600*8000)) }, ""},
		{"48 hours in 2 MB", func() []byte { return flacBomb(48) }, event.CodeAudioTooLong},
	}
}

func TestHostileFiles(t *testing.T) {
	s := tester(t)
	pids := s.pids()
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			require.Equal(t, h.code, s.fate(t, h.audio()))
			s.requireWorks(t)
		})
	}
	require.Equal(t, pids, s.pids(), "a stage has died")
	for _, stage := range append(workStages(), up.Gateway) {
		peak := s.peakMemory(t, stage)
		t.Logf("%s has held %d MiB at most", stage, peak>>20)
		require.LessOrEqual(t, peak, int64(memoryBound), stage)
	}
}

func (s *stack) pids() map[string]int {
	pids := map[string]int{}
	for _, stage := range append(workStages(), up.Gateway, up.Broker) {
		pids[stage] = s.pid(stage)
	}
	return pids
}

// fate submits audio and returns the code of the API's problem or of the failed outcome; empty if it was answered.
func (s *stack) fate(t *testing.T, audio []byte) string {
	t.Helper()
	job, err := s.trySubmit(t.Context(), audio, client.Submission{Questions: []string{"What is the tempo?"}})
	if err != nil {
		return problem(t, err).Code
	}
	_, outcomes := s.finish(t, job.ID)
	require.Len(t, outcomes, 1)
	if outcomes[0].Error == nil {
		return ""
	}
	require.Equal(t, client.OutcomeFailed, outcomes[0].State)
	require.NotEmpty(t, outcomes[0].Error.Message)
	return outcomes[0].Error.Code
}

func problem(t *testing.T, err error) *client.Problem {
	t.Helper()
	p, ok := client.AsProblem(err)
	require.True(t, ok, "%v", err)
	return p
}

func TestHostileQuestions(t *testing.T) {
	s := tester(t)
	audio := melody(seedOf(t), 2)
	for name, questions := range map[string][]string{
		"of 100 kB":     {strings.Repeat("why ", 25_000)},
		"none":          {},
		"an empty one":  {""},
		"a thousand":    strings.Split(strings.Repeat("why?,", 999)+"why?", ","),
		"not any text":  {"\xff\xfe\x00"},
		"one of spaces": {"   "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.trySubmit(t.Context(), audio, client.Submission{Questions: questions})
			p := problem(t, err)
			require.GreaterOrEqual(t, p.Status, http.StatusBadRequest)
			require.Less(t, p.Status, http.StatusInternalServerError)
			require.NotEmpty(t, p.Code)
		})
	}
	s.requireWorks(t)
}
