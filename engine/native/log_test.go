//go:build (linux || darwin) && (amd64 || arm64)

package native

import (
	"bytes"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/ebitengine/purego"
	"github.com/stretchr/testify/require"
)

func say(s *sink, level int32, text string) { s.receive(level, &append([]byte(text), 0)[0], 0) }

func TestOnlyWarningsAndErrorsAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &sink{log: slog.New(slog.NewTextHandler(&out, nil))}
	say(s, 1, "debug")
	say(s, 2, "info")
	say(s, levelContinue, "of info")
	say(s, levelWarn, "...")
	require.Empty(t, out.String())
	say(s, levelWarn, "odd\n")
	say(s, levelContinue, "indeed")
	say(s, levelError, "broken")
	require.Regexp(t, `(?s)level=WARN .*text=odd\n.*level=WARN .*text=indeed\n.*level=ERROR .*text=broken\n`, out.String())

	out.Reset()
	got := s.capture(func() bool { say(s, levelError, "cause"); say(s, 2, "info"); say(s, levelWarn, "more"); return false })
	require.Equal(t, "cause; more", got)
	require.Empty(t, out.String(), "what is returned is not logged")
	require.Empty(t, s.capture(func() bool { say(s, levelWarn, "but fine"); return true }))
	require.Contains(t, out.String(), "but fine")
}

// The libraries log from threads that Go has not made.
func TestLogFromAForeignThread(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the C library's name is Linux's")
	}
	var out bytes.Buffer
	s := &sink{log: slog.New(slog.NewTextHandler(&out, nil))}
	libc, err := purego.Dlopen("libc.so.6", purego.RTLD_NOW)
	require.NoError(t, err)
	var create func(thread *uintptr, attributes, start, argument uintptr) int32
	var join func(thread, result uintptr) int32
	purego.RegisterLibFunc(&create, libc, "pthread_create")
	purego.RegisterLibFunc(&join, libc, "pthread_join")
	start := purego.NewCallback(func(uintptr) uintptr { say(s, levelError, "from elsewhere"); return 0 })
	for range 20 {
		var thread uintptr
		require.Zero(t, create(&thread, 0, start, 0))
		require.Zero(t, join(thread, 0))
	}
	require.Equal(t, 20, strings.Count(out.String(), "from elsewhere"))
}
