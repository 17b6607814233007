package parked_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/larkstream/larkstream/shared/kafka/internal/parked"
)

const (
	groupName        = "group"
	sessionTimeout   = 10 * time.Second
	rebalanceTimeout = time.Minute
)

// world is a cluster on a network in memory, to be used in a bubble of synctest.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster
	network kfake.VirtualNetwork
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	keeper := parked.New()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := w.network.Listen(network, addr)
		return keeper.Listen(l), err
	}))
	require.NoError(t, err)
	w.cluster = cluster
	keeper.Start(cluster)
	t.Cleanup(func() {
		keeper.Close()
		cluster.Close()
	})
	return w
}

// names are the ids of the group's members.
func (w *world) names() []string {
	var out []string
	for _, m := range w.cluster.GroupInfo(groupName).Members {
		out = append(out, m.MemberID)
	}
	return out
}

// client is a member of the group that speaks the protocol by hand.
type client struct {
	w          *world
	conn       net.Conn
	id         string
	metadata   []byte
	generation int32
	number     int32
}

func (w *world) client() *client {
	conn, err := w.network.DialContext(w.t.Context(), "tcp", w.cluster.ListenAddrs()[0])
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return &client{w: w, conn: conn}
}

func (c *client) send(req kmsg.Request) {
	c.number++
	_, err := c.conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, c.number))
	require.NoError(c.w.t, err)
}

// receive waits for the answer to what was sent last.
func (c *client) receive(resp kmsg.Response) error {
	var head [8]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return err
	}
	require.Equal(c.w.t, c.number, int32(binary.BigEndian.Uint32(head[4:])))
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return err
	}
	return resp.ReadFrom(body)
}

// join sends a request to join, and not more.
func (c *client) join() {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 5, groupName, c.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(sessionTimeout.Milliseconds()), int32(rebalanceTimeout.Milliseconds())
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "any", c.metadata
	req.Protocols = append(req.Protocols, protocol)
	c.send(req)
}

// joined waits for the group's answer and returns how many members the group has, if this one leads it.
func (c *client) joined() int {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Version = 5
	require.NoError(c.w.t, c.receive(resp))
	c.id = resp.MemberID
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		require.ErrorIs(c.w.t, err, kerr.MemberIDRequired)
		return 0
	}
	c.generation = resp.Generation
	return len(resp.Members)
}

// knock gets an id and sends the request to join with it.
func (c *client) knock() {
	c.join()
	c.joined()
	c.join()
}

// askForSync sends a request to sync, and not more; a leader gives every member in it nothing.
func (c *client) askForSync() {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, groupName, c.id, c.generation
	c.send(req)
}

func (c *client) sync() {
	c.askForSync()
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.Version = 3
	require.NoError(c.w.t, c.receive(resp))
	require.NoError(c.w.t, kerr.ErrorForCode(resp.ErrorCode))
}

func (c *client) heartbeat() error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 3, groupName, c.id, c.generation
	c.send(req)
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.Version = 3
	require.NoError(c.w.t, c.receive(resp))
	return kerr.ErrorForCode(resp.ErrorCode)
}

// alive sends heartbeats each second for d, or until the group asks to join again.
func (c *client) alive(d time.Duration) (asked bool) {
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(time.Second) {
		if c.heartbeat() != nil {
			return true
		}
	}
	return false
}

// leader is the only member of the group.
func (w *world) leader() *client {
	c := w.client()
	c.knock()
	require.Equal(w.t, 1, c.joined())
	c.sync()
	return c
}

// A member that is killed while it waits for its first rebalance is put out once its session timeout is over.
func TestAMemberThatDiesWhileItJoinsIsPutOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		leader := w.leader()
		dead := w.client()
		dead.knock()
		synctest.Wait()
		require.NoError(t, dead.conn.Close())
		synctest.Wait()

		require.ErrorIs(t, leader.heartbeat(), kerr.RebalanceInProgress)
		leader.join()
		require.Equal(t, 2, leader.joined(), "the group does not know yet that the member is dead")
		leader.sync()
		require.Len(t, w.names(), 2)
		require.True(t, leader.alive(2*sessionTimeout), "the dead member holds its partitions for ever")
		require.Equal(t, []string{leader.id}, w.names())
	})
}

// A member that is killed while it waits for its leader is put out when the rebalance is over, and the next rebalance takes no longer than its members do.
func TestAMemberThatDiesWhileItSyncsIsNotMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, leader, dead := syncing(t)
		require.NoError(t, dead.conn.Close())

		asked := leader.alive(2 * sessionTimeout) // it takes that long to share the partitions out
		if !asked {
			leader.sync()
			require.True(t, leader.alive(2*sessionTimeout), "the dead member holds its partitions for ever")
		}
		begun := time.Now()
		leader.join()
		require.Equal(t, 1, leader.joined())
		require.Less(t, time.Since(begun), rebalanceTimeout, "the group waits for a member that it does not have")
	})
}

// A member whose connection is cut while it waits for its leader joins again on another one, and is counted: the rebalance takes no longer than its members do.
func TestAMemberThatJoinsAgainWhileItSyncsIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, leader, waits := syncing(t)
		require.NoError(t, waits.conn.Close())
		again := w.client()
		again.id = waits.id
		again.metadata = []byte("no partition in hand") // a client tells it in each request to join
		again.join()
		synctest.Wait()
		require.False(t, leader.alive(sessionTimeout/2))
		leader.sync() // which answers the request of the cut connection, too

		begun := time.Now()
		require.True(t, leader.alive(sessionTimeout))
		leader.join()
		require.Equal(t, 2, leader.joined())
		again.joined()
		require.Less(t, time.Since(begun), sessionTimeout, "the group waits for a member that it does not have")
		leader.sync()
		again.sync()
	})
}

// The leader dies while the member that joins again waits for it.
func TestAMemberThatJoinsAgainWhileItSyncsOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, leader, waits := syncing(t)
		require.NoError(t, leader.conn.Close())
		require.NoError(t, waits.conn.Close())
		again := w.client()
		again.id = waits.id
		again.metadata = []byte("no partition in hand")
		begun := time.Now()
		again.join()
		require.Equal(t, 1, again.joined())
		require.Less(t, time.Since(begun), 2*sessionTimeout, "the group waits for a member that it does not have")
		again.sync()
	})
}

// A member that leaves while it waits for its leader is not missed in the next rebalance.
func TestAMemberThatLeavesWhileItSyncsIsNotMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, leader, waits := syncing(t)
		leaves := w.client()
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Version, leave.Group, leave.MemberID = 2, groupName, waits.id
		leaves.send(leave)
		synctest.Wait()
		leader.sync()
		resp := kmsg.NewPtrLeaveGroupResponse()
		resp.Version = 2
		require.NoError(t, leaves.receive(resp))
		require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))

		begun := time.Now()
		require.True(t, leader.alive(sessionTimeout))
		leader.join()
		require.Equal(t, 1, leader.joined())
		require.Less(t, time.Since(begun), sessionTimeout, "the group waits for a member that it does not have")
	})
}

// syncing is a group whose leader has yet to share its partitions out, and a member that waits for it.
func syncing(t *testing.T) (w *world, leader, waits *client) {
	t.Helper()
	w = newWorld(t)
	leader = w.leader()
	waits = w.client()
	waits.knock()
	synctest.Wait()
	require.ErrorIs(t, leader.heartbeat(), kerr.RebalanceInProgress)
	leader.join()
	require.Equal(t, 2, leader.joined())
	waits.joined()
	waits.askForSync()
	synctest.Wait()
	return w, leader, waits
}

// A member may wait for another one longer than its session timeout.
func TestAMemberThatWaitsToJoinIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		leader := w.leader()
		waits := w.client()
		waits.knock()
		synctest.Wait()
		require.ErrorIs(t, leader.heartbeat(), kerr.RebalanceInProgress)
		leader.join() // ends the wait
		require.Equal(t, 2, leader.joined())
		waits.joined()
		leader.sync()
		waits.sync()

		leader.join() // begins another one
		synctest.Wait()
		for range 3 * int(sessionTimeout/time.Second) {
			require.ErrorIs(t, waits.heartbeat(), kerr.RebalanceInProgress) // it has work in hand
			<-time.After(time.Second)
		}
		waits.join()
		require.Equal(t, 2, leader.joined(), "the leader was put out, and nobody told it")
	})
}

// A member that was put out while it waits learns so.
func TestAMemberThatIsPutOutWhileItWaitsIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.leader()
		waits := w.client()
		waits.knock()
		synctest.Wait()
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Version, leave.Group, leave.MemberID = 2, groupName, waits.id
		w.client().send(leave)

		require.NoError(t, waits.conn.SetReadDeadline(time.Now().Add(rebalanceTimeout)))
		require.ErrorIs(t, waits.receive(kmsg.NewPtrJoinGroupResponse()), io.EOF)
	})
}
