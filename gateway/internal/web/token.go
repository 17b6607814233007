package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

const (
	// codeUnauthorized is the code of the problem that a request without the token gets.
	codeUnauthorized = "unauthorized"
	// minToken is the fewest characters of a token: fewer can be guessed.
	minToken = 16
)

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)

// CheckToken refuses tokens that can be guessed and those that no Authorization header can carry.
func CheckToken(token string) error {
	if len(token) < minToken {
		return fmt.Errorf("has %d characters, at least %d are needed; make one with: openssl rand -hex 32", len(token), minToken)
	}
	if !tokenPattern.MatchString(token) {
		return errors.New("has characters that no Authorization header can carry; make one with: openssl rand -hex 32")
	}
	return nil
}

// Token answers 401 for requests that do not carry the token, as a bearer token (RFC 6750) or, for browsers, as the password of Basic
// authentication (RFC 7617) with any user name. An empty token lets everybody pass.
func Token(token string) func(http.Handler) http.Handler {
	if token == "" {
		return func(next http.Handler) http.Handler { return next }
	}
	want := sha256.Sum256([]byte(token))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got := sha256.Sum256([]byte(tokenOf(r))) // sums have one length, so that the time to compare tells nothing
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				refuseCaller(w)
				return
			}
			next.ServeHTTP(w, r)
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

func refuseCaller(w http.ResponseWriter) {
	h := w.Header()
	h.Add("WWW-Authenticate", `Bearer realm="larkstream"`)
	h.Add("WWW-Authenticate", `Basic realm="larkstream", charset="UTF-8"`)
	writeProblem(w, client.Problem{
		Status: http.StatusUnauthorized, Code: codeUnauthorized,
		Detail: "the request does not carry the gateway's token; send it as Authorization: Bearer TOKEN (lark reads it from LARK_TOKEN), or as the password in a browser",
	})
}

// writeProblem answers with a problem of this status, code and detail.
func writeProblem(w http.ResponseWriter, p client.Problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller is gone when this fails
}
