package stall_test

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/stall"
)

func TestConnectionsFailAfterSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		c := stall.Wrap(near, time.Minute)
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
