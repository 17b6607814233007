package service_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/service"
)

// TestAdminAddr: metrics, profiles and admin routes are served there and nowhere else, behind their own guard; probes are answered on both.
func TestAdminAddr(t *testing.T) {
	t.Parallel()
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	refuses := func(query string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has(query) {
					http.Error(w, "no", http.StatusTeapot)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	cfg := common(t)
	cfg.AdminAddr, cfg.Pprof, cfg.StateFile = "127.0.0.1:0", true, filepath.Join(t.TempDir(), "state.json")
	s := start(t, cfg, service.Part{
		Name: "a", Routes: map[string]http.Handler{"/hello": says("hello")}, Guard: refuses("stranger"),
		AdminRoutes: map[string]http.Handler{"/debug/x": says("x")}, AdminGuard: refuses("rebound"),
	})
	s.logs.wait(t, "msg=ready")
	raw, err := os.ReadFile(cfg.StateFile)
	require.NoError(t, err)
	var at struct {
		HTTPAddr  string `json:"http_addr"`
		AdminAddr string `json:"admin_addr"`
	}
	require.NoError(t, json.Unmarshal(raw, &at))
	require.NotEqual(t, at.HTTPAddr, at.AdminAddr)
	for path, want := range map[string][2]int{
		"/healthz": {200, 200}, "/readyz": {200, 200}, "/hello": {200, 404}, "/metrics": {404, 200}, "/debug/x": {404, 200}, "/debug/pprof/cmdline": {404, 200},
		"/hello?stranger": {418, 404}, "/metrics?rebound": {404, 418}, "/debug/x?rebound": {404, 418}, "/metrics?stranger": {418, 200},
	} {
		code, _ := get(t, "http://"+at.HTTPAddr+path)
		require.Equal(t, want[0], code, "http_addr %s", path)
		code, _ = get(t, "http://"+at.AdminAddr+path)
		require.Equal(t, want[1], code, "admin_addr %s", path)
	}
	require.NoError(t, s.end())
}

// TestAnAdminAddrThatIsTaken: the service does not start, and leaves its other address free.
func TestAnAdminAddrThatIsTaken(t *testing.T) {
	t.Parallel()
	cfg := common(t)
	s := start(t, cfg)
	taken := s.logs.addr(t)
	second := common(t)
	second.AdminAddr = taken
	require.ErrorContains(t, <-start(t, second).done, "address already in use")
	require.NoError(t, s.end())
}
