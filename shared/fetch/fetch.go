package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// Errors that callers tell apart; ErrBlocked is among them.
var (
	ErrInvalidURL  = errors.New("URL is not usable")
	ErrTooLarge    = errors.New("download is too large")
	ErrUnreachable = errors.New("download did not succeed")
	ErrTimeout     = errors.New("download took too long")
	// ErrRedirects is an ErrUnreachable.
	ErrRedirects = fmt.Errorf("%w: too many redirects", ErrUnreachable)
)

// Config bounds downloads.
type Config struct {
	// Allow lists hosts, addresses and networks that may be reached although they are not public.
	Allow []string
	// MaxBytes of one download.
	MaxBytes int64
	// Timeout of one download, redirects included.
	Timeout time.Duration
	// MaxRedirects that are followed; each target is checked as the first URL was.
	MaxRedirects int
}

const (
	maxURLBytes  = 4096
	maxNameBytes = 200
)

// Fetcher downloads files. It is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *Client
}

// New validates the configuration.
func New(cfg Config, deps Deps) (*Fetcher, error) {
	if cfg.MaxBytes <= 0 || cfg.Timeout <= 0 {
		return nil, errors.New("making fetcher: size and time limits must be positive")
	}
	client, err := NewClient(ClientConfig{Allow: cfg.Allow, MaxRedirects: cfg.MaxRedirects}, deps)
	if err != nil {
		return nil, err
	}
	return &Fetcher{cfg: cfg, client: client}, nil
}

// Check parses a URL and refuses what can never be fetched, without touching the network.
func Check(raw string) (*url.URL, error) {
	if len(raw) > maxURLBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalidURL, maxURLBytes)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not parse", ErrInvalidURL)
	}
	return u, checkURL(u)
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: scheme must be http or https", ErrInvalidURL)
	case u.Hostname() == "":
		return fmt.Errorf("%w: it names no host", ErrInvalidURL)
	case u.User != nil:
		return fmt.Errorf("%w: it must not carry a user name or password", ErrInvalidURL)
	}
	return nil
}

// Download is an open download. Read fails with ErrTooLarge or ErrTimeout at the limits; Close must
// be called.
type Download struct {
	// Name is the last element of the URL's path, for display.
	Name string
	body io.ReadCloser
	left int64
	ctx  context.Context //nolint:containedctx // lives exactly as long as the body that it bounds
	stop context.CancelFunc
}

// Fetch starts the download of a URL and returns its body.
func (f *Fetcher) Fetch(ctx context.Context, raw string) (*Download, error) {
	u, err := Check(raw)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeoutCause(ctx, f.cfg.Timeout, ErrTimeout)
	d, err := f.open(ctx, u)
	if err != nil {
		stop()
		return nil, err
	}
	d.stop = stop
	return d, nil
}

func (f *Fetcher) open(ctx context.Context, u *url.URL) (*Download, error) {
	resp, err := f.client.Get(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	if err := f.checkResponse(resp); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return &Download{Name: displayName(resp.Request.URL), body: resp.Body, left: f.cfg.MaxBytes, ctx: ctx}, nil
}

func (f *Fetcher) checkResponse(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: the server answered %d", ErrUnreachable, resp.StatusCode)
	}
	if resp.ContentLength > f.cfg.MaxBytes {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, resp.ContentLength, f.cfg.MaxBytes)
	}
	return nil
}

// Read implements io.Reader.
func (d *Download) Read(p []byte) (int, error) {
	// One byte more than the limit may be asked for, to tell "at the limit" from "over it".
	if int64(len(p)) > d.left+1 {
		p = p[:d.left+1]
	}
	n, err := d.body.Read(p)
	d.left -= int64(n)
	if d.left < 0 {
		return 0, ErrTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, classify(d.ctx, err)
	}
	return n, err
}

// Close ends the download.
func (d *Download) Close() error {
	d.stop()
	return d.body.Close()
}

// displayName is a URL's last path element without control characters.
func displayName(u *url.URL) string {
	name := path.Base(u.Path)
	if name == "." || name == "/" {
		return u.Hostname()
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	if len(name) > maxNameBytes {
		name = strings.ToValidUTF8(name[:maxNameBytes], "")
	}
	return name
}
