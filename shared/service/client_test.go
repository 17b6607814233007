package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/service"
)

func TestClient(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.7:50000": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:9": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "@": "@", "": "",
	} {
		require.Equal(t, want, service.Client(remote), remote)
	}
}
