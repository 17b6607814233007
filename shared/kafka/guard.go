package kafka

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
)

// maxRequest is the longest request that the embedded broker takes, in bytes: what Kafka's socket.request.max.bytes allows.
const maxRequest = 100 << 20

// guardedListener closes connections whose requests are longer than maxRequest. The broker takes memory for the length that a request
// claims: the first bytes of an HTTP request claim 1.2 GB.
type guardedListener struct {
	net.Listener
	log *slog.Logger
}

func (l guardedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: conn, log: l.log}, nil
}

// guardedConn follows the frames of the Kafka protocol: four bytes of length, then the request. One goroutine reads.
type guardedConn struct {
	net.Conn
	log    *slog.Logger
	length [4]byte
	unread int // bytes of length that the broker has not read
	body   int // bytes of the request that are to come
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.unread == 0 && c.body == 0 {
		if _, err := io.ReadFull(c.Conn, c.length[:]); err != nil {
			return 0, err
		}
		size := binary.BigEndian.Uint32(c.length[:])
		if size > maxRequest {
			c.log.Warn("a connection is closed: its bytes are not a request of the Kafka protocol, or the request is too long",
				"remote", c.RemoteAddr().String(), "bytes", size, "limit", maxRequest)
			return 0, fmt.Errorf("a request of %d bytes; %d are allowed", size, maxRequest)
		}
		c.unread, c.body = len(c.length), int(size)
	}
	if c.unread > 0 {
		n := copy(p, c.length[len(c.length)-c.unread:])
		c.unread -= n
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.body)])
	c.body -= n
	return n, err
}
