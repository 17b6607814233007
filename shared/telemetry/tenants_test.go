package telemetry

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTenantsInMetricsAreBounded(t *testing.T) {
	t.Parallel()
	names := newTenantNames()
	for i := range maxTenantNames {
		name := fmt.Sprint("tenant-", i)
		require.Equal(t, AttrTenant.String(name), names.attr(name))
	}
	require.Equal(t, AttrTenant.String("_other"), names.attr("one-more"))
	require.Equal(t, AttrTenant.String("tenant-7"), names.attr("tenant-7"), "who is known stays known")
}
