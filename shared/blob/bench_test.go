package blob_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

// One window of PCM: 25 s of 44.1 kHz mono s16.
const windowBytes = 25 * 44_100 * 2

func BenchmarkFile(b *testing.B) {
	store, err := blob.Open(b.Context(), "file://"+b.TempDir())
	require.NoError(b, err)
	data := make([]byte, windowBytes)
	for name, key := range map[string]string{"put": "pcm/v1/window", "put durably": "audio/track"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(windowBytes)
			for b.Loop() {
				require.NoError(b, store.PutBytes(b.Context(), key, data))
			}
		})
	}
	b.Run("get", func(b *testing.B) {
		b.SetBytes(windowBytes)
		require.NoError(b, store.PutBytes(b.Context(), "pcm/v1/window", data))
		for b.Loop() {
			_, err := store.GetBytes(b.Context(), "pcm/v1/window", windowBytes)
			require.NoError(b, err)
		}
	})
}
