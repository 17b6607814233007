package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/shared/telemetry"
)

// encoded is a body that is JSON already.
type encoded []byte

// errUnencodable says that a view has no form in JSON.
var errUnencodable = errors.New("the answer cannot be encoded")

// encode is huma's last transformer. It makes the JSON before the status is written: a view that cannot be encoded then becomes one 500, and not
// a 200 without a body.
func encode(_ huma.Context, _ string, v any) (any, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Errorf("%w: %T: %w", errUnencodable, v, err)) // huma would answer an error of ours with status 200
	}
	return encoded(b.Bytes()), nil
}

// jsonFormat writes what encode made.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		body, ok := v.(encoded)
		if !ok {
			return fmt.Errorf("%w: %T was not made JSON", errUnencodable, v)
		}
		_, err := w.Write(body)
		return err
	},
	Unmarshal: json.Unmarshal,
}

// recovered answers 500 for a handler that panics before it has written anything, and logs why. net/http would cut the connection.
func (a *API) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &begun{ResponseWriter: w}
		defer func() {
			if fault := recover(); fault != nil {
				a.answerPanic(watched, r, fault)
			}
		}()
		next.ServeHTTP(watched, r)
	})
}

func (a *API) answerPanic(w *begun, r *http.Request, fault any) {
	if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(fault)
	}
	ctx := r.Context()
	a.deps.Log.ErrorContext(ctx, "request went wrong", slog.String("method", r.Method), slog.String("pattern", r.Pattern),
		slog.Any("error", fault), slog.String("stack", string(debug.Stack())))
	if w.yes {
		panic(http.ErrAbortHandler) // the caller must see that the answer is not whole
	}
	p := problem(http.StatusInternalServerError, codeInternal, "%s", internalDetail(ctx))
	p.TraceID = telemetry.TraceID(ctx)
	writeProblem(w, p)
}

// begun knows whether an answer has begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) WriteHeader(status int) { b.yes = true; b.ResponseWriter.WriteHeader(status) }

func (b *begun) Write(p []byte) (int, error) { b.yes = true; return b.ResponseWriter.Write(p) }

// Unwrap serves http.ResponseController.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// methods are those that a route of the gateway may have.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// methodsAt are the methods that an address takes. Where the specification has the address itself, that of /v1/dead/purge for one, they are those that it
// names; what takes any name there, as /v1/dead/{id} does, is not meant.
func (a *API) methodsAt(r *http.Request) (allowed []string) {
	item := a.huma.OpenAPI().Paths[r.URL.Path]
	for _, method := range methods {
		if item != nil {
			named := map[string]bool{
				http.MethodGet: item.Get != nil, http.MethodHead: item.Get != nil, http.MethodPost: item.Post != nil, http.MethodPut: item.Put != nil,
				http.MethodPatch: item.Patch != nil, http.MethodDelete: item.Delete != nil,
			}
			if named[method] {
				allowed = append(allowed, method)
			}
			continue
		}
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// notFound answers what no route takes: 405 where another method would have been taken.
func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	allowed := a.methodsAt(r)
	p := problem(http.StatusNotFound, codeNotFound, "there is nothing at this address")
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		p = problem(http.StatusMethodNotAllowed, codeMethod, "this address takes %s and not %.20q", strings.Join(allowed, " and "), r.Method)
	}
	p.TraceID = telemetry.TraceID(r.Context())
	writeProblem(w, p)
}
