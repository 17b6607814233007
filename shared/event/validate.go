package event

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Bounds that every record keeps, whoever wrote it. The gateway's own limits are lower.
const (
	MaxQuestions     = 256
	MaxQuestionBytes = 16 << 10
	MaxWindows       = 4096
	MaxAnswerBytes   = 64 << 10
	MaxTextBytes     = 4 << 10
	MaxNameBytes     = 512
	MaxWarnings      = 32
	MaxWarningBytes  = 512
	MaxURIBytes      = 2048

	maxFinish = 20
)

var (
	idPattern      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	hexPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	warningPattern = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
	keyPattern     = regexp.MustCompile(`^[A-Za-z0-9._@+/-]{1,512}$`)
)

// Validate reports the first fault that makes a message unusable: a missing or malformed id, a count or a text over its
// bound, a time or a number that no view can show.
func Validate(msg proto.Message) error {
	if err := validateKind(msg); err != nil {
		return err
	}
	return validateNumbers(msg)
}

func validateKind(msg proto.Message) error {
	switch m := msg.(type) {
	case *eventpb.Job:
		return validateJob(m)
	case *eventpb.WindowReady:
		return validateTask(m.GetTask())
	case *eventpb.EmbeddingReady:
		return errors.Join(validateTask(m.GetTask()), validateTensor(m.GetKey(), m.GetFrames(), m.GetWidth()))
	case *eventpb.PromptReady:
		return errors.Join(validateTask(m.GetTask()), validateTensor(m.GetKey(), m.GetFrames(), m.GetWidth()))
	case *eventpb.JobPlan:
		return validatePlan(m)
	case *eventpb.Outcome:
		return validateOutcome(m)
	case *eventpb.Event:
		return validateEvent(m)
	case *eventpb.Control:
		if m.GetKind() != ControlCancel && m.GetKind() != ControlWatch {
			return fmt.Errorf("control kind %.40q is not known", m.GetKind())
		}
		return validateID("job_id", m.GetJobId())
	}
	return fmt.Errorf("%T is not a record", msg)
}

func validateJob(m *eventpb.Job) error {
	if err := validateID("job_id", m.GetJobId()); err != nil {
		return err
	}
	if !hexPattern.MatchString(m.GetAudio().GetSha256()) {
		return errors.New("audio.sha256 is not 64 hex digits")
	}
	if m.GetAudio().GetBlobKey() != AudioKey(m.GetAudio().GetSha256()) {
		return errors.New("audio.blob_key is not the key of audio.sha256")
	}
	if err := validateURI(m.GetAudio().GetUri()); err != nil {
		return err
	}
	if len(m.GetAudio().GetName()) > MaxNameBytes {
		return fmt.Errorf("audio.name has %d bytes, limit %d", len(m.GetAudio().GetName()), MaxNameBytes)
	}
	if m.GetPlan() < eventpb.PlanMode_PLAN_MODE_AUTO || m.GetPlan() > eventpb.PlanMode_PLAN_MODE_EXPLICIT {
		return fmt.Errorf("plan %d is not known", m.GetPlan())
	}
	if len(m.GetSpans()) > MaxWindows || (m.GetPlan() == eventpb.PlanMode_PLAN_MODE_EXPLICIT) != (len(m.GetSpans()) > 0) {
		return fmt.Errorf("%d spans do not fit plan %s", len(m.GetSpans()), m.GetPlan())
	}
	for _, s := range m.GetSpans() {
		if err := validateSpan(s); err != nil {
			return err
		}
	}
	return errors.Join(validateQuestions(m.GetQuestions()), validateDecode(m.GetDecode()), optionsOf(m).Validate())
}

func validateTask(t *eventpb.Task) error {
	if err := validateID("job_id", t.GetJobId()); err != nil {
		return err
	}
	if !hexPattern.MatchString(t.GetTrack().GetSha256()) {
		return errors.New("track.sha256 is not 64 hex digits")
	}
	if !hexPattern.MatchString(t.GetWindow().GetHash()) {
		return errors.New("window.hash is not 64 hex digits")
	}
	if t.GetWindow().GetBlobKey() != PCMKey(t.GetWindow().GetHash()) {
		return errors.New("window.blob_key is not the key of window.hash")
	}
	return errors.Join(validateTrack(t.GetTrack()), validateWindow(t.GetWindow()), validateQuestions(t.GetQuestions()), validateDecode(t.GetDecode()), optionsOf(t).Validate())
}

// validateURI bounds the place of audio that is not stored. Whether it may be read is for shared/source to say.
func validateURI(uri string) error {
	if len(uri) > MaxURIBytes || !utf8.ValidString(uri) {
		return fmt.Errorf("the audio's uri has more than %d bytes or is not UTF-8", MaxURIBytes)
	}
	return nil
}

// validateTrack bounds what is said of a track.
func validateTrack(t *eventpb.Track) error {
	if err := validateURI(t.GetUri()); err != nil {
		return err
	}
	if !finite(t.GetDurationS()) || t.GetDurationS() < 0 || !finite(t.GetMissingS()) || t.GetMissingS() < 0 {
		return errors.New("the track's length is not a number")
	}
	if n := len(t.GetWarnings()); n > MaxWarnings {
		return fmt.Errorf("%d warnings, at most %d", n, MaxWarnings)
	}
	for _, w := range t.GetWarnings() {
		if !warningPattern.MatchString(w.GetCode()) || len(w.GetMessage()) > MaxWarningBytes || !finite(w.GetAtS()) || w.GetAtS() < 0 {
			return fmt.Errorf("warning %.40q is malformed", w.GetCode())
		}
	}
	return nil
}

func validateWindow(w *eventpb.Window) error {
	if len(w.GetWarnings()) > MaxWarnings || slices.ContainsFunc(w.GetWarnings(), func(c string) bool { return !warningPattern.MatchString(c) }) {
		return errors.New("window.warnings are malformed")
	}
	if err := validateMeasured(w.GetMeasured()); err != nil {
		return err
	}
	if w.GetIndex() > MaxWindows { // the index behind a plan's last window is that of the whole track
		return fmt.Errorf("window.index %d is over %d", w.GetIndex(), MaxWindows)
	}
	if w.GetSpan() == nil {
		return nil // the window of a track that could not be cut
	}
	return validateSpan(w.GetSpan())
}

// maxReading bounds the name of a reading, such as "Eb minor".
const maxReading = 32

func validateMeasured(m *eventpb.Measured) error {
	for _, v := range []float64{m.GetTempoBpm(), m.GetTempoConfidence(), m.GetKeyConfidence(), m.GetMetreConfidence(), m.GetContentConfidence()} {
		if !finite(v) || v < 0 {
			return fmt.Errorf("window.measured holds %g", v)
		}
	}
	for _, s := range []string{m.GetKey(), m.GetMetre(), m.GetContent()} {
		if len(s) > maxReading {
			return fmt.Errorf("window.measured holds a name of %d bytes, limit %d", len(s), maxReading)
		}
	}
	return nil
}

func validateSpan(s *eventpb.Span) error {
	if !finite(s.GetStartS()) || !finite(s.GetEndS()) || s.GetStartS() < 0 || s.GetEndS() <= s.GetStartS() {
		return fmt.Errorf("span %g to %g s is not a stretch of time", s.GetStartS(), s.GetEndS())
	}
	return nil
}

func validateQuestions(qs []*eventpb.Question) error {
	if len(qs) == 0 || len(qs) > MaxQuestions {
		return fmt.Errorf("%d questions, want 1 to %d", len(qs), MaxQuestions)
	}
	seen := make(map[uint32]bool, len(qs))
	for _, q := range qs {
		if q.GetIndex() >= MaxQuestions || seen[q.GetIndex()] {
			return fmt.Errorf("question index %d is out of range or used twice", q.GetIndex())
		}
		seen[q.GetIndex()] = true
		if q.GetText() == "" || len(q.GetText()) > MaxQuestionBytes {
			return fmt.Errorf("question %d has %d bytes, want 1 to %d", q.GetIndex(), len(q.GetText()), MaxQuestionBytes)
		}
	}
	return nil
}

func validateDecode(d *eventpb.Decode) error {
	return decodingOf(d).Validate()
}

func validateTensor(key string, frames, width uint32) error {
	if !keyPattern.MatchString(key) {
		return errors.New("tensor key is malformed")
	}
	if frames == 0 || frames > 1<<16 || width == 0 || width > 1<<16 {
		return fmt.Errorf("tensor shape %d x %d is out of range", frames, width)
	}
	return nil
}

func validatePlan(m *eventpb.JobPlan) error {
	if err := validateID("job_id", m.GetJobId()); err != nil {
		return err
	}
	if n := len(m.GetWindows()); n == 0 || n > MaxWindows {
		return fmt.Errorf("plan of %d windows, want 1 to %d", n, MaxWindows)
	}
	if m.GetQuestions() == 0 || m.GetQuestions() > MaxQuestions {
		return fmt.Errorf("plan of %d questions, want 1 to %d", m.GetQuestions(), MaxQuestions)
	}
	if err := validateTrack(m.GetTrack()); err != nil {
		return err
	}
	for i, w := range m.GetWindows() {
		if int(w.GetIndex()) != i {
			return fmt.Errorf("window %d of the plan has index %d", i, w.GetIndex())
		}
		if err := validateWindow(w); err != nil {
			return err
		}
	}
	return nil
}

func validateOutcome(m *eventpb.Outcome) error {
	if err := validateID("job_id", m.GetJobId()); err != nil {
		return err
	}
	q, w := m.GetQuestion().GetIndex(), m.GetWindow().GetIndex()
	if q >= MaxQuestions {
		return fmt.Errorf("question index %d is over %d", q, MaxQuestions-1)
	}
	if m.GetOutcomeId() != OutcomeID(m.GetJobId(), q, w) {
		return errors.New("outcome_id does not match its job, question and window")
	}
	if m.GetState() < eventpb.State_STATE_ANSWERED || m.GetState() > eventpb.State_STATE_CANCELLED {
		return fmt.Errorf("state %d is not terminal", m.GetState())
	}
	if len(m.GetAnswer()) > MaxAnswerBytes || !utf8.ValidString(m.GetAnswer()) {
		return fmt.Errorf("answer of %d bytes is over %d or not UTF-8", len(m.GetAnswer()), MaxAnswerBytes)
	}
	if len(m.GetFinish()) > maxFinish || !utf8.ValidString(m.GetFinish()) {
		return fmt.Errorf("finish of %d bytes is over %d or not UTF-8", len(m.GetFinish()), maxFinish)
	}
	if (m.GetState() == eventpb.State_STATE_ANSWERED) != (m.GetError() == nil) {
		return fmt.Errorf("error and state %s contradict each other", m.GetState())
	}
	return errors.Join(validateTrack(m.GetTrack()), validateWindow(m.GetWindow()), validateChecks(m), validateCombined(m.GetCombined()), optionsOf(m).Validate())
}

func validateCombined(c *eventpb.Combined) error {
	if n := len(c.GetWindows()); n > MaxWindows || len(c.GetRule()) > maxReading || !finite(c.GetShare()) || c.GetShare() < 0 || c.GetShare() > 1 {
		return errors.New("what the outcome is combined of is malformed")
	}
	return nil
}

// Bounds of what an outcome says of measurements.
const (
	maxSupport  = 16
	maxMeasured = 128
)

func validateChecks(m *eventpb.Outcome) error {
	if !finite(m.GetConfidence()) || m.GetConfidence() < 0 || m.GetConfidence() > 1 {
		return fmt.Errorf("confidence %v is not between 0 and 1", m.GetConfidence())
	}
	if len(m.GetSupport()) > maxSupport {
		return fmt.Errorf("support for %d fields, at most %d", len(m.GetSupport()), maxSupport)
	}
	checks := append(slices.Collect(maps.Values(m.GetSupport())), m.GetCheck())
	for _, c := range checks {
		if !finite(c.GetConfidence()) || c.GetConfidence() < 0 || len(c.GetMeasured()) > maxMeasured {
			return errors.New("a check of the answer is malformed")
		}
	}
	return nil
}

func validateEvent(m *eventpb.Event) error {
	if m.GetBody() == nil {
		return errors.New("event without a body")
	}
	if o := m.GetOutcome(); o != nil {
		if err := validateOutcome(o); err != nil {
			return err
		}
	}
	return validateID("job_id", m.GetJobId())
}

func validateID(field, id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("%s %.80q is malformed", field, id)
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
