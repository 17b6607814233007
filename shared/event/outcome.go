package event

import (
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Outcome error codes, stable for users.
const (
	CodeAudioUndecodable = "audio_undecodable"
	CodeAudioEmpty       = "audio_empty"
	CodeAudioTooShort    = "audio_too_short"
	CodeAudioTooLong     = "audio_too_long"
	CodeAudioTooLarge    = "audio_too_large"
	CodeAudioTimeout     = "audio_timeout"
	// CodeAudioDamaged: the job is strict and not everything of the track is heard as it was written.
	CodeAudioDamaged = "audio_damaged"
	CodeAudioMissing = "audio_missing"
	CodeNeedsFFmpeg  = "needs_ffmpeg"
	// Of audio that is read where it lies.
	CodeSourceMissing    = "source_missing"
	CodeSourceDenied     = "source_denied"
	CodeSourceNotFile    = "source_not_file"
	CodeSourceUnreadable = "source_unreadable"
	CodeSourceNotAllowed = "source_not_allowed"
	CodeSourceChanged    = "source_changed" // it is no longer what it was when the job was made
	CodePlanOutOfRange   = "plan_out_of_range"
	// CodePlanTooLarge: the job asks for more answers, windows times questions, than a job may.
	CodePlanTooLarge = "plan_too_large"
	// CodeAudioExpands: the windows of the job take far more bytes than its file.
	CodeAudioExpands  = "audio_expands"
	CodeModelMismatch = "model_mismatch"
	CodePromptTooLong = "prompt_too_long"
	CodeEngineError   = "engine_error"
	// CodeHistoryUnsupported: the job has a history or a system text, for which the model has no form.
	CodeHistoryUnsupported = "history_unsupported"
	CodeTimeout            = "timeout" // a stage took too long for each attempt
	// CodeSchema: the model's answer did not have the requested form, nor did its second answer.
	CodeSchema    = "schema"
	CodeCancelled = "cancelled"
	CodeExpired   = "expired"
	CodeInternal  = "internal"
	// CodeUndecodable: a record of the job could not be read.
	CodeUndecodable = "undecodable"
	// CodeInvalidRecord: a record of the job could be read, but breaks a rule.
	CodeInvalidRecord = "invalid_record"
	// CodeNewerVersion: a newer version of Larkstream wrote a record of the job, and no instance of that version took it.
	CodeNewerVersion = "newer_version"
	// CodeCrashedStage: the stage that worked on the record died three times.
	CodeCrashedStage = "crashed_stage"
	// CodeBlobUnreachable: data that was made again several times did not arrive in the object store of the stage that needs it.
	CodeBlobUnreachable = "blob_unreachable"
)

// Failure says how the questions of a record ended when they were not answered.
type Failure struct {
	Code    string
	Message string
	// TraceID of the job, hex; may be empty.
	TraceID string
	// Model that was to answer; may be empty.
	Model string
}

// state is cancelled for the user's cancel and the job's deadline, failed for all else.
func (f Failure) state() eventpb.State {
	if f.Code == CodeCancelled || f.Code == CodeExpired {
		return eventpb.State_STATE_CANCELLED
	}
	return eventpb.State_STATE_FAILED
}

// FailedOutcomes returns the records that end every question of rec: one outcome for each question. A job that has not
// been planned yet also gets a plan of one window without a span, so that the recorder knows how many outcomes to
// expect. source is the stage that gives up.
//
// A record that Decode refuses ends what it names: see salvage. For a record without questions (an outcome, an event) and
// for one that names no job the result is empty.
func FailedOutcomes(source string, rec Record, f Failure) ([]Record, error) {
	msg, err := Decode(rec)
	if err != nil {
		msg = salvage(rec)
	}
	switch m := msg.(type) {
	case *eventpb.Job:
		return failedJob(source, m, f)
	case *eventpb.WindowReady:
		return failedTask(source, m.GetTask(), f)
	case *eventpb.EmbeddingReady:
		return failedTask(source, m.GetTask(), f)
	case *eventpb.PromptReady:
		return failedTask(source, m.GetTask(), f)
	}
	return nil, nil
}

func failedJob(source string, job *eventpb.Job, f Failure) ([]Record, error) {
	track := &eventpb.Track{Sha256: job.GetAudio().GetSha256()}
	task := NewTask(job, track, &eventpb.Window{})
	plan, err := Encode(source, &eventpb.JobPlan{
		JobId: job.GetJobId(), Track: track, Windows: []*eventpb.Window{task.GetWindow()},
		Questions: uint32(len(job.GetQuestions())),
	})
	if err != nil {
		return nil, err
	}
	outcomes, err := failedTask(source, task, f)
	if err != nil {
		return nil, err
	}
	return append([]Record{plan}, outcomes...), nil
}

func failedTask(source string, task *eventpb.Task, f Failure) ([]Record, error) {
	records := make([]Record, 0, len(task.GetQuestions()))
	for _, q := range task.GetQuestions() {
		rec, err := Encode(source, FailedOutcome(task, q, f))
		if err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
	return records, nil
}

// FailedOutcome is the outcome of one question of a task that was not answered.
func FailedOutcome(task *eventpb.Task, q *eventpb.Question, f Failure) *eventpb.Outcome {
	o := NewOutcome(task, q)
	o.State = f.state()
	o.Error = &eventpb.Error{Code: f.Code, Message: boundText(f.Message)}
	o.TraceId = f.TraceID
	o.Model = f.Model
	return o
}

// NewOutcome fills what an outcome takes from its task: identity, track, window, cache state and timings, with total_ms
// and queue_ms as SetTotal sets them.
// The caller sets state, answer or error, model, tokens and trace id.
func NewOutcome(task *eventpb.Task, q *eventpb.Question) *eventpb.Outcome {
	now := time.Now()
	t := task.GetTimings()
	timings := &eventpb.Timings{
		ChunkMs: t.GetChunkMs(), EncodeMs: t.GetEncodeMs(), ProjectMs: t.GetProjectMs(),
		PrefillMs: t.GetPrefillMs(), DecodeMs: t.GetDecodeMs(),
	}
	SetTotal(timings, task.GetCreatedUnixMs(), now)
	return &eventpb.Outcome{
		OutcomeId: OutcomeID(task.GetJobId(), q.GetIndex(), task.GetWindow().GetIndex()), ResponseSchema: task.GetResponseSchema(),
		JobId:       task.GetJobId(),
		Question:    q,
		Track:       task.GetTrack(),
		Window:      task.GetWindow(),
		ModelDigest: task.GetModelDigest(),
		Cache:       task.GetCache(),
		Timings:     timings,
		EndedUnixMs: now.UnixMilli(),
	}
}

// SetTotal sets total_ms to the time since the job was created, and queue_ms to total_ms without the stages' work: the
// time spent waiting in topics and for other windows.
func SetTotal(t *eventpb.Timings, createdUnixMs int64, now time.Time) {
	if createdUnixMs <= 0 {
		return
	}
	t.TotalMs = max(0, float64(now.UnixMilli()-createdUnixMs))
	work := t.GetChunkMs() + t.GetEncodeMs() + t.GetProjectMs() + t.GetPrefillMs() + t.GetDecodeMs()
	t.QueueMs = max(0, t.GetTotalMs()-work)
}

// boundText cuts a message for a user to MaxTextBytes and makes it valid UTF-8.
func boundText(s string) string {
	if len(s) > MaxTextBytes {
		s = s[:MaxTextBytes] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
