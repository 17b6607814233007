// Package simbroker is the embedded broker in memory, on a network in memory, with faults on demand. It runs under the clock of
// testing/synctest, which the network of the machine cannot: see lab/sim.
package simbroker

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/larkstream/larkstream/shared/kafka/internal/parked"
)

// port is where the broker listens on its own network.
const port = 9092

// Broker is a broker of one node.
type Broker struct {
	cluster  *kfake.Cluster
	keeper   *parked.Keeper
	network  kfake.VirtualNetwork
	onCommit func(Commit)
}

// Commit is an offset that a group asks the broker to remember.
type Commit struct {
	Group string
	// Topic is the id of the topic, for TopicOf.
	Topic     [16]byte
	Partition int32
	// Offset is that of the first record which is not finished.
	Offset int64
}

// Start makes a broker without topics. onCommit, which may be nil, is called with each commit before the broker takes it; it must not call
// the broker.
func Start(onCommit func(Commit)) (*Broker, error) {
	b := &Broker{onCommit: onCommit, keeper: parked.New()}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.ListenFn(b.listen), kfake.MaxVersions(versions()))
	if err != nil {
		return nil, fmt.Errorf("starting broker: %w", err)
	}
	b.cluster = cluster
	b.keeper.Start(cluster)
	cluster.ControlKey(int16(kmsg.OffsetCommit), b.commits)
	return b, nil
}

// versions are those of a broker that asks its clients for no metrics of theirs.
func versions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.GetTelemetrySubscriptions), -1)
	v.SetMaxKeyVersion(int16(kmsg.PushTelemetry), -1)
	return v
}

func (b *Broker) listen(network, addr string) (net.Listener, error) {
	l, err := b.network.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	return b.keeper.Listen(l), nil
}

// Addr is the host:port that clients dial.
func (b *Broker) Addr() string { return b.cluster.ListenAddrs()[0] }

// Dial opens a connection to the broker. Its signature is that of kafka.Config's Dial.
func (b *Broker) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return b.network.DialContext(ctx, network, addr)
}

// TopicOf names the topic with an id, "" if there is none.
func (b *Broker) TopicOf(id [16]byte) string {
	if info := b.cluster.TopicIDInfo(id); info != nil {
		return info.Topic
	}
	return ""
}

// Close ends the broker and all connections.
func (b *Broker) Close() {
	b.keeper.Close()
	b.cluster.Close()
}

// commits tells of commits and leaves them to the broker.
func (b *Broker) commits(req kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the signature is the library's
	b.cluster.KeepControl()
	commit, ok := req.(*kmsg.OffsetCommitRequest)
	if !ok || b.onCommit == nil {
		return nil, nil, false
	}
	for _, t := range commit.Topics {
		for _, p := range t.Partitions {
			b.onCommit(Commit{Group: commit.Group, Topic: t.TopicID, Partition: p.Partition, Offset: p.Offset})
		}
	}
	return nil, nil, false
}

// NoLeader makes the broker refuse records for a partition, as if it had no leader, until the function returned is called.
func (b *Broker) NoLeader(topic string, partition int32) (end func()) {
	return b.fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{partition}, Err: kerr.NotLeaderForPartition, Count: -1,
	})
}

// NoCommits makes the broker refuse the commits of a group until the function returned is called.
func (b *Broker) NoCommits(group string) (end func()) {
	return b.fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: group, Err: kerr.CoordinatorLoadInProgress, Count: -1})
}

// LostAnswers makes the broker write the records for a partition and answer that it has timed out, so that the client sends them again, n times.
func (b *Broker) LostAnswers(topic string, partition int32, n int) (end func()) {
	return b.fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{partition}, Err: kerr.RequestTimedOut, Count: n,
	})
}

// Unread counts the records of the topics that the group has not committed.
func (b *Broker) Unread(group string, topics ...string) int64 {
	info := b.cluster.GroupInfo(group)
	var unread int64
	for _, topic := range topics {
		for _, p := range b.cluster.PartitionInfos(topic) {
			from := p.LogStartOffset
			if info != nil {
				from = max(from, info.Commits[topic][p.Partition].Offset)
			}
			unread += max(0, p.HighWatermark-from)
		}
	}
	return unread
}

// Lose forgets all records of a topic.
func (b *Broker) Lose(topic string) {
	for _, p := range b.cluster.PartitionInfos(topic) {
		_ = b.cluster.DeleteRecords(topic, p.Partition, p.HighWatermark) // what is there can be deleted
	}
}

// Written tells whether anything was ever written to the topic.
func (b *Broker) Written(topic string) bool {
	return slices.ContainsFunc(b.cluster.PartitionInfos(topic), func(p *kfake.PartitionInfo) bool { return p.HighWatermark > 0 })
}

func (b *Broker) fault(f kfake.Fault) (end func()) { return b.cluster.Fault(f).Remove }
