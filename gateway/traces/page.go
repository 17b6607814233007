package traces

import (
	"bytes"
	_ "embed" // the page is part of the binary
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"
)

//go:embed page.html
var pageHTML string

// listLimit bounds the list of traces on one page.
const listLimit = 200

// listPage is what the list of traces shows.
type listPage struct {
	Query   Query
	Traces  []listRow
	Longest time.Duration
}

// listRow is one trace in the list; Share is its duration in per cent of the longest.
type listRow struct {
	Summary
	Path  []service
	Share float64
}

// PageHandler serves the traces stored: the list (filtered by q and errors=1), one trace as a waterfall
// (trace=<id>), and either as JSON (format=json). It is meant for /debug/traces but serves at any path.
func (t *Store) PageHandler() http.Handler {
	page := template.Must(template.New("page").Funcs(template.FuncMap{
		"took": took, "clock": func(at time.Time) string { return at.UTC().Format("15:04:05.000") },
		"day":  func(at time.Time) string { return at.UTC().Format(time.DateOnly) },
		"pct":  func(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) },
		"half": func(v float64) bool { return v > 50 }, "add": func(a, b float64) float64 { return a + b },
	}).Parse(pageHTML))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)
			return
		}
		t.servePage(w, r, page)
	})
}

func (t *Store) servePage(w http.ResponseWriter, r *http.Request, page *template.Template) {
	form := r.URL.Query()
	asJSON := form.Get("format") == "json"
	id := form.Get("trace")
	if id == "" {
		q := Query{Text: form.Get("q"), Errors: form.Get("errors") == "1", Limit: listLimit}
		list := t.List(q)
		if asJSON {
			sendJSON(w, map[string]any{"traces": list})
			return
		}
		sendPage(w, http.StatusOK, page, "list", newListPage(q, list))
		return
	}
	spans, dropped, ok := t.Trace(id)
	switch {
	case !ok && asJSON:
		http.Error(w, "no such trace", http.StatusNotFound)
	case !ok:
		sendPage(w, http.StatusNotFound, page, "gone", id)
	case asJSON:
		sendJSON(w, map[string]any{"trace_id": id, "spans": spans, "dropped": dropped})
	default:
		sum := summarize(&storedTrace{id: id, spans: spans, dropped: dropped})
		sendPage(w, http.StatusOK, page, "trace", layOut(sum, spans))
	}
}

func newListPage(q Query, list []Summary) listPage {
	p := listPage{Query: q}
	for _, s := range list {
		p.Longest = max(p.Longest, s.Duration)
	}
	for _, s := range list {
		share := clamp(100*float64(s.Duration)/float64(max(p.Longest, 1)), 0.5, 100)
		p.Traces = append(p.Traces, listRow{Summary: s, Path: servicesOf(s), Share: share})
	}
	return p
}

func sendJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer", http.StatusInternalServerError)
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

func sendPage(w http.ResponseWriter, status int, page *template.Template, name string, data any) {
	var b bytes.Buffer
	if err := page.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "rendering the page", http.StatusInternalServerError)
		return
	}
	send(w, status, "text/html; charset=utf-8", b.Bytes())
}

// send writes an answer that no cache keeps. The page has no scripts and loads nothing, and says so.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone when this fails
}

// took prints a duration with three figures: 12.3 ms.
func took(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second / 10).String()
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3g µs", float64(d)/1e3)
}
