package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/fetch"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Problem codes, stable for programs.
const (
	codeInvalidRequest      = "invalid_request"
	codeMalformedBody       = "malformed_body"
	codeUnsupportedMedia    = "unsupported_media_type"
	codeBodyTooLarge        = "body_too_large"
	codeBodyTimeout         = "body_timeout"
	codeAudioTooLarge       = "audio_too_large"
	codeAudioEmpty          = "audio_empty"
	codeAudioRequired       = "audio_required"
	codeAudioRefInvalid     = "audio_ref_invalid"
	codeAudioRefUnknown     = "audio_ref_unknown"
	codeURLInvalid          = "audio_url_invalid"
	codeURLBlocked          = "audio_url_blocked"
	codeURLUnreachable      = "audio_url_unreachable"
	codeURLTimeout          = "audio_url_timeout"
	codeQuestionsRequired   = "questions_required"
	codeTooManyQuestions    = "too_many_questions"
	codeQuestionTooLong     = "question_too_long"
	codeQuestionInvalid     = "question_invalid"
	codePlanInvalid         = "plan_invalid"
	codeTooManySpans        = "too_many_spans"
	codeDecodeInvalid       = "decode_invalid"
	codeDeadlineInvalid     = "deadline_invalid"
	codeNameInvalid         = "audio_name_invalid"
	codeIdempotencyInvalid  = "idempotency_key_invalid"
	codeIdempotencyMismatch = "idempotency_key_mismatch"
	codeIdempotencyInFlight = "idempotency_key_in_flight"
	codeTooManyJobs         = "too_many_jobs"
	codeTooManyUploads      = "too_many_uploads"
	codeTooManyStreams      = "too_many_streams"
	codeJobNotFound         = "job_not_found"
	codeJobOpen             = "job_open"
	codeJobEnded            = client.CodeJobEnded
	codeLabelsInvalid       = "labels_invalid"
	codeMetadataInvalid     = "metadata_invalid"
	codeTenantLimit         = "tenant_limit"
	codeRateLimited         = "rate_limited"
	codeCursorInvalid       = "cursor_invalid"
	codeTenantNotFound      = "tenant_not_found"
	codeTenantExists        = "tenant_exists"
	codeKeyNotFound         = "key_not_found"
	codeKeyEnded            = "key_ended"
	codeDeadNotFound        = "dead_letter_not_found"
	codeDeadSelection       = "dead_selection_required"
	codeRunNotFound         = "run_not_found"
	codeRunState            = "run_state"
	codeWebhookNotFound     = "webhook_not_found"
	codeWebhookInvalid      = "webhook_invalid"
	codeWebhookDisabled     = "webhook_disabled"
	codeTooManyWebhooks     = "too_many_webhooks"
	codeItemInvalid         = "item_invalid"
	codeItemNotFound        = "item_not_found"
	codeEmbeddingMissing    = "embedding_missing"
	codePricesMissing       = "prices_missing"
	codeNotFound            = "not_found"
	codeMethod              = "method_not_allowed"
	codeStorageFull         = "storage_full"
	codeStoreUnavailable    = "store_unavailable"
	codeTimeout             = "timeout"
	codeInternal            = "internal"
)

// storeAfter is when a request may be tried again that the database could not serve, in seconds.
const storeAfter = 5

// internalDetail is all that a caller is told of a fault inside. Reads have no trace.
func internalDetail(ctx context.Context) string {
	if telemetry.TraceID(ctx) == "" {
		return "something went wrong inside; the log of the gateway says what"
	}
	return "something went wrong inside; the trace id leads to it"
}

// problem makes a problem that the caller's own change can solve.
func problem(status int, code, format string, args ...any) *client.Problem {
	return &client.Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// invalid is the common case of problem: the request is understood but cannot be done.
func invalid(code, format string, args ...any) *client.Problem {
	return problem(http.StatusUnprocessableEntity, code, format, args...)
}

// again makes a problem that time alone may solve, with the seconds to wait.
func again(status int, code string, afterS int, format string, args ...any) error {
	p := problem(status, code, format, args...)
	p.Retryable = true
	return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {strconv.Itoa(afterS)}})
}

// toProblem is huma's last step before a body is written: the errors that huma makes itself take the
// shape of all others.
func toProblem(ctx huma.Context, _ string, v any) (any, error) {
	var p *client.Problem
	switch m := v.(type) {
	case *client.Problem:
		copied := *m
		p = &copied
	case *huma.ErrorModel:
		p = problem(m.Status, codeInvalidRequest, "%s", m.Detail)
		switch {
		case m.Status == http.StatusNotFound:
			p.Code = codeNotFound
		case m.Status >= http.StatusInternalServerError:
			p.Code, p.Retryable = codeInternal, true
		}
		for _, e := range m.Errors {
			p.Errors = append(p.Errors, client.FieldError{Message: e.Message, Location: e.Location})
		}
	default:
		return v, nil
	}
	p.TraceID = telemetry.TraceID(ctx.Context())
	return p, nil
}

// fail turns an error from below into a problem. What the caller cannot act on is logged and hidden.
func (a *API) fail(ctx context.Context, err error) error {
	if refusal := a.limitProblem(err); refusal != nil {
		return refusal
	}
	var p *client.Problem
	var maxBytes *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return err
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, codeJobNotFound, "there is no such job")
	case errors.Is(err, ErrNoRoom):
		a.deps.Log.WarnContext(ctx, "request refused: no room for it", slog.Any("error", err))
		return again(http.StatusInsufficientStorage, codeStorageFull, roomAfter, "%s", err)
	case blob.Full(err), errors.Is(err, store.ErrFull):
		a.deps.Log.ErrorContext(ctx, "request refused: the disk is full", slog.Any("error", err))
		return again(http.StatusInsufficientStorage, codeStorageFull, roomAfter, "a disk of the gateway is full; nothing of the request was kept")
	case errors.Is(err, store.ErrUnavailable):
		a.deps.Log.WarnContext(ctx, "request refused: the job store cannot be reached", slog.Any("error", err))
		return again(http.StatusServiceUnavailable, codeStoreUnavailable, storeAfter,
			"the database of the gateway cannot be reached; try again, with the same Idempotency-Key if the request has one")
	case errors.Is(err, store.ErrOpen):
		return problem(http.StatusConflict, codeJobOpen, "the job has not ended; cancel it first, and delete it when it has ended")
	case errors.Is(err, store.ErrKeyInFlight):
		return again(http.StatusConflict, codeIdempotencyInFlight, 1, "a request with this Idempotency-Key is still being handled")
	case errors.As(err, &maxBytes):
		return problem(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "the request is over its limit of %d bytes", maxBytes.Limit)
	case errors.Is(err, blob.ErrTooLarge), errors.Is(err, fetch.ErrTooLarge):
		return problem(http.StatusRequestEntityTooLarge, codeAudioTooLarge, "the audio is over the limit of %d bytes", a.limits.MaxAudioBytes)
	}
	if p := fetchProblem(err); p != nil {
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return again(http.StatusServiceUnavailable, codeTimeout, 1, "the request took too long")
	}
	if errors.Is(err, context.Canceled) {
		return again(http.StatusServiceUnavailable, codeTimeout, 1, "the request was given up")
	}
	a.deps.Log.ErrorContext(ctx, "request went wrong", slog.Any("error", err))
	return again(http.StatusInternalServerError, codeInternal, 1, "%s", internalDetail(ctx))
}

func fetchProblem(err error) *client.Problem {
	switch {
	case errors.Is(err, fetch.ErrBlocked):
		return invalid(codeURLBlocked, "audio_url leads to an address that is not on the public internet")
	case errors.Is(err, fetch.ErrInvalidURL):
		return invalid(codeURLInvalid, "audio_url: %s", err)
	case errors.Is(err, fetch.ErrTimeout):
		p := invalid(codeURLTimeout, "the download of audio_url took too long")
		p.Retryable = true
		return p
	case errors.Is(err, fetch.ErrUnreachable):
		p := invalid(codeURLUnreachable, "audio_url: %s", err)
		p.Retryable = true
		return p
	}
	return nil
}

// writeProblem answers outside of huma.
func writeProblem(w http.ResponseWriter, p *client.Problem) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone when this fails
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
