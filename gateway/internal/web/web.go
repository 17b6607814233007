package web

import (
	"embed"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
)

//go:embed static
var static embed.FS

// policy lets the pages load their own files only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Mux takes routes.
type Mux interface {
	Handle(pattern string, h http.Handler)
}

// Register adds the pages: /, /docs and /static/.
func Register(mux Mux) {
	mux.Handle("GET /{$}", page("static/index.html"))
	mux.Handle("GET /docs", page("static/docs.html"))
	mux.Handle("GET /static/", secure(http.FileServerFS(static)))
}

func page(name string) http.Handler {
	return secure(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := fs.ReadFile(static, name)
		if err != nil {
			http.Error(w, "the page is missing", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(body)
	}))
}

func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// LoopbackOnly refuses callers on other machines. It also refuses callers behind a proxy, because their address is unknown.
func LoopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromLoopback(r) {
			http.Error(w, "only for processes on this machine", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fromLoopback(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
