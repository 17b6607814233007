package kafka

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWarningsOfTheLibraryAreLoggedAndNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &libraryLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		require.Equal(t, kgo.LogLevelWarn, l.Level())
		for range 3 {
			l.Log(kgo.LogLevelWarn, "received OFFSET_OUT_OF_RANGE", "topic", "lark.windows.v1")
		}
		l.Log(kgo.LogLevelError, "default commit failed", "err", "x")
		l.Log(kgo.LogLevelInfo, "joining group")
		l.Log(kgo.LogLevelWarn, "unable to open connection to broker")
		require.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
		require.Contains(t, out.String(), "level=WARN msg=\"kafka client: received OFFSET_OUT_OF_RANGE\" topic=lark.windows.v1")
		<-time.After(clientLogEvery)
		l.Log(kgo.LogLevelWarn, "received OFFSET_OUT_OF_RANGE")
		require.Equal(t, 3, strings.Count(out.String(), "\n"))
		for i := range 2 * clientLogTexts {
			l.Log(kgo.LogLevelWarn, strconv.Itoa(i))
		}
		require.LessOrEqual(t, len(l.last), clientLogTexts)
		l.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		require.Equal(t, kgo.LogLevelInfo, l.Level())
	})
}
