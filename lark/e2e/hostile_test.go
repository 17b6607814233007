package e2e

import (
	"net/http"
	"os"
	"path/filepath"
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
	// strict asks for a track without damage.
	strict bool
	// warns is the warning that the answer comes with; empty for none.
	warns string
}

func hostiles() []hostile {
	second := make([]int16, sampleRate)
	for i := range second {
		second[i] = int16(i)
	}
	return []hostile{
		{name: "empty file", audio: func() []byte { return nil }, code: event.CodeAudioEmpty},
		{name: "text named mp3", audio: func() []byte { return []byte(strings.Repeat("All work and no play. ", 1000)) }, code: event.CodeAudioUndecodable},
		{name: "truncated flac", audio: halfFLAC, warns: "truncated"},
		{name: "truncated flac, strict", audio: halfFLAC, strict: true, code: event.CodeAudioDamaged},
		{name: "wav that claims 3 GB", audio: func() []byte { return wavClaiming(3_000_000_000, sampleRate, 1, second) }, warns: "truncated"},
		{name: "wav from a pipe", audio: func() []byte { return wavClaiming(0xffff_ff00, sampleRate, 1, second) }, warns: "dc_offset"},
		{name: "wav header alone", audio: func() []byte { return wavClaiming(0xffff_ff00, sampleRate, 1, nil) }, code: event.CodeAudioEmpty},
		{name: "10 ms", audio: func() []byte { return wav(sampleRate, 1, second[:sampleRate/100]) }, code: event.CodeAudioTooShort},
		{name: "silence", audio: func() []byte { return wav(sampleRate, 1, make([]int16, 5*sampleRate)) }, warns: "too_quiet"},
		{name: "8 channels at 192 kHz", audio: func() []byte { return wav(192_000, 8, make([]int16, 8*192_000*2)) }, warns: "too_quiet"},
		{name: "an hour", audio: func() []byte { return wav(8000, 1, make([]int16, 3600*8000)) }, warns: "too_quiet"},
		{name: "48 hours in 2 MB", audio: func() []byte { return flacBomb(48) }, code: event.CodeAudioTooLong},
		{name: "mp3 of two rates", audio: odd("cat-44k-48k.mp3"), warns: "sample_rate_changed"},
		{name: "mp3 damaged everywhere", audio: odd("damaged-everywhere.mp3"), warns: "damaged_frames"},
		{name: "flac that begins with a picture", audio: odd("picture-first.flac"), code: event.CodeAudioUndecodable},
	}
}

func halfFLAC() []byte {
	f := flacTone(4)
	return f[:len(f)/2]
}

// odd is a file of the audio package's own cases.
func odd(name string) func() []byte {
	return func() []byte {
		data, err := os.ReadFile(filepath.Join("..", "..", "engine", "audio", "testdata", "cases", name))
		if err != nil {
			panic(err)
		}
		return data
	}
}

func TestHostileFiles(t *testing.T) {
	s := tester(t)
	pids := s.pids()
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			code, warnings := s.fate(t, h.audio(), client.Options{Strict: h.strict})
			require.Equal(t, h.code, code)
			if h.warns == "" {
				require.Empty(t, warnings)
			} else {
				require.Contains(t, warnings, h.warns)
			}
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

// fate submits audio and returns the code of the API's problem or of the failed outcome, empty if it was answered, and the codes of the
// warnings that an answer came with.
func (s *stack) fate(t *testing.T, audio []byte, options client.Options) (code string, warnings []string) {
	t.Helper()
	job, err := s.trySubmit(t.Context(), audio, client.Submission{Questions: []string{"What is the tempo?"}, Options: options})
	if err != nil {
		return problem(t, err).Code, nil
	}
	_, outcomes := s.finish(t, job.ID)
	require.Len(t, outcomes, 1)
	if outcomes[0].Error != nil {
		require.Equal(t, client.OutcomeFailed, outcomes[0].State)
		require.NotEmpty(t, outcomes[0].Error.Message)
		return outcomes[0].Error.Code, nil
	}
	for _, w := range outcomes[0].Track.Warnings {
		warnings = append(warnings, w.Code)
	}
	return "", warnings
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
