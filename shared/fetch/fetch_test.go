package fetch_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPublic(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.1": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001:81b::200e": true, "::ffff:8.8.8.8": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false, "127.0.0.1": false, "127.255.0.1": false,
		"100.64.0.1": false, "100.127.255.255": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.8": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.7": false, "203.0.113.7": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a00:1": false, "100::1": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false,
		"fe80::1%eth0": false, "2606:4700::1%eth0": false, "fec0::1": false, "ff02::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "2002:a00:1::1": false, "3fff::1": false, "4000::1": false,
	} {
		require.Equal(t, want, fetch.Public(netip.MustParseAddr(addr)), addr)
	}
}

func newFetcher(t *testing.T, cfg fetch.Config, deps fetch.Deps) *fetch.Fetcher {
	t.Helper()
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1000
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	f, err := fetch.New(cfg, deps)
	require.NoError(t, err)
	return f
}

// get fetches a URL whole.
func get(t *testing.T, f *fetch.Fetcher, rawURL string) (string, error) {
	t.Helper()
	d, err := f.Fetch(t.Context(), rawURL)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Close() }()
	body, err := io.ReadAll(d)
	return string(body), err
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestFetchIsGuarded(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	target := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	port := target[strings.LastIndex(target, ":"):]
	f := newFetcher(t, fetch.Config{}, fetch.Deps{})
	for _, u := range []string{
		target, "http://localhost" + port, "http://127.0.0.1" + port, "http://127.1" + port, "http://0.0.0.0" + port, "http://[::1]" + port,
		"http://[::ffff:127.0.0.1]" + port, "http://[::]" + port,
	} {
		_, err := get(t, f, u)
		require.Error(t, err, u)
		require.NotErrorIs(t, err, fetch.ErrTimeout, u)
	}
	_, err := get(t, f, "http://127.0.0.1"+port)
	require.ErrorIs(t, err, fetch.ErrBlocked)
	_, err = get(t, f, "http://[::ffff:7f00:1]"+port)
	require.ErrorIs(t, err, fetch.ErrBlocked)
	require.Zero(t, hits.Load(), "nothing reached the server")
}

func TestInvalidURLs(t *testing.T) {
	t.Parallel()
	f := newFetcher(t, fetch.Config{}, fetch.Deps{})
	for _, u := range []string{
		"", "file:///etc/passwd", "gopher://x/", "ftp://x/a", "http://", "http:///a", "//x/a", "a.wav", "http://user:pw@x/a", "http://[::1", "http://x:abc/",
		"http://x/" + strings.Repeat("a", 5000), "http://x/\x00", "javascript:alert(1)",
	} {
		_, err := get(t, f, u)
		require.ErrorIs(t, err, fetch.ErrInvalidURL, "%.80s", u)
	}
}

// TestRedirectsAreGuarded: an allowed host may not lead to one that is not.
func TestRedirectsAreGuarded(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	inside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.2:0")
	require.NoError(t, err)
	srv := &httptest.Server{Listener: inside, Config: &http.Server{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }), ReadHeaderTimeout: time.Second,
	}}
	srv.Start()
	t.Cleanup(srv.Close)
	target := ""
	outside := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) })
	f := newFetcher(t, fetch.Config{Allow: []string{"127.0.0.1"}, MaxRedirects: 3}, fetch.Deps{})
	for want, to := range map[error]string{
		fetch.ErrBlocked: srv.URL, fetch.ErrInvalidURL: "file:///etc/passwd", fetch.ErrUnreachable: "/again",
	} {
		target = to
		_, err := get(t, f, outside)
		require.ErrorIs(t, err, want)
	}
	require.Zero(t, hits.Load())
}

// TestRebinding: what counts is the address that is dialled, not the one that a name had when it was
// first looked at.
func TestRebinding(t *testing.T) {
	t.Parallel()
	target := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	port := target[strings.LastIndex(target, ":"):]
	dns := startDNS(t, "127.0.0.1")
	f := newFetcher(t, fetch.Config{}, fetch.Deps{Resolver: dns.resolver()})
	_, err := get(t, f, "http://rebind.example.com"+port)
	require.ErrorIs(t, err, fetch.ErrBlocked)
	require.Positive(t, dns.asked.Load(), "the name was resolved")

	byName := newFetcher(t, fetch.Config{Allow: []string{"Rebind.Example.Com"}}, fetch.Deps{Resolver: dns.resolver()})
	body, err := get(t, byName, "http://rebind.example.com"+port)
	require.NoError(t, err, "a host that the operator trusts may live anywhere")
	require.Equal(t, "secret", body)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/exact.wav":
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		case "/declared":
			w.Header().Set("Content-Length", "1001")
		case "/chunked":
			for range 11 {
				_, _ = io.WriteString(w, strings.Repeat("x", 100))
				_ = http.NewResponseController(w).Flush()
			}
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "bomb")
		case "/short":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "four")
		case "/hang":
			_ = http.NewResponseController(w).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	f := newFetcher(t, fetch.Config{Allow: []string{"127.0.0.0/8"}}, fetch.Deps{})
	body, err := get(t, f, base+"/exact.wav")
	require.NoError(t, err)
	require.Len(t, body, 1000)
	for path, want := range map[string]error{
		"/declared": fetch.ErrTooLarge, "/chunked": fetch.ErrTooLarge, "/none": fetch.ErrUnreachable, "/short": fetch.ErrUnreachable,
	} {
		_, err := get(t, f, base+path)
		require.ErrorIs(t, err, want, path)
	}
	body, err = get(t, f, base+"/gzip")
	require.NoError(t, err)
	require.Equal(t, "bomb", body, "nothing is decompressed")
	quick := newFetcher(t, fetch.Config{Allow: []string{"127.0.0.1"}, Timeout: 50 * time.Millisecond}, fetch.Deps{})
	_, err = get(t, quick, base+"/hang")
	require.ErrorIs(t, err, fetch.ErrTimeout)
}

func TestNames(t *testing.T) {
	t.Parallel()
	base := serve(t, func(http.ResponseWriter, *http.Request) {})
	f := newFetcher(t, fetch.Config{Allow: []string{"127.0.0.1"}}, fetch.Deps{})
	for path, want := range map[string]string{
		"/a/b%20c.mp3?token=secret": "b c.mp3", "/": "127.0.0.1", "": "127.0.0.1", "/x%0Ay": "xy", "/" + strings.Repeat("n", 300): strings.Repeat("n", 200),
	} {
		d, err := f.Fetch(t.Context(), base+path)
		require.NoError(t, err)
		require.Equal(t, want, d.Name)
		require.NoError(t, d.Close())
	}
}

func TestUnreachableTellsNothing(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	f := newFetcher(t, fetch.Config{Allow: []string{"127.0.0.1"}}, fetch.Deps{})
	_, err = get(t, f, "http://"+l.Addr().String())
	require.ErrorIs(t, err, fetch.ErrUnreachable)
	require.NotContains(t, err.Error(), "refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.Fetch(ctx, "http://"+l.Addr().String())
	require.ErrorIs(t, err, context.Canceled)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, allow := range []string{"", "http://x", "a b", "*.example.com", "10.0.0.0/99"} {
		_, err := fetch.New(fetch.Config{Allow: []string{allow}, MaxBytes: 1, Timeout: 1}, fetch.Deps{})
		require.ErrorContains(t, err, "allowlist", allow)
	}
	_, err := fetch.New(fetch.Config{}, fetch.Deps{})
	require.Error(t, err)
}

// FuzzCheck: a URL that passes names a host and a web scheme, and parses the same way again.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"http://example.com/a.wav", "https://[::1]:443/", "HTTP://x", "http://a@b", "//x", "http://%41:80/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := fetch.Check(raw)
		if err != nil {
			require.ErrorIs(t, err, fetch.ErrInvalidURL)
			return
		}
		again, err := url.Parse(u.String())
		require.NoError(t, err)
		require.Equal(t, u.Hostname(), again.Hostname())
		require.Contains(t, []string{"http", "https"}, again.Scheme)
		require.Nil(t, again.User)
	})
}

// fakeDNS answers every A question with one address.
type fakeDNS struct {
	conn  net.PacketConn
	addr  netip.Addr
	asked atomic.Int32
}

func startDNS(t *testing.T, addr string) *fakeDNS {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &fakeDNS{conn: conn, addr: netip.MustParseAddr(addr)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.run()
	}()
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		<-done
	})
	return d
}

func (d *fakeDNS) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
}

func (d *fakeDNS) run() {
	buf := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n > 12 {
			_, _ = d.conn.WriteTo(d.answer(buf[:n]), from)
		}
	}
}

// answer copies the question and adds an A record where one was asked for (RFC 1035).
func (d *fakeDNS) answer(query []byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	isA := binary.BigEndian.Uint16(query[end+1:]) == 1
	out := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	if isA {
		d.asked.Add(1)
		out[7] = 1
		out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, d.addr.AsSlice()...)
	}
	return out
}
