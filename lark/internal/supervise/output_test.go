package supervise

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesAreWholeAndBounded(t *testing.T) {
	t.Parallel()
	var got [][]byte
	w := &lineWriter{to: writerFunc(func(p []byte) (int, error) {
		got = append(got, bytes.Clone(p))
		return len(p), nil
	})}
	for _, part := range []string{"a", "b\nc", "d\n\n", strings.Repeat("x", maxLine+10) + "\n"} {
		_, err := w.Write([]byte(part))
		require.NoError(t, err)
	}
	require.Equal(t, "ab\n", string(got[0]))
	require.Equal(t, "cd\n", string(got[1]))
	require.Equal(t, "\n", string(got[2]))
	require.Len(t, got, 5)
	require.Len(t, got[3], maxLine)
	require.Equal(t, strings.Repeat("x", 10)+"\n", string(got[4]))
}

func TestPrefixed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := Prefixed(&out, "encoder | ", &sync.Mutex{})
	_, err := w.Write([]byte("ready\n"))
	require.NoError(t, err)
	require.Equal(t, "encoder | ready\n", out.String())
}

func TestTailKeepsTheLastLines(t *testing.T) {
	t.Parallel()
	tl := newTail(2)
	require.Empty(t, tl.text())
	for _, l := range []string{"one\n", "two\n", "three\n"} {
		_, err := tl.Write([]byte(l))
		require.NoError(t, err)
	}
	require.Equal(t, "; its last lines:\n  two\n  three", tl.text())
}

func TestLogFileStaysWithinItsLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "x.log")
	l, err := OpenLog(path, 100)
	require.NoError(t, err)
	for range 50 {
		_, err := l.Write([]byte("0123456789"))
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	for _, p := range []string{path, path + ".1"} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, int64(100), info.Size())
	}

	again, err := OpenLog(path, 100)
	require.NoError(t, err)
	_, err = again.Write([]byte("new"))
	require.NoError(t, err)
	require.NoError(t, again.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(text), "the size of an old log counts")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
