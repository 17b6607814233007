package blob

import (
	"context"
	"net"
	"time"
)

// s3Silence is the longest that a server may be silent while a call waits for it; the URL's parameter timeout sets another. It bounds every call,
// but not the time of a large object that keeps moving.
const s3Silence = time.Minute

// dialStalling dials connections that fail after a silence.
func dialStalling(silence time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: silence, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: conn, silence: silence}, nil
	}
}

// stallConn fails a read or a write that waits for longer than silence. What is written puts off the end of a read that waits, because
// http.Transport waits for the answer while it still sends the request. Time in which nobody reads or writes does not count.
type stallConn struct {
	net.Conn
	silence time.Duration
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// writeChunk is how much one deadline covers, so that a slow line is not taken for a silent server.
const writeChunk = 64 << 10

func (c *stallConn) Write(p []byte) (n int, err error) {
	for {
		if err := c.SetDeadline(time.Now().Add(c.silence)); err != nil {
			return n, err
		}
		wrote, err := c.Conn.Write(p[n:min(len(p), n+writeChunk)])
		if n += wrote; err != nil || n == len(p) {
			return n, err
		}
	}
}
