package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/larkstream/larkstream/shared/kafka/internal/parked"
)

// BrokerConfig is how the embedded broker runs.
type BrokerConfig struct {
	// Dir holds the logs, group offsets and the lock; made when missing. Empty keeps everything in
	// memory.
	Dir string
	// Addr is where to listen and what clients are told to connect to; "127.0.0.1:0" when empty.
	Addr string
	// Sync flushes every batch to the disk before it is acknowledged. It is off by default. Without it, a process
	// that dies, even by kill -9, loses nothing, because the kernel holds what was written
	// (TestKilledBrokerKeepsAcknowledgedRecords); a machine that crashes may lose records. Sync costs a disk flush
	// on every hop of every question: a record took 3.5 ms instead of 0.1 ms in one run of BenchmarkPublish.
	Sync bool
	Log  *slog.Logger
}

// ErrLocked says that another process runs a broker on the folder.
var ErrLocked = errors.New("folder is in use by another broker")

// cleanerBackoff is how often retention and compaction run, in milliseconds (its default is an hour).
const cleanerBackoff = "300000"

// segmentBytes is the size at which a file of the log ends: the room of deleted records is free when all of their file are deleted.
const segmentBytes = "8388608"

// KeepFinished is how many finished records an installation of one machine has this broker keep of a partition, see Trim: the broker has an index of all its records in memory.
const KeepFinished = 20_000

// Broker is a Kafka-protocol broker inside this process: one node, kept on disk, for one machine.
type Broker struct {
	cluster *kfake.Cluster
	keeper  *parked.Keeper
	lock    *os.File
	addr    string
	close   sync.Once
}

// StartBroker opens the folder and serves what it holds; a folder in use gives ErrLocked. The caller must Close the
// broker: some of its state, such as the members of groups, is saved only then.
func StartBroker(c BrokerConfig) (*Broker, error) {
	if c.Log == nil {
		return nil, errors.New("starting broker: no logger given")
	}
	addr := c.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	b := &Broker{keeper: parked.New()}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.WithLogger(brokerLog{c.Log}),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": cleanerBackoff, "log.segment.bytes": segmentBytes}),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), network, addr)
			return b.keeper.Listen(guardedListener{l, c.Log}), err
		}),
	}
	if c.Dir != "" {
		lock, err := lockFolder(c.Dir)
		if err != nil {
			return nil, err
		}
		b.lock = lock
		opts = append(opts, kfake.DataDir(filepath.Join(c.Dir, "log")))
		if c.Sync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		b.unlock()
		return nil, fmt.Errorf("starting broker on %s: %w", addr, err)
	}
	b.cluster, b.addr = cluster, cluster.ListenAddrs()[0]
	b.keeper.Start(cluster)
	if c.Dir != "" {
		if err := b.repair(c.Log); err != nil { // it serves all the same: what a group skips is published again when its job stands still
			c.Log.Warn("embedded broker could not compare the offsets of groups with the ends of its logs", slog.Any("error", err))
		}
	}
	return b, nil
}

// Addr is the host:port that clients connect to.
func (b *Broker) Addr() string { return b.addr }

// Close saves the state, closes the connections and frees the folder. It may be called again.
func (b *Broker) Close() error {
	b.close.Do(func() {
		b.keeper.Close()
		b.cluster.Close()
		b.unlock()
	})
	return nil
}

func (b *Broker) unlock() {
	if b.lock != nil {
		_ = b.lock.Close() // closing the file frees the lock
	}
}

// lockFolder takes the folder for this process until the file is closed. The kernel frees it when
// the process dies, so that no stale lock can keep a restart out.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making broker folder: %w", err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening broker lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, fmt.Errorf("opening %s: %w (process %s)", dir, ErrLocked, holder(path))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f, nil
}

// holder is the process id that the lock file names.
func holder(path string) string {
	raw, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(raw)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

// brokerLog passes on the warnings and errors of the embedded broker; an operator cannot act on the rest.
type brokerLog struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
	}
}
