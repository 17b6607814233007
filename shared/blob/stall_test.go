package blob

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnectionsFailAfterSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		c := &stallConn{Conn: near, silence: time.Minute}
		buf := make([]byte, 4)

		// A reader that takes its time is not at fault.
		for range 2 {
			time.Sleep(time.Hour) //nolint:forbidigo // the bubble's clock
			go func() { _, _ = far.Write([]byte("data")) }()
			_, err := c.Read(buf)
			require.NoError(t, err)
		}
		// The answer may come late as long as the request moves.
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(buf)
			read <- err
		}()
		for range 3 {
			time.Sleep(50 * time.Second) //nolint:forbidigo // the bubble's clock
			go func() { _, _ = far.Read(make([]byte, 8)) }()
			_, err := c.Write([]byte("request"))
			require.NoError(t, err)
		}
		select {
		case err := <-read:
			require.Fail(t, "the read ended while the request was sent", err)
		default:
		}
		// A silent server is.
		begun := time.Now()
		require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		_, err := c.Write([]byte("nobody takes this"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// TestS3CallsEnd: a server that answers never, or stops in the middle of an object, makes every call fail as a store that is down.
func TestS3CallsEnd(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/lark/audio/half" {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			_, _ = w.Write(make([]byte, 500))
			_ = http.NewResponseController(w).Flush()
		}
		<-hang
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	store, err := Open(t.Context(), "s3://lark?region=eu-central-1&use_path_style=true&timeout=20ms&endpoint="+server.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, errHalf := store.GetBytes(t.Context(), "audio/half", 1000)
	_, errTouch := store.Touch(t.Context(), "audio/none")
	for name, err := range map[string]error{
		"a body": errHalf, "put": store.PutBytes(t.Context(), "audio/none", []byte("x")), "delete": store.Delete(t.Context(), "audio/none"), "touch": errTouch,
	} {
		var down interface{ Unavailable() bool }
		require.ErrorAs(t, err, &down, name)
		require.True(t, down.Unavailable(), name)
	}
	_, err = Open(t.Context(), "s3://lark?timeout=soon")
	require.ErrorContains(t, err, "timeout")
}
