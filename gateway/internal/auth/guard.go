package auth

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

// Codes of problems.
const (
	CodeUnauthorized = "unauthorized"
	codeUnavailable  = "auth_unavailable"
)

// Guard answers 401 for requests of unknown callers. The caller of the others is found in their context by From. A key or token is sent as a bearer
// token (RFC 6750) or, by browsers, as the password of Basic authentication (RFC 7617) with any user name.
func (a *Authenticator) Guard(log *slog.Logger, refuse func(http.ResponseWriter, client.Problem)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := a.Authenticate(r.Context(), tokenOf(r))
			switch {
			case err == nil:
				next.ServeHTTP(w, r.WithContext(With(r.Context(), p)))
			case errors.Is(err, ErrUnavailable):
				log.WarnContext(r.Context(), "a caller cannot be checked", slog.Any("error", err))
				w.Header().Set("Retry-After", "5")
				refuse(w, client.Problem{
					Status: http.StatusServiceUnavailable, Code: codeUnavailable, Retryable: true,
					Detail: "the gateway cannot tell now who sends the request; try again",
				})
			default:
				log.DebugContext(r.Context(), "a caller was refused", slog.Any("error", err))
				w.Header().Add("WWW-Authenticate", `Bearer realm="larkstream"`)
				w.Header().Add("WWW-Authenticate", `Basic realm="larkstream", charset="UTF-8"`)
				refuse(w, client.Problem{
					Status: http.StatusUnauthorized, Code: CodeUnauthorized,
					Detail: ErrUnknown.Error() + "; send a key as Authorization: Bearer KEY (lark reads it from LARK_TOKEN), or as the password in a browser",
				})
			}
		})
	}
}

func tokenOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
