package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"
)

// Errors that callers tell apart; ErrBlocked is among them.
var (
	ErrInvalidURL  = errors.New("URL is not usable")
	ErrTooLarge    = errors.New("download is too large")
	ErrUnreachable = errors.New("download did not succeed")
	ErrTimeout     = errors.New("download took too long")
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

// Deps are replaced by tests only.
type Deps struct {
	// Resolver of host names; nil = the system's.
	Resolver *net.Resolver
}

const (
	dialTimeout    = 10 * time.Second
	headerTimeout  = 30 * time.Second
	maxHeaderBytes = 64 << 10
	maxURLBytes    = 4096
	userAgent      = "larkstream-gateway"
	maxNameBytes   = 200
	tlsTimeout     = 10 * time.Second
)

// Fetcher downloads files. It is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *http.Client
}

// New validates the configuration.
func New(cfg Config, deps Deps) (*Fetcher, error) {
	if cfg.MaxBytes <= 0 || cfg.Timeout <= 0 || cfg.MaxRedirects < 0 {
		return nil, errors.New("making fetcher: size, time and redirect limits must be positive")
	}
	allow, err := parseAllow(cfg.Allow)
	if err != nil {
		return nil, fmt.Errorf("reading fetch allowlist: %w", err)
	}
	f := &Fetcher{cfg: cfg}
	f.client = &http.Client{
		Transport:     transport(allow, deps.Resolver),
		CheckRedirect: f.checkRedirect,
	}
	return f, nil
}

// Guard lets other requests than downloads go where users say, under the rules of downloads.
type Guard struct {
	allow     allowlist
	transport *http.Transport
}

// NewGuard reads an allowlist as Config has it.
func NewGuard(allow []string, deps Deps) (*Guard, error) {
	list, err := parseAllow(allow)
	if err != nil {
		return nil, fmt.Errorf("reading fetch allowlist: %w", err)
	}
	return &Guard{allow: list, transport: transport(list, deps.Resolver)}, nil
}

// Transport opens a fresh, checked connection for each request.
func (g *Guard) Transport() http.RoundTripper { return g.transport }

// Check is Check for URLs that secrets are sent to: what is not https must be a host or an address of the allowlist.
func (g *Guard) Check(raw string) (*url.URL, error) {
	u, err := Check(raw)
	if err != nil || u.Scheme == "https" {
		return u, err
	}
	if g.allow.hosts[strings.ToLower(u.Hostname())] {
		return u, nil
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && within(a.Unmap(), g.allow.nets) {
		return u, nil
	}
	return nil, fmt.Errorf("%w: scheme must be https, unless fetch.allow of the gateway has the host", ErrInvalidURL)
}

// Fault is an error of a request in words that tell nothing of the gateway's network: ErrBlocked, ErrInvalidURL, ErrTimeout, ErrUnreachable, or an error of ctx.
func Fault(ctx context.Context, err error) error { return classify(ctx, err) }

// transport opens a fresh, checked connection for each request. There is no proxy: behind one, the
// address that is dialled would not be the address that answers.
func transport(allow allowlist, resolver *net.Resolver) *http.Transport {
	guarded := &net.Dialer{Timeout: dialTimeout, Resolver: resolver, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrBlocked
		}
		return allow.permits(ap.Addr())
	}}
	open := &net.Dialer{Timeout: dialTimeout, Resolver: resolver}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && allow.hosts[strings.ToLower(host)] {
				return open.DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		},
		DisableKeepAlives:      true,
		DisableCompression:     true, // what is stored is what was sent; no decompression bombs
		ResponseHeaderTimeout:  headerTimeout,
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

func (f *Fetcher) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > f.cfg.MaxRedirects {
		return fmt.Errorf("%w: more than %d redirects", ErrUnreachable, f.cfg.MaxRedirects)
	}
	req.Header.Del("Referer")
	return checkURL(req.URL)
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not parse", ErrInvalidURL)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "audio/*, application/octet-stream;q=0.9, */*;q=0.5")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, classify(ctx, err)
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

// classify keeps the kind of an error and drops its text: what the gateway's network looks like
// from inside is not the caller's to learn.
func classify(ctx context.Context, err error) error {
	for _, kind := range []error{ErrBlocked, ErrInvalidURL, ErrUnreachable} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	if errors.Is(context.Cause(ctx), ErrTimeout) {
		return ErrTimeout
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the server could not be reached", ErrUnreachable)
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
