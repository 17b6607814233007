package fetch

import "net/netip"

// Public tells whether an address lies on the public internet.
func Public(a netip.Addr) bool { return public(a) }
