package web_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/web"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	hosts, err := web.NewHosts([]string{"Music.example.", "gateway", "2001:db8::7"})
	require.NoError(t, err)
	h := hosts.Only(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	local := context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 8080}))
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9000": 200, "localhost.": 200, "127.0.0.1:8080": 200, "127.9.9.9": 200, "[::1]:8080": 200, "[::1]": 200,
		"[::ffff:127.0.0.1]:1": 200,
		"10.1.2.3:8080":        200, "10.1.2.3": 200, "[::ffff:10.1.2.3]:1": 200, "10.1.2.4:8080": 421,
		"music.example": 200, "MUSIC.example:443": 200, "music.example.": 200, "gateway:8080": 200, "[2001:db8::7]:80": 200, "[2001:DB8:0::7]": 200,
		"attacker.example": 421, "attacker.example:8080": 421, "127.0.0.1.attacker.example": 421, "localhost.attacker.example": 421,
		"a.music.example": 421, "": 421, ":8080": 421, "0.0.0.0:8080": 421, "[::]:8080": 421, "2130706433": 421, "127.1": 421, "[": 421, "localhost:1:2": 421,
		"localhost@attacker.example": 421,
	} {
		req := httptest.NewRequestWithContext(local, http.MethodGet, "/", nil)
		req.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		require.Equal(t, want, rec.Code, host)
		if want == http.StatusOK {
			continue
		}
		var p client.Problem
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Equal(t, "host_not_allowed", p.Code)
		require.Contains(t, p.Detail, "LARK_GATEWAY_HOSTS")
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Host = "10.1.2.3"
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	require.Equal(t, http.StatusMisdirectedRequest, rec.Code, "the address of the connection is not known")
}

func TestHostsAreNamesAndAddresses(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "*", "*.example", "http://music.example", "music.example:443", "music.example/x", "two words", "-x", "a..b", "10.0.0.0/8"} {
		_, err := web.NewHosts([]string{"gateway", wrong})
		require.ErrorContains(t, err, "without scheme, port and wildcard", wrong)
	}
}

// FuzzHosts: a host that is answered is loopback or a name that was configured, however it is written.
func FuzzHosts(f *testing.F) {
	for _, host := range []string{"localhost:80", "[::1]:8080", "127.0.0.1.", "music.example", "[::ffff:7f00:1]", "localhost@x", "[music.example]:1", "music.example%00"} {
		f.Add(host)
	}
	hosts, err := web.NewHosts([]string{"music.example"})
	require.NoError(f, err)
	h := hosts.Only(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	f.Fuzz(func(t *testing.T, host string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code == http.StatusOK {
			name := strings.ToLower(host)
			loopback := strings.Contains(name, "localhost") || strings.Contains(name, "127.") || strings.Contains(name, "::") || strings.Contains(name, ":0:")
			require.True(t, loopback || strings.Contains(name, "music.example"), host)
			require.NotContains(t, name, "attacker")
			return
		}
		require.Equal(t, http.StatusMisdirectedRequest, rec.Code)
		require.LessOrEqual(t, rec.Body.Len(), 2000)
	})
}
