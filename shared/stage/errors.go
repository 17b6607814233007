package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

type permanentError struct {
	code string
	err  error
}

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent says that trying again cannot help. Each question of the record ends as failed with code
// (one of event's codes) and the error's text, which is shown to the user.
func Permanent(code string, err error) error {
	if err == nil {
		err = errors.New(code)
	}
	return &permanentError{code: code, err: err}
}

// PermanentCode returns the code of a Permanent error, "" for any other.
func PermanentCode(err error) string {
	var permanent *permanentError
	if errors.As(err, &permanent) {
		return permanent.code
	}
	return ""
}

type codedError struct {
	code string
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// Coded gives a transient error the code that its questions end with when all retries are used up.
func Coded(code string, err error) error {
	if err == nil {
		err = errors.New(code)
	}
	return &codedError{code: code, err: err}
}

type laterError struct {
	after time.Duration
	// elsewhere is set for work that another instance may be able to do.
	elsewhere bool
}

func (e *laterError) Error() string { return fmt.Sprintf("not now, again in %s", e.after) }

// Later puts the record back for about d and counts no attempt. It is for work that this instance must not do now. A d
// longer than the longest retry delay is cut to it.
func Later(d time.Duration) error { return &laterError{after: max(0, d)} }

// codeOf is the outcome code of an error.
func codeOf(err error) string {
	var permanent *permanentError
	if errors.As(err, &permanent) {
		return permanent.code
	}
	var coded *codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return event.CodeInternal
}

// endOf tells whether a job's own end (cancel or deadline) stopped the work, and its outcome code.
func endOf(cause error) (code string, ended bool) {
	switch {
	case errors.Is(cause, ErrCancelled):
		return event.CodeCancelled, true
	case errors.Is(cause, ErrExpired):
		return event.CodeExpired, true
	}
	return "", false
}

// abandoned tells whether the work was stopped from outside, so that the record must come again.
func abandoned(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, ErrRevoked) || errors.Is(cause, ErrStopping)
}
