package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/web"
)

func TestPagesNeedNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	web.Register(mux)
	elsewhere := regexp.MustCompile(`(?i)(src|href|url)\s*[=(]\s*["']?(https?:)?//`)
	for path, kind := range map[string]string{
		"/": "text/html", "/docs": "text/html", "/static/style.css": "text/css", "/static/ask.js": "text/javascript", "/static/docs.js": "text/javascript",
	} {
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, rec.Code, path)
		require.Contains(t, rec.Header().Get("Content-Type"), kind)
		require.Contains(t, rec.Header().Get("Content-Security-Policy"), "default-src 'none'")
		require.NotRegexp(t, elsewhere, rec.Body.String(), path)
		require.NotContains(t, rec.Body.String(), "innerHTML", "text goes in as text")
	}
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/static/../web.go", nil))
	require.NotEqual(t, http.StatusOK, rec.Code)
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	h := web.LoopbackOnly(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for remote, want := range map[string]int{
		"127.0.0.1:5": 200, "127.8.8.8:5": 200, "[::1]:5": 200, "[::ffff:127.0.0.1]:5": 200,
		"10.0.0.1:5": 403, "[2001:db8::1]:5": 403, "": 403, "@": 403, "localhost:5": 403,
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/traces", nil)
		req.RemoteAddr = remote
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		require.Equal(t, want, rec.Code, remote)
		req.Header.Set("X-Forwarded-For", "127.0.0.1")
		rec = httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		require.Equal(t, http.StatusForbidden, rec.Code, "a proxy hides who calls")
	}
}
