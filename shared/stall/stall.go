// Package stall makes connections fail whose other end falls silent, without a bound on how long an exchange that moves may take.
package stall

import (
	"net"
	"time"
)

// Wrap returns conn so that a read or a write fails that waits for longer than silence. What is written puts off the end of a read that waits, because
// http.Transport waits for the answer while it still sends the request. Time in which nobody reads or writes does not count.
func Wrap(conn net.Conn, silence time.Duration) net.Conn {
	return &stallConn{Conn: conn, silence: silence}
}

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
