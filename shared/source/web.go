package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/fetch"
)

const (
	// hostSilence is the longest that a host may send nothing.
	hostSilence = time.Minute
	// hostRedirects is how many redirects are followed.
	hostRedirects = 5
)

// host is what lies below a prefix of an HTTPS host. Its files are reached through the guard of downloads: an address that is not on the public internet is
// refused when it is dialled, also behind redirects.
type host struct {
	name, prefix string
	client       *fetch.Client
}

// parseWeb reads a URL. What could mean another path to the host than to us is refused.
func parseWeb(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return address{}, errors.New("a web address is https://host/path") // the text may hold credentials
	}
	escaped := strings.ToLower(u.EscapedPath())
	switch {
	case u.User != nil:
		return address{}, errors.New("a web address carries no user name and no password")
	case u.Fragment != "":
		return address{}, errors.New("a web address has no part behind #")
	case strings.Contains(u.Path, "\\") || strings.Contains(escaped, "%2f") || strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return address{}, errors.New("the path of a web address has no backslash, no escaped slash and no control characters")
	case u.Path != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/":
		return address{}, errors.New("the path of a web address has no . or .. and no two slashes in a row")
	}
	u.Host = webHost(u)
	if u.Path == "" {
		u.Path = "/"
	}
	return address{scheme: "https", bucket: u.Host, path: u.Path, url: u}, nil
}

func webHost(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":443") }

func newHost(text string, deps fetch.Deps) (*host, error) {
	a, err := parseWeb(text)
	if err != nil {
		return nil, err
	}
	h := &host{name: a.bucket, prefix: strings.TrimSuffix(a.path, "/") + "/"}
	cfg := fetch.ClientConfig{MaxRedirects: hostRedirects, Redirect: h.redirect, Silence: hostSilence}
	for name, values := range a.url.Query() {
		private, err := strconv.ParseBool(values[0])
		if name != "private" || err != nil {
			return nil, fmt.Errorf("https://%s: the only parameter is private, true or false; paths of files, and what stands behind their ?, are for the manifest", a.bucket)
		}
		if private {
			cfg.Allow = []string{a.url.Hostname()}
		}
	}
	h.client, err = fetch.NewClient(cfg, deps)
	return h, err
}

func (h *host) holds(a address) bool {
	return a.scheme == "https" && a.bucket == h.name && strings.HasPrefix(a.path, h.prefix)
}

// redirect refuses to leave HTTPS, and to leave the prefix within the host. Other hosts are checked by their addresses.
func (h *host) redirect(to *url.URL) error {
	if to.Scheme != "https" {
		return errors.New("a redirect leads away from https")
	}
	if webHost(to) != h.name {
		return nil
	}
	if a, err := parseWeb(to.String()); err != nil || !h.holds(a) {
		return errors.New("a redirect leads out of what is allowed of this host")
	}
	return nil
}

func (h *host) open(ctx context.Context, a address) (*Object, error) {
	if strings.HasSuffix(a.path, "/") {
		return nil, fmt.Errorf("%w: it is a folder", ErrNotFile)
	}
	resp, err := h.get(ctx, a, "") //nolint:bodyclose // the object closes it
	if err != nil {
		return nil, err
	}
	parts := &webAt{ctx: ctx, host: h, address: a, size: resp.ContentLength, version: version(resp)}
	body := &webBody{ReadCloser: resp.Body, parts: parts}
	if resp.ContentLength < 0 {
		return nil, errors.Join(fmt.Errorf("%w: the server does not tell the file's size", ErrUnreadable), body.Close())
	}
	return &Object{ReadCloser: body, ReaderAt: parts, Bytes: resp.ContentLength}, nil
}

func (*host) walk(context.Context, address, func(Entry) error) error {
	return fmt.Errorf("%w: a web host has no list of its files; name them in a manifest", ErrUnreadable)
}

// get asks for a file, or for a range of its bytes. The answer has the status 200, or 206 if a range was asked for.
func (h *host) get(ctx context.Context, a address, bytes string) (*http.Response, error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	if bytes != "" {
		header.Set("Range", "bytes="+bytes)
	}
	resp, err := h.client.Get(ctx, a.url, header)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrHost, ctx.Err())
	case errors.Is(err, fetch.ErrBlocked):
		return nil, fmt.Errorf("%w: %w", ErrNotAllowed, err)
	case errors.Is(err, fetch.ErrInvalidURL), errors.Is(err, fetch.ErrRedirects):
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrHost, err)
	}
	err = answered(resp.StatusCode, bytes != "")
	if err == nil && !strings.EqualFold(resp.Header.Get("Content-Encoding"), "identity") && resp.Header.Get("Content-Encoding") != "" {
		err = fmt.Errorf("%w: the server sends it compressed, although it was asked not to", ErrUnreadable)
	}
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// answered tells what a status means. A server that is overloaded or away behind its proxy comes back; an error of its own about one file may stay for ever.
func answered(status int, part bool) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusPartialContent:
		if part {
			return nil
		}
	case http.StatusNotFound, http.StatusGone:
		return ErrMissing
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return fmt.Errorf("%w: the server answered %d", ErrDenied, status)
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: the server answered %d", ErrHost, status)
	case http.StatusRequestedRangeNotSatisfiable:
		if part {
			return ErrChanged // the range lies within the size that was told before
		}
	}
	return fmt.Errorf("%w: the server answered %d", ErrUnreadable, status)
}

// version tells one state of a file from another, as far as the server does.
func version(resp *http.Response) string {
	return resp.Header.Get("ETag") + "\n" + resp.Header.Get("Last-Modified")
}

// webBody is a file that is read from its beginning.
type webBody struct {
	io.ReadCloser
	parts *webAt
}

// Read implements io.Reader. A connection that breaks is a fault that may pass.
func (b *webBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the connection broke", ErrHost)
	}
	return n, err
}

// Close implements io.Closer.
func (b *webBody) Close() error { return errors.Join(b.ReadCloser.Close(), b.parts.close()) }
