package blob_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

func TestInterceptTellsOfEachOperation(t *testing.T) {
	t.Parallel()
	store, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	fault := errors.New("no")
	var told []string
	view := store.Intercept(func(_ context.Context, op blob.Op, key string, do func() error) error {
		told = append(told, string(op)+" "+key)
		if key == "audio/refused" {
			return fault
		}
		return do()
	})
	require.NoError(t, view.PutBytes(t.Context(), "audio/a", []byte("x")))
	require.ErrorIs(t, view.PutBytes(t.Context(), "audio/refused", []byte("x")), fault)
	got, err := view.GetBytes(t.Context(), "audio/a", 10)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	_, err = view.Touch(t.Context(), "audio/a")
	require.NoError(t, err)
	require.NoError(t, view.Delete(t.Context(), "audio/a"))
	require.Equal(t, []string{"put audio/a", "put audio/refused", "get audio/a", "touch audio/a", "stat audio/a", "delete audio/a"}, told)
	there, err := store.Exists(t.Context(), "audio/refused")
	require.NoError(t, err)
	require.False(t, there, "what the hook leaves out is not done")
}
