package parked

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// every is how often waiting members are looked after. The shortest session timeout that kfake takes is six seconds.
	every = time.Second
	// answerTimeout is how long kfake may take to answer a heartbeat.
	answerTimeout = 10 * time.Second
	// A request that has been read may not have reached the group yet: a member counts as put out when it is missing so many times in a row.
	maxMissed = 3
)

// Keeper looks after the waiting members of all groups of one cluster. Its zero value is not usable: see New.
type Keeper struct {
	cluster *kfake.Cluster
	// near and far are the two ends of the Keeper's own connection to the cluster.
	near, far net.Conn
	requests  int32
	stop      chan struct{}
	done      chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New makes a Keeper. The cluster must listen on what Listen returns, and Start must follow.
func New() *Keeper {
	k := &Keeper{stop: make(chan struct{}), done: make(chan struct{}), conns: make(map[*conn]struct{})}
	k.near, k.far = net.Pipe()
	return k
}

// Listen returns a listener with the connections of inner, and one of the Keeper's own.
func (k *Keeper) Listen(inner net.Listener) net.Listener {
	return &listener{Listener: inner, keeper: k}
}

// Start begins to look after the members of the cluster until Close.
func (k *Keeper) Start(cluster *kfake.Cluster) {
	k.cluster = cluster
	go k.run()
}

// Close ends what Start has begun. It must be called once, before the cluster is closed.
func (k *Keeper) Close() {
	close(k.stop)
	_ = k.near.Close() // ends an exchange that waits
	<-k.done
}

func (k *Keeper) run() {
	defer close(k.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-k.stop:
			return
		case <-ticker.C:
		}
		for _, m := range k.waiting() {
			if k.keep(m) != nil {
				return // the cluster is closed
			}
		}
	}
}

// waiting are the members that wait, on open and on broken connections.
func (k *Keeper) waiting() []*member {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*member
	for c := range k.conns {
		out = append(out, c.members()...)
	}
	return out
}

// syncing is the member's request that waits for the leader of its group, nil if there is none.
func (k *Keeper) syncing(m *member) *member {
	for _, other := range k.waiting() {
		if other.asks == kmsg.SyncGroup && other.group == m.group && other.id == m.id {
			return other
		}
	}
	return nil
}

// keep has the group wait for a member on an open connection, or for one that waits for its leader, and ends the wait of a member that the group has put out.
func (k *Keeper) keep(m *member) error {
	info := k.cluster.GroupInfo(m.group)
	if info == nil || !slices.ContainsFunc(info.Members, func(g kfake.GroupMember) bool { return g.MemberID == m.id }) {
		if m.missed++; m.missed >= maxMissed {
			_ = m.conn.Close() // which is what shall happen
		}
		return nil
	}
	m.missed = 0
	if m.conn.isBroken() && m.asks != kmsg.SyncGroup {
		return nil
	}
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, m.group, m.id, info.Epoch
	return k.exchange(req)
}

// exchange sends a request to the cluster and waits for the answer, whose content does not matter: a heartbeat that came too late is refused.
func (k *Keeper) exchange(req kmsg.Request) error {
	k.requests++
	_ = k.near.SetDeadline(time.Now().Add(answerTimeout)) // a pipe has deadlines
	if _, err := k.near.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, k.requests)); err != nil {
		return fmt.Errorf("sending a heartbeat for a waiting member: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(k.near, size[:]); err != nil {
		return fmt.Errorf("waiting for the answer to a heartbeat: %w", err)
	}
	if _, err := io.CopyN(io.Discard, k.near, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
		return fmt.Errorf("reading the answer to a heartbeat: %w", err)
	}
	return nil
}

func (k *Keeper) add(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns[c] = struct{}{}
}

func (k *Keeper) remove(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// listener accepts the Keeper's own connection first.
type listener struct {
	net.Listener
	keeper *Keeper
	own    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	var own net.Conn
	l.own.Do(func() { own = l.keeper.far })
	if own != nil {
		return own, nil
	}
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, keeper: l.keeper, wait: make(map[int32]*member), free: make(chan struct{})}
	l.keeper.add(c)
	return c, nil
}
