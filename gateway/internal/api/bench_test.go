package api_test

import (
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/stream"
)

// BenchmarkUpload submits 25 s of music as 44.1 kHz stereo, over a connection.
func BenchmarkUpload(b *testing.B) {
	const size = 25 * 44_100 * 4
	r := setup(b, func(l *api.Limits, _ *stream.Config) { l.MaxAudioBytes, l.MaxOpenJobs = 2*size, 1<<30 })
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	b.SetBytes(size)
	for b.Loop() {
		got := r.form(part{"audio", "song.wav", string(content)}, part{"questions", "", "Key?"})
		require.Equal(b, http.StatusAccepted, got.status, "%s", got.body)
	}
}
