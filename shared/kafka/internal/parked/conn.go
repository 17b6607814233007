package parked

import (
	"encoding/binary"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is a member of a group and what it asks for: a member that joins or syncs waits for the answer.
type member struct {
	conn      *conn
	group, id string
	asks      kmsg.Key // JoinGroup: waits for others to join; SyncGroup: waits for its group's leader; LeaveGroup
	answered  chan struct{}
	missed    int // how many times in a row the group did not know it; the Keeper's
}

// conn is a connection of a client. Reading from a broken one returns only when nobody waits for an answer on it any more. One goroutine reads.
type conn struct {
	net.Conn
	keeper *Keeper
	frames frames

	mu     sync.Mutex
	wait   map[int32]*member // by the number of the request
	broken bool
	free   chan struct{} // closed when the connection is broken and nobody waits on it, or when it is closed
	freed  bool
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.frames.follow(p[:n], c.begin)
	if err != nil {
		c.breaks()
		<-c.free
	}
	return n, err
}

// Write writes an answer; kfake writes each with one call.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) >= 8 { // after the length, the number of the request
		c.answered(int32(binary.BigEndian.Uint32(p[4:])))
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.keeper.remove(c)
	c.mu.Lock()
	for number := range c.wait {
		c.forget(number)
	}
	c.broken = true
	c.release()
	c.mu.Unlock()
	return c.Conn.Close()
}

// begin notes who waits from now on, if the request is one that waits. kfake has not seen the end of the request yet, and does not until begin returns: a
// member that waits for its leader must be answered before it joins again or leaves. The leader's answer, or its session timeout, ends that wait.
func (c *conn) begin(frame []byte) {
	number, m, ok := parse(frame)
	if !ok {
		return
	}
	if m.asks != kmsg.SyncGroup {
		if before := c.keeper.syncing(m); before != nil {
			select {
			case <-before.answered:
			case <-c.free:
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.freed && m.asks != kmsg.LeaveGroup {
		m.conn = c
		c.wait[number] = m
	}
}

func (c *conn) answered(number int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(number)
	c.release()
}

// forget ends the wait of a member; mu is held.
func (c *conn) forget(number int32) {
	if m := c.wait[number]; m != nil {
		close(m.answered)
		delete(c.wait, number)
	}
}

func (c *conn) breaks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.release()
}

// release lets the reader see that the connection is broken; mu is held.
func (c *conn) release() {
	if c.broken && len(c.wait) == 0 && !c.freed {
		c.freed = true
		close(c.free)
	}
}

func (c *conn) isBroken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// members are those who wait and have an id. A member without one is new to its group, which waits for it without end.
func (c *conn) members() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(c.wait)), func(m *member) bool { return m.id == "" })
}
