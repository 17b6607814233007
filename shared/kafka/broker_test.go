package kafka_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	childDirEnv  = "LARK_TEST_BROKER_DIR"
	childAddrEnv = "LARK_TEST_BROKER_ADDR"
)

// runChild is a broker in a process of its own, until it is killed or its standard input closes.
func runChild(dir string) {
	b, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Addr: os.Getenv(childAddrEnv), Log: silent()})
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		return
	}
	fmt.Fprintln(os.Stdout, "ready", b.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	_ = b.Close()
}

// startChild runs this test binary as a broker and returns its process and address.
func startChild(t *testing.T, dir, addr string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), childDirEnv+"="+dir, childAddrEnv+"="+addr)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	require.Equal(t, "ready", word, rest)
	return cmd, rest
}

// Every record that was acknowledged is there after kill -9, without Sync.
func TestKilledBrokerKeepsAcknowledgedRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child, addr := startChild(t, dir, "")
	cfg := kafka.Config{Brokers: []string{addr}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 4, Retention: time.Hour}}))
	p := newProducer(t, cfg)

	var acked atomic.Int64
	enough, ended := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for i := 0; ; i++ {
			if err := p.Publish(ctx, event.Record{Topic: topic, Value: fmt.Append(nil, i)}); err != nil {
				ended <- err
				return
			}
			if acked.Add(1) == 500 {
				close(enough)
			}
		}
	}()
	<-enough
	require.NoError(t, child.Process.Kill()) // in the middle of a publish
	_ = child.Wait()
	before := acked.Load()
	startChild(t, dir, addr)
	require.Eventually(t, func() bool { return acked.Load() > before+100 }, patience, tick, "the producer goes on by itself")
	cancel()
	require.Error(t, <-ended)

	got, caughtUp := tail(t, cfg, kafka.Earliest)
	<-caughtUp
	values := got.values()
	for i := range acked.Load() {
		require.Contains(t, values, strconv.FormatInt(i, 10), "acknowledged and lost")
	}
}

func TestSecondBrokerOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child, _ := startChild(t, dir, "")
	_, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Log: silent()})
	require.ErrorIs(t, err, kafka.ErrLocked)
	require.ErrorContains(t, err, strconv.Itoa(child.Process.Pid), "the message names the process that holds it")

	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	startBroker(t, kafka.BrokerConfig{Dir: dir}) // a dead holder keeps nobody out
}

func TestBrokerKeepsItsStateOverACleanRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := startBroker(t, kafka.BrokerConfig{Dir: dir, Sync: true})
	addr := b.Addr()
	cfg := kafka.Config{Brokers: []string{addr}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 2, Retention: time.Hour}}))
	require.NoError(t, newProducer(t, cfg).Publish(t.Context(), records(20)...))
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "closing again is harmless")

	startBroker(t, kafka.BrokerConfig{Dir: dir, Addr: addr})
	got, caughtUp := tail(t, cfg, kafka.Earliest)
	<-caughtUp
	require.Len(t, got.values(), 20)
	require.Equal(t, "3600000", settings(t, admin(t, cfg), topic)["retention.ms"])
}

// An HTTP request claims 1.2 GB by its first four bytes; the broker must not take memory for them.
func TestBrokerClosesWhatIsNotKafka(t *testing.T) {
	t.Parallel()
	read, write := io.Pipe()
	b, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.NewTextHandler(write, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "bytes=1195725856")
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "closed, without an answer")
	require.NoError(t, read.Close())
}

func TestBrokerTellsOfATakenAddress(t *testing.T) {
	t.Parallel()
	b := startBroker(t, kafka.BrokerConfig{})
	dir := t.TempDir()
	_, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Addr: b.Addr(), Log: silent()})
	require.ErrorContains(t, err, b.Addr())
	startBroker(t, kafka.BrokerConfig{Dir: dir}) // the lock was given back
}

// BenchmarkPublish gives the cost of one acknowledged record, and what Sync adds to it.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%t", sync), func(b *testing.B) {
			broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: b.TempDir(), Sync: sync, Log: silent()})
			require.NoError(b, err)
			defer func() { _ = broker.Close() }()
			cfg := kafka.Config{Brokers: []string{broker.Addr()}}
			require.NoError(b, kafka.Provision(b.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 1, Retention: time.Hour}}))
			p, err := kafka.NewProducer(cfg, kafka.Deps{Log: silent()})
			require.NoError(b, err)
			defer func() { _ = p.Close(context.Background()) }()
			rec := event.Record{Topic: topic, Value: make([]byte, 1024)}
			require.NoError(b, p.Publish(b.Context(), rec))
			for b.Loop() {
				if err := p.Publish(b.Context(), rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestTheBrokerBoundsTheEvents(t *testing.T) {
	t.Parallel()
	b := startBroker(t, kafka.BrokerConfig{})
	cfg := kafka.Config{Brokers: []string{b.Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, event.WithEventBytes(event.Topics(), 4096)))
	adm := admin(t, cfg)
	require.Equal(t, "4096", settings(t, adm, event.TopicEvents)["retention.bytes"])
	require.Equal(t, "-1", settings(t, adm, event.TopicAnswers)["retention.bytes"], "nothing else is deleted for its size")
}
