package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

// ErrorBody is how these clients are told of errors.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Error says what is wrong with a request.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type" enum:"invalid_request_error,authentication_error,permission_error,rate_limit_error,server_error"`
	Param   *string `json:"param" doc:"The parameter at fault"`
	Code    *string `json:"code" doc:"Stable, for programs: the codes of the problems of the other operations"`
	TraceID string  `json:"trace_id,omitempty" doc:"Leads whoever runs the gateway to the request's trace"`
}

// Refuse makes a problem about a parameter, "" for the whole request.
func Refuse(status int, param, code, format string, args ...any) *client.Problem {
	p := &client.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
	if param != "" {
		p.Errors = []client.FieldError{{Message: p.Detail, Location: param}}
	}
	return p
}

// invalid is Refuse with the usual status.
func invalid(param, code, format string, args ...any) *client.Problem {
	return Refuse(http.StatusBadRequest, param, code, format, args...)
}

// Told is a problem in the form of these clients.
func Told(p *client.Problem) Error {
	e := Error{Message: p.Detail, Type: typeOf(p.Status), TraceID: p.TraceID}
	if e.Message == "" {
		e.Message = p.Title
	}
	if p.Code != "" {
		e.Code = &p.Code
	}
	for _, fault := range p.Errors[:min(len(p.Errors), 1)] {
		param := fault.Location
		for _, place := range []string{"body.", "query.", "path.", "header."} {
			param = strings.TrimPrefix(param, place)
		}
		if e.Param = &param; fault.Message != "" && fault.Message != p.Detail {
			e.Message += ": " + fault.Message
		}
	}
	return e
}

func typeOf(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= http.StatusInternalServerError:
		return "server_error"
	}
	return "invalid_request_error"
}

// paths are those on which OpenAI's clients ask.
var paths = []string{"/v1/chat/completions", "/v1/models", "/v1/files", "/v1/batches"}

// Spoken tells whether a path belongs to OpenAI's API.
func Spoken(path string) bool {
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Errors gives the problems that next answers on OpenAI's paths the form that OpenAI's clients read. Status 422 becomes 400, as these clients know it.
func Errors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Spoken(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		t := &translator{ResponseWriter: w}
		next.ServeHTTP(t, r)
		t.finish()
	})
}

// maxProblem bounds a problem that is translated, in bytes.
const maxProblem = 64 << 10

// translator holds an answer back that is a problem.
type translator struct {
	http.ResponseWriter
	begun  bool
	status int // of a problem, 0 for another answer
	held   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (t *translator) WriteHeader(status int) {
	if !t.begun && status >= http.StatusBadRequest && strings.HasPrefix(t.Header().Get("Content-Type"), "application/problem+json") {
		t.begun, t.status = true, status
		return
	}
	t.begun = t.begun || status >= http.StatusOK
	if t.status == 0 {
		t.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (t *translator) Write(p []byte) (int, error) {
	t.begun = true
	if t.status == 0 {
		return t.ResponseWriter.Write(p)
	}
	if t.held.Len() < maxProblem {
		t.held.Write(p)
	}
	return len(p), nil
}

// Unwrap serves http.ResponseController.
func (t *translator) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *translator) finish() {
	if t.status == 0 {
		return
	}
	p := client.Problem{Status: t.status, Title: http.StatusText(t.status)}
	_ = json.Unmarshal(t.held.Bytes(), &p) // what is no problem after all has its status at least
	p.Status = Status(t.status)
	body, err := json.Marshal(ErrorBody{Told(&p)})
	if err != nil {
		panic(err) // unreachable: texts have a form in JSON
	}
	h := t.Header()
	h.Set("Content-Type", "application/json")
	h.Del("Content-Length")
	t.ResponseWriter.WriteHeader(p.Status)
	_, _ = t.ResponseWriter.Write(append(body, '\n')) // the caller is gone when this fails
}
