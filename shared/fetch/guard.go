package fetch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrBlocked says that a URL leads to an address that is not on the public internet.
var ErrBlocked = errors.New("address is not public")

// blocked4 and blocked6 are the special-purpose ranges that are not the public internet.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var (
	blocked4 = prefixes(
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // carrier-grade NAT
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local, cloud metadata
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarking
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, broadcast
	)
	// global6 is the only IPv6 space handed out for the public internet: loopback, mapped,
	// NAT64, unique local, link-local and multicast addresses all lie outside.
	global6  = netip.MustParsePrefix("2000::/3")
	blocked6 = prefixes(
		"2001::/23",     // protocol assignments, Teredo
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4: carries an IPv4 address
		"3fff::/20",     // documentation
	)
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// public tells whether an address lies on the public internet.
func public(addr netip.Addr) bool {
	if addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap() // ::ffff:10.0.0.1 is 10.0.0.1
	if addr.Is4() {
		return !within(addr, blocked4)
	}
	return global6.Contains(addr) && !within(addr, blocked6)
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// allowlist names what may be reached although it is not public: hosts by name, and networks.
type allowlist struct {
	hosts map[string]bool
	nets  []netip.Prefix
}

// parseAllow reads entries such as "music.example.internal", "10.20.0.0/16" or "127.0.0.1".
func parseAllow(entries []string) (allowlist, error) {
	list := allowlist{hosts: make(map[string]bool)}
	var faults []error
	for _, e := range entries {
		e = strings.ToLower(strings.TrimSpace(e))
		if p, err := netip.ParsePrefix(e); err == nil {
			list.nets = append(list.nets, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(e); err == nil {
			list.nets = append(list.nets, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		if e == "" || strings.ContainsAny(e, "/:*@ ") {
			faults = append(faults, fmt.Errorf("%.80q is neither a host, an address nor a network", e))
			continue
		}
		list.hosts[e] = true
	}
	return list, errors.Join(faults...)
}

// permits decides on the address of a connection, after name resolution.
func (l allowlist) permits(addr netip.Addr) error {
	if public(addr) || within(addr.Unmap(), l.nets) || within(addr, l.nets) {
		return nil
	}
	return ErrBlocked
}
