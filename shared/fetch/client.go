package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/larkstream/larkstream/shared/stall"
)

// ClientConfig says what a Client may reach.
type ClientConfig struct {
	// Allow lists hosts, addresses and networks that may be reached although they are not public.
	Allow []string
	// MaxRedirects that are followed; each target is checked as the first URL was.
	MaxRedirects int
	// Redirect refuses further targets of redirects, if it is not nil.
	Redirect func(*url.URL) error
	// Silence is the longest that a server may send nothing while something is waited for; 0 = any time.
	Silence time.Duration
}

// Deps are replaced by tests only.
type Deps struct {
	// Resolver of host names; nil = the system's.
	Resolver *net.Resolver
	// Roots are the authorities that certificates may be from; nil = the system's.
	Roots *x509.CertPool
}

const (
	dialTimeout    = 10 * time.Second
	tlsTimeout     = 10 * time.Second
	headerTimeout  = 30 * time.Second
	maxHeaderBytes = 64 << 10
	userAgent      = "larkstream"
)

// Client sends GET requests to addresses of the public internet and to those that are allowed. It is safe for concurrent use.
type Client struct {
	cfg  ClientConfig
	http *http.Client
}

// NewClient validates the configuration.
func NewClient(cfg ClientConfig, deps Deps) (*Client, error) {
	if cfg.MaxRedirects < 0 {
		return nil, errors.New("making fetcher: the limit of redirects is negative")
	}
	allow, err := parseAllow(cfg.Allow)
	if err != nil {
		return nil, fmt.Errorf("reading fetch allowlist: %w", err)
	}
	c := &Client{cfg: cfg}
	c.http = &http.Client{Transport: transport(allow, deps, cfg.Silence), CheckRedirect: c.checkRedirect}
	return c, nil
}

// transport opens a fresh, checked connection for each request. There is no proxy: behind one, the
// address that is dialled would not be the address that answers.
func transport(allow allowlist, deps Deps, silence time.Duration) *http.Transport {
	guarded := &net.Dialer{Timeout: dialTimeout, Resolver: deps.Resolver, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrBlocked
		}
		return allow.permits(ap.Addr())
	}}
	open := &net.Dialer{Timeout: dialTimeout, Resolver: deps.Resolver}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialer := guarded
			if host, _, err := net.SplitHostPort(address); err == nil && allow.hosts[strings.ToLower(host)] {
				dialer = open
			}
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil || silence <= 0 {
				return conn, err
			}
			return stall.Wrap(conn, silence), nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: deps.Roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true, // what is read is what was sent; no decompression bombs
		ResponseHeaderTimeout:  headerTimeout,
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > c.cfg.MaxRedirects {
		return ErrRedirects
	}
	req.Header.Del("Referer")
	if c.cfg.Redirect != nil {
		if err := c.cfg.Redirect(req.URL); err != nil {
			return fmt.Errorf("%w: %w", ErrBlocked, err)
		}
	}
	return checkURL(req.URL)
}

// Get sends a GET request with further headers and returns the answer, whatever its status; the caller closes its body. Errors are ErrBlocked, ErrInvalidURL,
// ErrUnreachable and those of ctx, ErrTimeout if that is its cause.
func (c *Client) Get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not parse", ErrInvalidURL)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "audio/*, application/octet-stream;q=0.9, */*;q=0.5")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return resp, nil
}

// classify keeps the kind of an error and drops its text: what the gateway's network looks like
// from inside is not the caller's to learn.
func classify(ctx context.Context, err error) error {
	for _, kind := range []error{ErrBlocked, ErrInvalidURL, ErrRedirects, ErrUnreachable} {
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
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fmt.Errorf("%w: the server's certificate is not trusted", ErrUnreachable)
	}
	return fmt.Errorf("%w: the server could not be reached", ErrUnreachable)
}
