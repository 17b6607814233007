package blob

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
