package blob_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/larkstream/larkstream/shared/blob"
)

// A store is opened by URL; the code is the same for a folder and for S3.
func Example() {
	dir, err := os.MkdirTemp("", "lark-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	store, err := blob.Open(ctx, "file://"+dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Close() }()

	if err := store.PutBytes(ctx, "audio/abc", []byte("sound")); err != nil {
		fmt.Println(err)
		return
	}
	audio, err := store.GetBytes(ctx, "audio/abc", 1<<20)
	fmt.Println(string(audio), err)

	_, err = store.GetBytes(ctx, "audio/other", 1<<20)
	fmt.Println(errors.Is(err, blob.ErrNotFound))
	_, err = store.GetBytes(ctx, "audio/abc", 3)
	fmt.Println(errors.Is(err, blob.ErrTooLarge))
	// Output:
	// sound <nil>
	// true
	// true
}
