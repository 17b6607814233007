package blob_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

// Objects of more than 8 MiB go to S3 in parts.
func TestObjectOfSeveralParts(t *testing.T) {
	each(t, func(t *testing.T, store *blob.Store) {
		data := bytes.Repeat([]byte("larkstream"), 2_000_000)
		n, err := store.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		require.EqualValues(t, len(data), n)

		broken := errors.New("connection reset")
		_, err = store.Put(t.Context(), key, io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), 1<<30)
		require.ErrorIs(t, err, broken)
		_, err = store.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)-1))
		require.ErrorIs(t, err, blob.ErrTooLarge)

		got, err := store.GetBytes(t.Context(), key, int64(len(data)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "the old object stands")
	})
}

// Were a missing bucket taken for missing objects, a wrong URL would look like eviction, and all work would be done anew.
func TestMissingBucketIsNotAMissingObject(t *testing.T) {
	t.Parallel()
	store, err := blob.Open(t.Context(), "s3://nobody?"+serveS3(t, s3mem.New()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.GetBytes(t.Context(), key, 1)
	require.ErrorContains(t, err, "correct the store's URL")
	require.NotErrorIs(t, err, blob.ErrNotFound)
	require.Error(t, store.PutBytes(t.Context(), key, []byte("x")))
}

func TestMissingCredentialsAreNamed(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	store, err := blob.Open(t.Context(), "s3://lark?"+serveS3(t, s3mem.New()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.ErrorContains(t, store.PutBytes(t.Context(), key, []byte("x")), "no S3 credentials: set AWS_ACCESS_KEY_ID")
}

func TestOpenRefusesBadS3URLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"s3://":                                "names a bucket",
		"s3://lark/music":                      "names a bucket",
		"s3://lark?accelerate=true":            "not one of endpoint, region",
		"s3://lark?use_path_style=maybe":       "true or false",
		"s3://lark?endpoint=ftp://host":        "not an http:// or https:// URL",
		"s3://lark?endpoint=http://host/below": "opening object store s3://lark",
	} {
		_, err := blob.Open(t.Context(), raw)
		require.ErrorContains(t, err, want, raw)
	}
}
