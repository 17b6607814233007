package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/web"
)

const token = "0123456789abcdef0123456789abcdef"

func TestToken(t *testing.T) {
	t.Parallel()
	h := web.Token(token)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	basic := func(user, password string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for header, want := range map[string]int{
		"Bearer " + token: 200, "bearer " + token: 200, "BEARER  " + token: 200, basic("", token): 200, basic("anybody", token): 200,
		"": 401, token: 401, "Bearer": 401, "Bearer ": 401, "Bearer " + token[1:]: 401, "Bearer " + token + "0": 401, "Bearer " + strings.ToUpper(token): 401,
		"Token " + token: 401, basic(token, ""): 401, basic("x", "y"): 401, "Basic " + token: 401,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/jobs?token="+token, nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		require.Equal(t, want, rec.Code, header)
		if want == http.StatusOK {
			continue
		}
		require.Equal(t, []string{`Bearer realm="larkstream"`, `Basic realm="larkstream", charset="UTF-8"`}, rec.Header().Values("WWW-Authenticate"))
		var p client.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Equal(t, "unauthorized", p.Code)
		require.NotContains(t, rec.Body.String(), token)
	}
	open := httptest.NewRecorder()
	web.Token("")(http.NotFoundHandler()).ServeHTTP(open, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	require.Equal(t, http.StatusNotFound, open.Code, "without a token everybody passes")
}

func TestTokensThatCanBeGuessedAreRefused(t *testing.T) {
	t.Parallel()
	require.NoError(t, web.CheckToken(token))
	require.ErrorContains(t, web.CheckToken("secret"), "openssl rand -hex 32")
	require.ErrorContains(t, web.CheckToken(token+" \n"), "no Authorization header can carry")
}
