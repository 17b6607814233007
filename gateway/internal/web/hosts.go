package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/larkstream/larkstream/gateway/client"
)

// codeHostNotAllowed is the code of the problem that a request for an unknown host gets.
const codeHostNotAllowed = "host_not_allowed"

var hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// Hosts are the names under which the gateway answers beside loopback and the address of the connection. A web page can make its own
// name resolve to 127.0.0.1 and then read the gateway's answers (DNS rebinding); its requests carry that name as their host.
type Hosts struct{ names map[string]bool }

// NewHosts takes host names and IP addresses without ports. It refuses everything else.
func NewHosts(names []string) (Hosts, error) {
	h := Hosts{names: make(map[string]bool, len(names))}
	for _, name := range names {
		key := hostKey(name)
		if _, err := netip.ParseAddr(key); err != nil && !hostPattern.MatchString(key) {
			return Hosts{}, fmt.Errorf("%.100q is not a host name or an IP address; write it without scheme, port and wildcard, such as music.example", name)
		}
		h.names[key] = true
	}
	return h, nil
}

// Only answers requests for other hosts with 421 Misdirected Request.
func (h Hosts) Only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allows(r) {
			refuseHost(w, r.Host)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allows does not look at the port: behind a published port of a container, the caller's port is not ours.
func (h Hosts) allows(r *http.Request) bool {
	key := hostKey(hostOnly(r.Host))
	if key == "localhost" || h.names[key] {
		return true
	}
	addr, err := netip.ParseAddr(key)
	return err == nil && (addr.Unmap().IsLoopback() || addr.Unmap() == localAddr(r))
}

// localAddr is our end of the request's connection.
func localAddr(r *http.Request) netip.Addr {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	bound, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return netip.Addr{}
	}
	return bound.Addr().Unmap()
}

// hostOnly takes the port off a Host header.
func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// hostKey is the form in which hosts are compared.
func hostKey(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	return host
}

func refuseHost(w http.ResponseWriter, host string) {
	WriteProblem(w, client.Problem{
		Status: http.StatusMisdirectedRequest, Code: codeHostNotAllowed,
		Detail: fmt.Sprintf("the gateway does not answer for host %.100q, because the host is neither loopback nor the address of this connection; "+
			"if the name is yours, add it to the setting hosts (--hosts or LARK_GATEWAY_HOSTS) and start the gateway again", hostOnly(host)),
	})
}
