package ask

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

// slot is one question on one window.
type slot struct{ window, question int }

func compareSlots(a, b slot) int {
	if a.window != b.window {
		return a.window - b.window
	}
	return a.question - b.question
}

// screen lays the answers of one job out as text, one question after the other, though several are answered at once:
// one slot has the floor, the others wait in memory until it has ended.
type screen struct {
	out io.Writer
	// live: out is a terminal; print tokens as they come.
	live bool
	// status takes the progress line; nil = none.
	status *terminal.Line

	questions []string
	windows   int             // in the plan; 0 = not known yet
	spans     []client.Window // of the plan, once it is known

	floor   *slot
	printed string // of the floor's answer
	partial map[slot]string
	ended   map[slot]client.Outcome
	done    map[slot]bool
	window  int // the last window whose heading was printed, -1 = none
	stages  map[string]map[int]string
	warned  bool // the faults of the track were told
}

func newScreen(out io.Writer, status *terminal.Line, live bool, questions []string) *screen {
	return &screen{
		out: out, live: live, status: status, questions: questions, window: -1,
		partial: map[slot]string{}, ended: map[slot]client.Outcome{}, done: map[slot]bool{}, stages: map[string]map[int]string{},
	}
}

func (s *screen) printf(format string, args ...any) {
	s.erase()
	fmt.Fprintf(s.out, format, args...)
}

// token takes new text of an answer.
func (s *screen) token(t client.TokenEvent) {
	at := slot{t.Window, t.Question}
	if !s.live || s.done[at] {
		return
	}
	if t.Seq == 0 {
		s.partial[at] = ""
		if s.floor != nil && *s.floor == at && s.printed != "" {
			s.printf(" ... (started again)\n%s", s.indent())
			s.printed = ""
		}
	}
	s.partial[at] += t.Text
	s.next()
}

// outcome takes the end of a question.
func (s *screen) outcome(o client.Outcome) {
	at := slot{o.Window.Index, o.QuestionIndex}
	if s.done[at] {
		return
	}
	s.warn(o.Track.Warnings)
	s.ended[at] = o
	s.next()
}

// warn says once what is wrong with the track, unless an answer is being printed: then behind it.
func (s *screen) warn(warnings []client.Warning) {
	if s.warned || len(warnings) == 0 || s.floor != nil && s.printed != "" {
		return
	}
	s.warned = true
	for _, w := range warnings {
		s.printf("%s\n", Printable("warning: "+w.Message))
	}
}

// next prints what the slot on the floor has to say, and gives the floor to the next one when it has ended.
func (s *screen) next() {
	for {
		if s.floor == nil {
			at, ok := s.waiting()
			if !ok {
				return
			}
			s.floor, s.printed = &at, ""
			s.heading(at)
		}
		at := *s.floor
		o, over := s.ended[at]
		if !over {
			s.say(s.partial[at])
			return
		}
		s.finish(o)
		delete(s.partial, at)
		delete(s.ended, at)
		s.done[at], s.floor = true, nil
	}
}

// waiting is the first slot that has something to say. While answers come in, a window keeps the floor until all
// of its questions have ended.
func (s *screen) waiting() (slot, bool) {
	all := slices.Collect(maps.Keys(s.ended))
	for at, text := range s.partial {
		if text != "" {
			all = append(all, at)
		}
	}
	if s.live && s.window >= 0 && s.unfinished(s.window) {
		all = slices.DeleteFunc(all, func(at slot) bool { return at.window != s.window })
	}
	if len(all) == 0 {
		return slot{}, false
	}
	return slices.MinFunc(all, compareSlots), true
}

// plan takes the windows of the track.
func (s *screen) plan(windows []client.Window) {
	s.spans, s.windows = windows, len(windows)
}

// heading says which window and which question the next lines belong to, where there are several.
func (s *screen) heading(at slot) {
	if s.windows != 1 && at.window != s.window {
		if s.window >= 0 {
			s.printf("\n")
		}
		s.printf("[%s]\n", s.place(at.window))
	}
	s.window = at.window
	if len(s.questions) > 1 && at.question < len(s.questions) {
		s.printf("%s\n%s", s.questions[at.question], s.indent())
	}
}

// place names a window by its stretch of the track, where that is known.
func (s *screen) place(window int) string {
	switch {
	case len(s.spans) > 1 && window == len(s.spans):
		return "whole track"
	case window < len(s.spans) && s.spans[window].EndS > 0:
		return clock(s.spans[window].StartS) + " to " + clock(s.spans[window].EndS)
	}
	return fmt.Sprintf("window %d", window+1)
}

// unfinished tells whether questions of a window are open.
func (s *screen) unfinished(window int) bool {
	for q := range s.questions {
		if !s.done[slot{window, q}] {
			return true
		}
	}
	return false
}

func (s *screen) indent() string {
	if len(s.questions) > 1 {
		return "  "
	}
	return ""
}

// say prints text as far as it has not been printed.
func (s *screen) say(text string) {
	if !strings.HasPrefix(text, s.printed) {
		s.printf(" ... (started again)\n%s", s.indent())
		s.printed = ""
	}
	if rest := text[len(s.printed):]; rest != "" {
		s.printf("%s", Printable(rest))
		s.printed = text
	}
}

func (s *screen) finish(o client.Outcome) {
	if o.Tags != nil {
		s.tags(*o.Tags, o.Support)
		return
	}
	if o.State == client.OutcomeAnswered {
		s.say(o.Answer)
		s.printf("\n")
		if c := o.Combined; c != nil {
			s.printf("%s(%s of %d windows, %.0f %% of what was heard)\n", s.indent(), c.Rule, len(c.Windows), 100*c.Share)
		}
		if c := o.Check; c != nil && !c.Agrees {
			s.printf("%s(signal processing measures %s, confidence %.2f)\n", s.indent(), Printable(c.Measured), c.Confidence)
		}
		return
	}
	if s.printed != "" {
		s.printf("\n%s", s.indent())
	}
	s.printf("%s\n", reason(o))
}

// tags prints a table of tags, with what signal processing measures where it differs; a heading has indented its first line.
func (s *screen) tags(t tags.Tags, support map[string]client.Check) {
	tempo := ""
	if t.TempoBPM > 0 {
		tempo = fmt.Sprintf("%d BPM", t.TempoBPM)
	}
	for i, row := range [][3]string{
		{"tempo", tempo, "tempo_bpm"},
		{"key", t.Key, "key"},
		{"mode", t.Mode, "mode"},
		{"metre", t.Metre, "metre"},
		{"instruments", strings.Join(t.Instruments, ", ")},
		{"genre", t.Genre},
		{"mood", strings.Join(t.Mood, ", ")},
		{"description", t.Description},
	} {
		if c, ok := support[row[2]]; ok && !c.Agrees {
			row[1] += fmt.Sprintf(" (signal processing measures %s, confidence %.2f)", c.Measured, c.Confidence)
		}
		if i > 0 {
			s.printf("%s", s.indent())
		}
		s.printf("%-12s %s\n", row[0], Printable(cmp.Or(row[1], "unknown")))
	}
}

// reason tells why a question was not answered.
func reason(o client.Outcome) string {
	if o.Error == nil {
		return "not answered: " + o.State
	}
	return Printable(fmt.Sprintf("not answered (%s): %s", o.Error.Code, o.Error.Message))
}

// Printable keeps answers and messages from steering the terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, text)
}

// Print lays out the outcomes of a job that has ended, or as far as it has come.
func Print(out io.Writer, job client.Job, outcomes []client.Outcome) {
	var questions []string
	for _, q := range job.Questions {
		questions = append(questions, q.Text)
	}
	s := newScreen(out, nil, false, questions)
	s.plan(job.Windows)
	s.warn(job.Warnings)
	sortOutcomes(outcomes)
	for _, o := range outcomes {
		s.outcome(o)
	}
}

// sortOutcomes puts outcomes in the order of the track, and of the questions.
func sortOutcomes(outcomes []client.Outcome) {
	slices.SortFunc(outcomes, func(a, b client.Outcome) int {
		return compareSlots(slot{a.Window.Index, a.QuestionIndex}, slot{b.Window.Index, b.QuestionIndex})
	})
}

// Line is one outcome as lark ask --json prints it.
type Line struct {
	JobID    string     `json:"job_id"`
	Question string     `json:"question"`
	State    string     `json:"state"`
	Answer   string     `json:"answer"`
	Tags     *tags.Tags `json:"tags,omitempty"`
	// Check and Support say whether the answer agrees with signal processing.
	Check   *client.Check           `json:"check,omitempty"`
	Support map[string]client.Check `json:"support,omitempty"`
	// Confidence is the model's own; 0 where it does not tell.
	Confidence float64 `json:"confidence,omitempty"`
	// Combined says how an answer about the whole track was made.
	Combined *client.Combined     `json:"combined,omitempty"`
	Error    *client.OutcomeError `json:"error"`
	Track    client.Track         `json:"track"`
	Window   LineWindow           `json:"window"`
	Model    string               `json:"model"`
	Cache    string               `json:"cache"`
	// AnswerCache is hit where the decoder was skipped.
	AnswerCache string         `json:"answer_cache,omitempty"`
	Timings     client.Timings `json:"timings_ms"`
	Tokens      client.Tokens  `json:"tokens"`
	TraceID     string         `json:"trace_id"`
}

// LineWindow is the window of a Line.
type LineWindow struct {
	Index  int     `json:"index"`
	StartS float64 `json:"start_s"`
	EndS   float64 `json:"end_s"`
	HeardS float64 `json:"heard_s"`
	// Warnings are codes of the track's damage in this window.
	Warnings []string `json:"warnings,omitempty"`
}

// NewLine makes the printed form of an outcome.
func NewLine(o client.Outcome) Line {
	return Line{
		JobID: o.JobID, Question: o.Question, State: o.State, Answer: o.Answer, Tags: o.Tags, Check: o.Check, Support: o.Support, Combined: o.Combined, Confidence: o.Confidence, Error: o.Error, Track: o.Track,
		Window: LineWindow{Index: o.Window.Index, StartS: o.Window.StartS, EndS: o.Window.EndS, HeardS: o.Window.HeardS, Warnings: o.Window.Warnings},
		Model:  o.Model, Cache: o.Cache, AnswerCache: o.AnswerCache, Timings: o.Timings, Tokens: o.Tokens, TraceID: o.TraceID,
	}
}

// lines prints one JSON object per outcome.
type lines struct {
	enc  *json.Encoder
	seen map[string]bool
	err  error
}

func newLines(out io.Writer) *lines {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return &lines{enc: enc, seen: map[string]bool{}}
}

func (l *lines) outcome(o client.Outcome) {
	if l.seen[o.ID] {
		return
	}
	l.seen[o.ID] = true
	if err := l.enc.Encode(NewLine(o)); err != nil && l.err == nil {
		l.err = fmt.Errorf("printing outcome: %w", err)
	}
}
