package client

import (
	"fmt"
	"net/http"
	"time"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/event"
)

// Job states. The last four are terminal.
const (
	StateQueued     = event.JobQueued
	StateRunning    = event.JobRunning
	StateCancelling = event.JobCancelling
	StateSucceeded  = event.JobSucceeded
	StatePartial    = event.JobPartial
	StateFailed     = event.JobFailed
	StateCancelled  = event.JobCancelled
)

// CodeJobEnded is the code of the problem that cancelling a job gives which has ended by itself.
const CodeJobEnded = "job_ended"

// Terminal tells whether a job in this state has ended.
func Terminal(state string) bool { return event.Terminal(state) }

// Plan modes.
const (
	PlanAuto     = event.PlanAuto
	PlanAll      = event.PlanAll
	PlanExplicit = event.PlanExplicit
)

// SchemaTags is the ResponseSchema of structured tags.
const SchemaTags = event.SchemaTags

// What a job is asked for is the same in the API, in the job store and on the log.
type (
	// Faults are what is wrong with a track that was decoded nevertheless; Warning is one of them.
	Faults  = event.Faults
	Warning = event.Warning
	// Options are the choices of a job beside its audio, questions, windows and decode settings.
	Options = event.Options
	// Span is a stretch of the track.
	Span = event.Span
	// Decode holds the decode settings.
	Decode = event.Decoding
)

// Submission is a job to be done: the JSON body of POST /v1/jobs, or the request part beside an
// uploaded file.
type Submission struct {
	Questions []string `json:"questions,omitempty" doc:"Questions about the music, asked of every window; with a response_schema, none means its own question"`
	Options
	AudioRef  string  `json:"audio_ref,omitempty" doc:"SHA-256 (hex) of audio submitted earlier" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	AudioURL  string  `json:"audio_url,omitempty" doc:"http or https URL that the gateway downloads; it must be on the public internet"`
	AudioName string  `json:"audio_name,omitempty" doc:"Name of the track, for display" maxLength:"200"`
	Plan      string  `json:"plan,omitempty" doc:"Which windows of the track are heard: auto = one (seconds 30 to 55 of a track of 60 s or more, else the first 25 s); all = every 25 s; explicit = the spans given" enum:"auto,all,explicit" default:"auto"`
	Spans     []Span  `json:"spans,omitempty" doc:"The windows of plan explicit"`
	Decode    *Decode `json:"decode,omitempty"`
	DeadlineS float64 `json:"deadline_s,omitempty" doc:"Seconds until unanswered questions end as expired; 0 = none" minimum:"0"`
	// Labels select jobs in lists and come back with each outcome; Metadata comes back with the job.
	Labels   map[string]string `json:"labels,omitempty" doc:"Up to 16 labels, names of 1 to 64 letters, digits, . _ / and -, values of up to 128 characters. Jobs are listed by them, and each outcome has them"`
	Metadata map[string]string `json:"metadata,omitempty" doc:"Up to 16 texts of the caller's own, keys of up to 64 characters, values of up to 512; the job has them"`
	Webhook  *JobWebhook       `json:"webhook,omitempty" doc:"Who is told of the job's end, beside the webhooks of the tenant"`
}

// Job is the state of a job.
type Job struct {
	ID            string     `json:"id"`
	State         string     `json:"state" enum:"queued,running,cancelling,succeeded,partial,failed,cancelled"`
	CreatedAt     time.Time  `json:"created_at"`
	DeadlineAt    *time.Time `json:"deadline_at,omitempty"`
	CancelAskedAt *time.Time `json:"cancel_asked_at,omitempty"`
	EndedAt       *time.Time `json:"ended_at,omitempty"`
	Audio         Audio      `json:"audio"`
	Plan          Plan       `json:"plan"`
	Decode        Decode     `json:"decode"`
	Options
	Questions []Question `json:"questions,omitempty" doc:"Not in lists"`
	Faults
	Windows         []Window          `json:"windows,omitempty" doc:"Known once the track is cut; not in lists"`
	Counts          Counts            `json:"counts"`
	Coverage        *Coverage         `json:"coverage,omitempty" doc:"Known once the track is cut; not in lists"`
	Stages          []Stage           `json:"stages,omitempty" doc:"Windows by stage, as last heard; not in lists"`
	Timings         JobTimings        `json:"timings_ms"`
	Labels          map[string]string `json:"labels,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	Cost            Cost              `json:"cost" doc:"Sum over the outcomes that the job has so far, whatever their states"`
	ExpiresAt       *time.Time        `json:"expires_at,omitempty" doc:"When the job is deleted with its outcomes; known once it has ended, absent where jobs stay for ever"`
	Webhook         *JobWebhook       `json:"webhook,omitempty"`
	Run             string            `json:"run,omitempty" doc:"Id of the run that made the job"`
	Batch           string            `json:"batch,omitempty" doc:"Id of the batch that made the job"`
	TraceID         string            `json:"trace_id,omitempty" doc:"Leads whoever runs the gateway to the job's trace"`
	Links           Links             `json:"links"`
	IdempotentReply bool              `json:"idempotent_reply,omitempty" doc:"The job was made by an earlier request with the same Idempotency-Key"`
}

// Audio is a submitted file.
type Audio struct {
	SHA256    string  `json:"sha256" doc:"Of the bytes submitted; use it as audio_ref"`
	Name      string  `json:"name,omitempty"`
	Bytes     int64   `json:"bytes"`
	DurationS float64 `json:"duration_s,omitempty" doc:"Known once the track is cut"`
}

// Plan says which windows are heard.
type Plan struct {
	Mode  string `json:"mode" enum:"auto,all,explicit"`
	Spans []Span `json:"spans,omitempty"`
}

// Question of a job.
type Question struct {
	Index int    `json:"index"`
	Text  string `json:"text"`
}

// Window of a job's plan, or of an outcome.
type Window struct {
	Index  int     `json:"index"`
	StartS float64 `json:"start_s"`
	EndS   float64 `json:"end_s"`
	HeardS float64 `json:"heard_s" doc:"Seconds of the window that the encoder heard"`
	Hash   string  `json:"hash,omitempty" doc:"SHA-256 of the window's samples; equal windows share their embedding"`
	// Warnings are codes: the track has their messages.
	Warnings []string `json:"warnings,omitempty" doc:"Codes of the track's warnings of damage that lies in this window, or may lie in it"`
}

// Counts of a job. Every question of every window ends in exactly one outcome.
type Counts struct {
	Questions   int `json:"questions"`
	Windows     int `json:"windows" doc:"0 while the plan is not known"`
	Expected    int `json:"expected" doc:"Outcomes the job will have: windows times questions"`
	Answered    int `json:"answered"`
	Failed      int `json:"failed"`
	Cancelled   int `json:"cancelled" doc:"Cancelled or expired"`
	WindowsDone int `json:"windows_done" doc:"Windows whose questions have all ended; not in lists"`
	CacheHits   int `json:"cache_hits" doc:"Windows with an outcome whose embedding was cached; not in lists"`
}

// Coverage says how much of the track the windows hear.
type Coverage struct {
	HeardS float64 `json:"heard_s" doc:"Seconds heard, overlaps counted once"`
	TrackS float64 `json:"track_s" doc:"Length of the track, with what the file is known to lack"`
	Ratio  float64 `json:"ratio"`
}

// Stage counts a job's windows in one stage. The counts come from best-effort events.
type Stage struct {
	Stage    string `json:"stage" enum:"chunker,encoder,projector,llm"`
	Started  int    `json:"started"`
	Waiting  int    `json:"waiting" doc:"The stage pauses: something that it needs does not answer, or a disk is full. It goes on by itself"`
	Retrying int    `json:"retrying"`
	Done     int    `json:"done"`
	Skipped  int    `json:"skipped" doc:"The embedding was known"`
}

// JobTimings are milliseconds since the job was accepted; 0 = not yet.
type JobTimings struct {
	Planned      float64 `json:"planned"`
	FirstOutcome float64 `json:"first_outcome"`
	Total        float64 `json:"total"`
}

// Links of a job.
type Links struct {
	Self     string `json:"self"`
	Outcomes string `json:"outcomes"`
	Events   string `json:"events"`
	Cancel   string `json:"cancel"`
}

// JobList is one page of jobs, newest first.
type JobList struct {
	Jobs []Job   `json:"jobs"`
	Next *string `json:"next" doc:"Cursor of the next page; null at the end"`
}

// Outcome states.
const (
	OutcomeAnswered  = event.OutcomeAnswered
	OutcomeFailed    = event.OutcomeFailed
	OutcomeCancelled = event.OutcomeCancelled
)

// Outcome is the one terminal result of one question on one window.
type Outcome struct {
	ID             string     `json:"id"`
	JobID          string     `json:"job_id"`
	QuestionIndex  int        `json:"question_index"`
	Question       string     `json:"question"`
	State          string     `json:"state" enum:"answered,failed,cancelled"`
	Answer         string     `json:"answer" doc:"Text; with response_schema tags, the tags as compact JSON"`
	ResponseSchema string     `json:"response_schema,omitempty" doc:"Form of the answer; left out = free text" enum:"tags"`
	Tags           *tags.Tags `json:"tags,omitempty" doc:"The answer's tags, with response_schema tags"`
	Check          *Check     `json:"check,omitempty" doc:"Of an answer in free text that names a tempo or a key: whether signal processing measures the same in the window"`
	// Support is nil where nothing was measured.
	Support map[string]Check `json:"support,omitempty" doc:"Of tags: for tempo_bpm, key, mode and metre, whether signal processing measures the same in the window"`
	// Combined is nil of an answer about one window.
	Combined *Combined `json:"combined,omitempty" doc:"Of an answer about the whole track, with combine: how it was made of the windows' answers. Its window has the index behind the last one"`
	// Confidence is 0 where the answer names no tempo, key or metre, or the model does not tell.
	Confidence  float64           `json:"confidence,omitempty" doc:"How probable the model itself finds the tempo, key or metre that its answer names, calibrated: of answers with 0.8, four in five are right. Left out where it does not tell" minimum:"0" maximum:"1"`
	Finish      string            `json:"finish,omitempty" doc:"Why the answer ends: length = its limit of tokens cut it off. Left out where the decoder does not tell" enum:"stop,length"`
	Error       *OutcomeError     `json:"error,omitempty"`
	Track       Track             `json:"track"`
	Window      Window            `json:"window"`
	Model       string            `json:"model"`
	ModelDigest string            `json:"model_digest,omitempty"`
	Cache       string            `json:"cache,omitempty" doc:"hit: the encoder was skipped" enum:"hit,miss,"`
	AnswerCache string            `json:"answer_cache,omitempty" doc:"hit: the decoder was skipped, tokens are counted as when the answer was decoded; absent where nothing was looked up" enum:"hit,miss,"`
	Timings     Timings           `json:"timings_ms"`
	Tokens      Tokens            `json:"tokens"`
	Cost        Cost              `json:"cost"`
	Labels      map[string]string `json:"labels,omitempty" doc:"Of the job"`
	TraceID     string            `json:"trace_id,omitempty"`
	EndedAt     time.Time         `json:"ended_at"`
}

// Check says whether an answer agrees with what signal processing measures in the same window, without any model.
type Check struct {
	Agrees     bool    `json:"agrees" doc:"A tempo agrees within 4 %; half or double the measured one does not. An answer with tempo and key agrees if both do"`
	Measured   string  `json:"measured" example:"121 BPM, E minor"`
	Confidence float64 `json:"confidence" doc:"How likely the measurement is to be right, 0 to 1; it says nothing of the answer" minimum:"0" maximum:"1"`
}

// Combined says how an answer about the whole track was made of its windows' answers.
type Combined struct {
	Rule    string  `json:"rule" doc:"median of the tempos that agree; vote = what most windows say; union = all that any window says; model = the model was asked about the windows' answers; joined = the model could not, the windows' answers stand one behind the other" enum:"median,vote,union,model,joined"`
	Windows []int   `json:"windows" doc:"Indexes of the windows whose answers stand behind it"`
	Share   float64 `json:"share" doc:"Their share of what the answered windows heard; an answer that signal processing agrees with counts twice" minimum:"0" maximum:"1"`
}

// OutcomeError says why a question was not answered.
type OutcomeError struct {
	Code    string `json:"code" example:"audio_undecodable"`
	Message string `json:"message"`
}

// Track is the decoded audio.
type Track struct {
	SHA256    string  `json:"sha256"`
	DurationS float64 `json:"duration_s"`
	Faults
}

// Timings are milliseconds of work by stage; queue is waiting, total is since acceptance.
type Timings struct {
	Queue   float64 `json:"queue"`
	Chunk   float64 `json:"chunk"`
	Encode  float64 `json:"encode"`
	Project float64 `json:"project"`
	Prefill float64 `json:"prefill"`
	Decode  float64 `json:"decode"`
	Total   float64 `json:"total"`
}

// Tokens of one answer.
type Tokens struct {
	Prompt int `json:"prompt"`
	Audio  int `json:"audio,omitempty" doc:"Of prompt, the frames of the audio; absent of answers that were kept before this was counted"`
	Output int `json:"output"`
}

// OutcomeList is one page of outcomes, in the order in which they were recorded.
type OutcomeList struct {
	Outcomes []Outcome `json:"outcomes"`
	Next     *string   `json:"next" doc:"Cursor of the next page; null when the job has ended and this is the end. While the job is open, the cursor leads to what is recorded later"`
}

// Model is the model bundle served.
type Model struct {
	ID      string         `json:"id"`
	Object  string         `json:"object" enum:"model"`
	Created int64          `json:"created" doc:"When the bundle's manifest was written where the gateway runs, Unix seconds; 0 where that is not known"`
	OwnedBy string         `json:"owned_by" doc:"Who serves the model" enum:"larkstream"`
	Digest  string         `json:"digest,omitempty"`
	Licence string         `json:"licence,omitempty"`
	Encoder string         `json:"encoder,omitempty"`
	WindowS float64        `json:"window_s,omitempty" doc:"Longest window, seconds"`
	Random  bool           `json:"random,omitempty" doc:"The weights are random: answers mean nothing"`
	Quality map[string]any `json:"quality,omitempty" doc:"Measured quality, as the bundle states it"`
}

// Values of Model.Object and Model.OwnedBy, and of ModelList.Object.
const (
	ModelObject = "model"
	ModelOwner  = "larkstream"
	ListObject  = "list"
)

// ModelList holds the models served: one per deployment.
type ModelList struct {
	Object string  `json:"object" enum:"list"`
	Data   []Model `json:"data"`
	Models []Model `json:"models" doc:"The same as data"`
}

// Kinds of stream events.
const (
	EventProgress = "progress"
	EventToken    = "token"
	EventOutcome  = "outcome"
	EventEnd      = "end"
	EventDropped  = "dropped"
)

// Event is one event of a job's stream; the field of its kind is set.
type Event struct {
	// ID is the event's number in the log; "" for one told from the job store.
	ID       string
	Kind     string
	Progress *ProgressEvent
	Token    *TokenEvent
	Outcome  *Outcome
	End      *EndEvent
	Dropped  *DroppedEvent
}

// ProgressEvent says that a stage has begun or finished a window.
type ProgressEvent struct {
	Stage   string  `json:"stage" enum:"chunker,encoder,projector,llm"`
	Window  int     `json:"window"`
	Status  string  `json:"status" enum:"started,waiting,done,skipped,retrying"`
	MS      float64 `json:"ms"`
	Windows int     `json:"windows,omitempty" doc:"Windows in the plan, where known"`
}

// TokenEvent is new text of one answer. A stage that starts again begins again at seq 0: the text so
// far is then to be thrown away.
type TokenEvent struct {
	Question int    `json:"question"`
	Window   int    `json:"window"`
	Seq      int    `json:"seq"`
	Text     string `json:"text"`
}

// EndEvent is the last event of a job.
type EndEvent struct {
	State     string `json:"state" enum:"succeeded,partial,failed,cancelled"`
	Answered  int    `json:"answered"`
	Failed    int    `json:"failed"`
	Cancelled int    `json:"cancelled"`
}

// DroppedEvent is the last event before the gateway closes a stream that has not ended.
type DroppedEvent struct {
	Code    string `json:"code" enum:"stream_lagging,server_stopping,stream_timeout"`
	Message string `json:"message"`
}

// Problem is an error answer, RFC 9457.
type Problem struct {
	Type      string       `json:"type,omitempty" format:"uri" default:"about:blank"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Code      string       `json:"code" doc:"Stable, for programs" example:"question_too_long"`
	Retryable bool         `json:"retryable" doc:"The same request may succeed later"`
	TraceID   string       `json:"trace_id,omitempty"`
	Errors    []FieldError `json:"errors,omitempty"`
}

// FieldError points at one fault of a request.
type FieldError struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" example:"questions[0]"`
}

// maxTold is how many faults of a request Error names.
const maxTold = 10

// Error implements error. It names the fields that are at fault, and the trace of a fault of the gateway, which leads to the gateway's log.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	separator := ": "
	for _, e := range p.Errors[:min(len(p.Errors), maxTold)] {
		fault := e.Message
		if e.Location != "" {
			fault = e.Location + ": " + fault
		}
		text, separator = text+separator+fault, "; "
	}
	if more := len(p.Errors) - maxTold; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	if p.Status >= http.StatusInternalServerError && p.TraceID != "" {
		return fmt.Sprintf("%s (%s, HTTP %d, trace %s)", text, p.Code, p.Status, p.TraceID)
	}
	return fmt.Sprintf("%s (%s, HTTP %d)", text, p.Code, p.Status)
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType of the answer that carries the problem.
func (p *Problem) ContentType(string) string { return "application/problem+json" }
