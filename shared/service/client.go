package service

import "net/netip"

// Client names who is at the other end of a connection, for bounds on what one client may hold: the IPv4 address, or the /64 network of an
// IPv6 address, since one machine has all addresses of such a network. Behind a proxy it is the proxy. remoteAddr is address:port;
// other text is its own name.
func Client(remoteAddr string) string {
	at, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return remoteAddr
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return remoteAddr
	}
	return network.String()
}
