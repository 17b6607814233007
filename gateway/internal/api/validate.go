package api

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/fetch"
)

const (
	maxNameBytes = 200
	maxSpanEndS  = 24 * 3600
	maxDeadlineS = 7 * 24 * 3600
)

// validate checks a request and brings it into its normal form: trimmed questions, a named plan.
func (a *API) validate(req *request) error {
	for _, check := range []func(*request) error{
		validateAudio, validateOptions, a.validateQuestions, a.validatePlan, validateDecode, validateDeadline, validateName, validateLabels, a.validateWebhook,
	} {
		if err := check(req); err != nil {
			return err
		}
	}
	return nil
}

func validateAudio(req *request) error {
	sources := 0
	for _, given := range []bool{req.upload != nil, req.AudioRef != "", req.AudioURL != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return invalid(codeAudioRequired, "exactly one of an uploaded part audio, audio_ref and audio_url is needed; there are %d", sources)
	}
	switch {
	case req.upload != nil && req.upload.bytes == 0:
		return invalid(codeAudioEmpty, "the audio is empty")
	case req.AudioRef != "":
		req.AudioRef = strings.TrimPrefix(req.AudioRef, "audio/")
		if raw, err := hex.DecodeString(req.AudioRef); err != nil || len(raw) != 32 || req.AudioRef != strings.ToLower(req.AudioRef) {
			return invalid(codeAudioRefInvalid, "audio_ref must be a SHA-256 in 64 lower-case hex digits")
		}
	case req.AudioURL != "":
		if _, err := fetch.Check(req.AudioURL); err != nil {
			return err
		}
	}
	return nil
}

func validateOptions(req *request) error {
	var fault *event.OptionError
	if errors.As(req.Options.Validate(), &fault) {
		return invalid(fault.Code, "%s", fault)
	}
	if req.Lane == event.LaneInteractive {
		req.Lane = "" // which it is anyway: both are the same request
	}
	return nil
}

func (a *API) validateQuestions(req *request) error {
	if len(req.Questions) == 0 && req.ResponseSchema == client.SchemaTags {
		req.Questions = []string{tags.DefaultQuestion}
		return nil // ours, whatever the limit of the callers'
	}
	if len(req.Questions) == 0 {
		return invalid(codeQuestionsRequired, "at least one question is needed")
	}
	if len(req.Questions) > a.limits.MaxQuestions {
		return invalid(codeTooManyQuestions, "there are %d questions, the limit is %d", len(req.Questions), a.limits.MaxQuestions)
	}
	for i, text := range req.Questions {
		text = strings.TrimSpace(text)
		req.Questions[i] = text
		var p *client.Problem
		switch n := utf8.RuneCountInString(text); {
		case n == 0:
			p = invalid(codeQuestionInvalid, "question %d is empty", i)
		case n > a.limits.MaxQuestionChars:
			p = invalid(codeQuestionTooLong, "question %d has %d characters, the limit is %d", i, n, a.limits.MaxQuestionChars)
		case !utf8.ValidString(text) || strings.ContainsFunc(text, forbidden):
			p = invalid(codeQuestionInvalid, "question %d is not UTF-8 text or has control characters", i)
		default:
			continue
		}
		p.Errors = []client.FieldError{{Message: p.Detail, Location: fmt.Sprintf("questions[%d]", i)}}
		return p
	}
	return nil
}

// forbidden are control characters that no question needs.
func forbidden(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }

func (a *API) validatePlan(req *request) error {
	if req.Plan == "" {
		req.Plan = client.PlanAuto
		if len(req.Spans) > 0 {
			req.Plan = client.PlanExplicit
		}
	}
	if !event.KnownPlan(req.Plan) {
		return invalid(codePlanInvalid, "plan %.40q is not one of auto, all and explicit", req.Plan)
	}
	if (req.Plan == client.PlanExplicit) != (len(req.Spans) > 0) {
		return invalid(codePlanInvalid, "spans belong to plan explicit, which needs at least one")
	}
	if len(req.Spans) > a.limits.MaxSpans {
		return invalid(codeTooManySpans, "there are %d spans, the limit is %d", len(req.Spans), a.limits.MaxSpans)
	}
	if n := len(req.Spans) * len(req.Questions); n > a.limits.MaxAnswers {
		return invalid(event.CodePlanTooLarge, "%d spans of %d questions are %d answers, the limit is %d; submit them as several jobs", len(req.Spans), len(req.Questions), n, a.limits.MaxAnswers)
	}
	for i, s := range req.Spans {
		if !finite(s.StartS) || !finite(s.EndS) || s.StartS < 0 || s.EndS <= s.StartS || s.EndS > maxSpanEndS {
			return invalid(codePlanInvalid, "span %d, from %g to %g s, is not a stretch of a track", i, s.StartS, s.EndS)
		}
	}
	return nil
}

func validateDecode(req *request) error {
	d := req.Decode
	if d == nil {
		return nil
	}
	if err := d.Validate(); err != nil {
		return invalid(codeDecodeInvalid, "%v", err)
	}
	if *d == (client.Decode{}) {
		req.Decode = nil
	}
	return nil
}

func validateDeadline(req *request) error {
	if d := req.DeadlineS; !finite(d) || d < 0 || d > maxDeadlineS {
		return invalid(codeDeadlineInvalid, "deadline_s must be 0 to %d seconds", maxDeadlineS)
	}
	return nil
}

func validateName(req *request) error {
	if len(req.AudioName) > maxNameBytes || req.AudioName != cleanName(req.AudioName) {
		return invalid(codeNameInvalid, "audio_name must be at most %d bytes of text without slashes and control characters", maxNameBytes)
	}
	return nil
}

const (
	maxTexts         = 16
	maxTextName      = 64
	maxLabelValue    = 128
	maxMetadataValue = 512
)

var labelPattern = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,64}$`)

// validateLabels checks labels and metadata.
func validateLabels(req *request) error {
	for name := range req.Labels {
		if !labelPattern.MatchString(name) {
			return invalid(codeLabelsInvalid, "label %.80q: a name has 1 to %d letters, digits, dots, underscores, slashes and hyphens", name, maxTextName)
		}
	}
	if err := validateTexts(codeLabelsInvalid, "labels", req.Labels, maxLabelValue); err != nil {
		return err
	}
	return validateTexts(codeMetadataInvalid, "metadata", req.Metadata, maxMetadataValue)
}

func validateTexts(code, what string, texts map[string]string, maxValue int) error {
	if len(texts) > maxTexts {
		return invalid(code, "there are %d %s, the limit is %d", len(texts), what, maxTexts)
	}
	for name, value := range texts {
		for text, limit := range map[string]int{name: maxTextName, value: maxValue} {
			if utf8.RuneCountInString(text) > limit || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return invalid(code, "%s %.80q: a name has at most %d characters and a value %d, without zero bytes", what, name, maxTextName, maxValue)
			}
		}
		if name == "" {
			return invalid(code, "%s have a name that is empty", what)
		}
	}
	return nil
}

// cleanName makes a file name fit to be shown.
func cleanName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name))
	if name == "." || name == "/" {
		return ""
	}
	if len(name) > maxNameBytes {
		name = strings.ToValidUTF8(name[:maxNameBytes], "")
	}
	return name
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
