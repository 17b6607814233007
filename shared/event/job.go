package event

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Names of the ways to cut a track into windows.
const (
	PlanAuto     = "auto"
	PlanAll      = "all"
	PlanExplicit = "explicit"
)

// planNames stand at the numbers of their enumeration.
var planNames = []string{
	eventpb.PlanMode_PLAN_MODE_AUTO: PlanAuto, eventpb.PlanMode_PLAN_MODE_ALL: PlanAll, eventpb.PlanMode_PLAN_MODE_EXPLICIT: PlanExplicit,
}

// KnownPlan tells whether a plan has this name.
func KnownPlan(name string) bool { return name != "" && slices.Contains(planNames, name) }

// SchemaTags is the response_schema of structured tags, see engine/tags; empty is free text.
const SchemaTags = "tags"

// JobSpec is a job as it was asked for: the API makes one of a request, `lark feed` of a line, the job store keeps it, and a record of
// lark.jobs.v1 carries it.
type JobSpec struct {
	ID    string
	Audio AudioFile
	// Questions in the order of their indexes.
	Questions []string
	// Plan is one of PlanAuto, PlanAll and PlanExplicit; Spans are the windows of PlanExplicit.
	Plan   string
	Spans  []Span
	Decode Decoding
	Options
	// ModelDigest is the digest of the bundle that must answer; empty for whichever is deployed.
	ModelDigest string
	Created     time.Time
	// Deadline is zero for a job without one.
	Deadline time.Time
}

// AudioFile is submitted audio by its content. AudioKey(SHA256) is where its bytes lie.
type AudioFile struct {
	SHA256 string
	// Name is for display.
	Name  string
	Bytes int64
	// URI is where the audio lies if it is not stored: see shared/source.
	URI string
}

// Span is a stretch of the track.
type Span struct {
	StartS float64 `json:"start_s" doc:"Seconds from the start of the track" minimum:"0"`
	EndS   float64 `json:"end_s" doc:"Seconds from the start of the track, after start_s" minimum:"0"`
}

// Decoding holds the settings of decoding; zero values mean the model's own.
type Decoding struct {
	MaxTokens uint32 `json:"max_tokens,omitempty" doc:"Longest answer in tokens; 0 = the model's own limit" maximum:"8192"`
	// Temperature is nil for the model's own.
	Temperature       *float32 `json:"temperature,omitempty" doc:"0 = greedy; left out = the model's own, for most models greedy" minimum:"0" maximum:"10"`
	TopP              float32  `json:"top_p,omitempty" doc:"Nucleus sampling, 1 = all tokens; 0 = the model's own" minimum:"0" maximum:"1"`
	Seed              uint64   `json:"seed,omitempty" doc:"Seed of sampling, a whole number up to 2^64-1" format:"uint64"`
	TopK              uint32   `json:"top_k,omitempty" doc:"Sampling of so many of the most likely tokens; 0 = the model's own" maximum:"1048576"`
	RepetitionPenalty float32  `json:"repetition_penalty,omitempty" doc:"Makes tokens of prompt and answer less likely, 1 = off; 0 = the model's own" minimum:"0" maximum:"10"`
}

// Validate reports the settings that no engine takes.
func (d Decoding) Validate() error {
	inside := func(v float32, low, high float64) bool { return float64(v) >= low && float64(v) <= high }
	if d.Temperature != nil && !inside(*d.Temperature, 0, 10) || !inside(d.TopP, 0, 1) || d.MaxTokens > 8192 || d.TopK > 1<<20 ||
		d.RepetitionPenalty != 0 && !inside(d.RepetitionPenalty, 0.1, 10) {
		return errors.New("decode needs temperature 0 to 10, top_p 0 to 1, top_k 0 to 1048576, repetition_penalty 0.1 to 10 (or 0: the model's own), max_tokens 0 to 8192")
	}
	return nil
}

func decodeRecord(d Decoding) *eventpb.Decode {
	return &eventpb.Decode{
		MaxTokens: d.MaxTokens, Temperature: d.Temperature, TopP: d.TopP, Seed: d.Seed, TopK: d.TopK, RepetitionPenalty: d.RepetitionPenalty,
	}
}

func decodingOf(d *eventpb.Decode) Decoding {
	s := Decoding{MaxTokens: d.GetMaxTokens(), TopP: d.GetTopP(), Seed: d.GetSeed(), TopK: d.GetTopK(), RepetitionPenalty: d.GetRepetitionPenalty()}
	if d != nil {
		s.Temperature = d.Temperature
	}
	return s
}

// Options are what else a user may choose for a job. This struct is the only list of them: the API and `lark feed` read its JSON, the job
// store keeps its JSON in one column, the specification of the API is made from its tags. A new option needs a field here, its check
// in Validate, its place in the records (event.proto: Job, and Task if the stages after the chunker need it) and in the three functions
// below; CONTRIBUTING.md walks through it. Fields are comparable, their zero value means that the option is not used, and
// their JSON says omitempty.
type Options struct {
	ResponseSchema string `json:"response_schema,omitempty" doc:"Form of the answers: tags = a JSON object of tags in closed vocabularies, also under tags of each outcome; left out = free text" enum:"tags"`
	Strict         bool   `json:"strict,omitempty" doc:"Refuse a damaged track (audio_damaged) in place of answering from what can be heard of it, with warnings"`
	Lane           string `json:"lane,omitempty" doc:"bulk = work that nobody waits for, such as a catalogue: it is done while interactive jobs leave the stages free, and always with a small share; left out = interactive" enum:"interactive,bulk"`
	// Combine asks for one answer more for each question where a track has several windows.
	Combine bool `json:"combine,omitempty" doc:"One more outcome for each question, of the whole track: facts are combined by rule, descriptions by the model, which reads the windows' answers. combined tells from which windows it comes. A track of one window has none"`
	// History is nil for questions without one: a pointer, so that options can be compared with none.
	History *[]Turn `json:"history,omitempty" doc:"What was said before the questions, which follow it: the user's turns and the assistant's by turns, and in front of them a system text if wanted. Models without a form for conversations refuse it (history_unsupported)"`
	// StartWithinS bounds the wait for the chunker, not the work.
	StartWithinS float64 `json:"start_within_s,omitempty" doc:"Ends the job as expired, at no cost, if no work on it has begun so many seconds after it was accepted; left out = it waits" minimum:"0" maximum:"604800"`
	NoRetry      bool    `json:"no_retry,omitempty" doc:"A question that a stage cannot answer at the first attempt fails, in place of being tried again"`
}

// Turn is what was said in a conversation.
type Turn struct {
	Role string `json:"role" doc:"system = takes the place of the model's own system text, only as the first turn" enum:"system,user,assistant"`
	Text string `json:"text"`
}

// Roles of turns.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
)

// Bounds of a history: its turns, and the bytes of all its texts.
const (
	MaxTurns        = 64
	MaxHistoryBytes = 32 << 10
)

// checkHistory refuses turns that do not alternate from the user's to the assistant's, and what is over the bounds.
func checkHistory(turns []Turn) error {
	refuse := func(format string, args ...any) error {
		return &OptionError{Code: "history_invalid", Option: "history", Detail: fmt.Sprintf(format, args...)}
	}
	if len(turns) > MaxTurns {
		return refuse("has %d turns, at most %d", len(turns), MaxTurns)
	}
	bytes := 0
	for _, t := range turns {
		if bytes += len(t.Text); t.Text == "" {
			return refuse("has a turn without text")
		}
	}
	if bytes > MaxHistoryBytes {
		return refuse("has %d bytes of text, at most %d", bytes, MaxHistoryBytes)
	}
	if len(turns) > 0 && turns[0].Role == RoleSystem {
		turns = turns[1:]
	}
	for i, t := range turns {
		if want := []string{RoleUser, RoleAssistant}[i%2]; t.Role != want {
			return refuse("has a turn of %.20q where one of the %s is expected: they alternate, the user's first", t.Role, want)
		}
	}
	if len(turns)%2 == 1 {
		return refuse("ends with the user's turn: the questions are what the user says next")
	}
	return nil
}

// maxStartWithinS is a week, like the retention of the work topics.
const maxStartWithinS = 7 * 24 * 3600

// StartBy is when the work on a job made at a time must have begun; zero for a job without a bound.
func (o Options) StartBy(created time.Time) time.Time {
	if o.StartWithinS <= 0 {
		return time.Time{}
	}
	return created.Add(time.Duration(o.StartWithinS * float64(time.Second)))
}

// OptionError says why an option's value cannot be used.
type OptionError struct {
	// Code is stable for users, Option the name in JSON.
	Code, Option, Detail string
}

// Error implements error.
func (e *OptionError) Error() string { return e.Option + " " + e.Detail }

// Validate refuses options that this version does not know, with an *OptionError: a stage that let one pass would do something else
// than what was asked for.
func (o Options) Validate() error {
	if o.ResponseSchema != "" && o.ResponseSchema != SchemaTags {
		detail := fmt.Sprintf("%.40q is not known; it is %s or empty", o.ResponseSchema, SchemaTags)
		return &OptionError{Code: "response_schema_unknown", Option: "response_schema", Detail: detail}
	}
	if o.Lane != "" && !slices.Contains(Lanes(), o.Lane) {
		return &OptionError{Code: "lane_unknown", Option: "lane", Detail: fmt.Sprintf("%.40q is not known; it is %s or %s", o.Lane, LaneInteractive, LaneBulk)}
	}
	if !(o.StartWithinS >= 0 && o.StartWithinS <= maxStartWithinS) { // NaN neither
		return &OptionError{Code: "start_within_invalid", Option: "start_within_s", Detail: fmt.Sprintf("must be 0 to %d seconds", maxStartWithinS)}
	}
	if o.History != nil {
		return checkHistory(*o.History)
	}
	return nil
}

// optionsOf reads the options of a Job, a Task or an Outcome.
func optionsOf(m interface{ GetResponseSchema() string }) Options {
	o := Options{ResponseSchema: m.GetResponseSchema()}
	if job, ok := m.(*eventpb.Job); ok {
		o.Strict, o.Combine, o.StartWithinS = job.GetStrict(), job.GetCombine(), job.GetStartWithinS()
	}
	if m, ok := m.(interface{ GetNoRetry() bool }); ok {
		o.NoRetry = m.GetNoRetry()
	}
	if said, ok := m.(interface{ GetHistory() []*eventpb.Turn }); ok && len(said.GetHistory()) > 0 {
		o.History = new([]Turn)
		for _, t := range said.GetHistory() {
			*o.History = append(*o.History, Turn{Role: t.GetRole(), Text: t.GetText()})
		}
	}
	if routed, ok := m.(interface{ GetLane() string }); ok {
		o.Lane = routed.GetLane()
	}
	return o
}

// NewJob makes the record of a job.
func NewJob(s JobSpec) *eventpb.Job {
	m := &eventpb.Job{
		JobId:          s.ID,
		Audio:          &eventpb.Audio{Sha256: s.Audio.SHA256, BlobKey: AudioKey(s.Audio.SHA256), SizeBytes: s.Audio.Bytes, Name: s.Audio.Name, Uri: s.Audio.URI},
		Plan:           eventpb.PlanMode(max(0, slices.Index(planNames, s.Plan))),
		Decode:         decodeRecord(s.Decode),
		ModelDigest:    s.ModelDigest,
		ResponseSchema: s.ResponseSchema,
		Strict:         s.Strict,
		Lane:           s.Lane,
		Combine:        s.Combine,
		StartWithinS:   s.StartWithinS,
		NoRetry:        s.NoRetry,
		CreatedUnixMs:  s.Created.UnixMilli(),
	}
	for i, text := range s.Questions {
		m.Questions = append(m.Questions, &eventpb.Question{Index: uint32(i), Text: text})
	}
	if s.History != nil {
		for _, t := range *s.History {
			m.History = append(m.History, &eventpb.Turn{Role: t.Role, Text: t.Text})
		}
	}
	for _, span := range s.Spans {
		m.Spans = append(m.Spans, &eventpb.Span{StartS: span.StartS, EndS: span.EndS})
	}
	if !s.Deadline.IsZero() {
		m.DeadlineUnixMs = s.Deadline.UnixMilli()
	}
	return m
}

// ErrSparse refuses a job whose questions are not numbered from 0 without gaps: outcomes are counted that way.
var ErrSparse = errors.New("questions are not numbered from 0 without gaps")

// JobSpecOf is what NewJob made the record of. It fails with ErrSparse.
func JobSpecOf(m *eventpb.Job) (JobSpec, error) {
	a := m.GetAudio()
	s := JobSpec{
		ID:        m.GetJobId(),
		Audio:     AudioFile{SHA256: a.GetSha256(), Name: a.GetName(), Bytes: a.GetSizeBytes(), URI: a.GetUri()},
		Questions: make([]string, len(m.GetQuestions())),
		Plan:      planName(m.GetPlan()),
		Decode:    decodingOf(m.GetDecode()),
		Options:   optionsOf(m), ModelDigest: m.GetModelDigest(),
		Created: time.UnixMilli(m.GetCreatedUnixMs()).UTC(),
	}
	for _, q := range m.GetQuestions() {
		if int(q.GetIndex()) >= len(s.Questions) {
			return JobSpec{}, fmt.Errorf("reading job %s: %w", s.ID, ErrSparse)
		}
		s.Questions[q.GetIndex()] = q.GetText()
	}
	for _, span := range m.GetSpans() {
		s.Spans = append(s.Spans, Span{StartS: span.GetStartS(), EndS: span.GetEndS()})
	}
	if ms := m.GetDeadlineUnixMs(); ms > 0 {
		s.Deadline = time.UnixMilli(ms).UTC()
	}
	return s, nil
}

func planName(p eventpb.PlanMode) string {
	if p < 0 || int(p) >= len(planNames) {
		return ""
	}
	return planNames[p]
}

// NewTask is what the stages after the chunker are told of a job and one of its windows. The caller adds the
// model's digest, the cache's state and the timings.
func NewTask(job *eventpb.Job, track *eventpb.Track, window *eventpb.Window) *eventpb.Task {
	return &eventpb.Task{
		JobId: job.GetJobId(), Track: track, Window: window, Questions: job.GetQuestions(), Decode: job.GetDecode(),
		ModelDigest: job.GetModelDigest(), ResponseSchema: job.GetResponseSchema(), Lane: job.GetLane(), NoRetry: job.GetNoRetry(), History: job.GetHistory(),
		CreatedUnixMs: job.GetCreatedUnixMs(), DeadlineUnixMs: job.GetDeadlineUnixMs(),
	}
}
