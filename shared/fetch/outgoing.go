package fetch

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

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
	return &Guard{allow: list, transport: transport(list, deps, 0)}, nil
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
