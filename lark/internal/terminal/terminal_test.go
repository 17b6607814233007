package terminal

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALineIsCutToTheWidth(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	columns := 10
	l := New(&out, func() int { return columns })
	l.Draw("ß 3456789")
	require.Equal(t, "\r\x1b[Kß 3456789", out.String(), "the last column stays free: there, some terminals wrap")
	out.Reset()
	l.Draw("0123456789")
	require.Equal(t, "\r\x1b[K012345...", out.String())
	columns = 3
	out.Reset()
	l.Draw("0123")
	require.Equal(t, "\r\x1b[K", out.String())
	out.Reset()
	l.Clear()
	l.Clear()
	require.Equal(t, "\r\x1b[K", out.String())
}

func TestWithoutATerminalNothingIsShown(t *testing.T) {
	t.Parallel()
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	for _, stream := range []any{file, &bytes.Buffer{}, nil} {
		l := Of(stream)
		require.Nil(t, l)
		l.Draw("x")
		l.Clear()
	}
	size, err := file.Stat()
	require.NoError(t, err)
	require.Zero(t, size.Size())
	require.NoError(t, file.Close())
}
