package up

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Two stages that remember one address, of a run in which one took what was meant for the other, get two.
func TestTwoStagesHaveTwoAddresses(t *testing.T) {
	t.Parallel()
	addr, err := freeAddr("127.0.0.1:0")
	require.NoError(t, err)
	p := newPorts(Folder(t.TempDir()))
	p.places[Gateway], p.places[Encoder] = Place{AdminAddr: addr}, Place{HTTPAddr: addr}
	require.NoError(t, p.fix(Gateway, "127.0.0.1:0", ""))
	require.NoError(t, p.choose(Encoder))
	require.NotEqual(t, p.places[Gateway].AdminAddr, p.places[Encoder].HTTPAddr)
	require.Equal(t, addr, p.places[Encoder].HTTPAddr, "the other one keeps it")
}
