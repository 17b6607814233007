package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	segmentio "github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

// These tests hold the records and topics to what a client written by others understands:
// segmentio/kafka-go reads them, joins groups on them, and writes jobs.

func contractSetup(t *testing.T) (kafka.Config, *kafka.Producer) {
	t.Helper()
	b := startBroker(t, kafka.BrokerConfig{})
	cfg := kafka.Config{Brokers: []string{b.Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, event.Topics()))
	return cfg, newProducer(t, cfg)
}

func contractJob(i int) *eventpb.Job {
	sha := fmt.Sprintf("%064x", i+1)
	return &eventpb.Job{
		JobId: fmt.Sprint("job-", i), Audio: &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha)},
		Questions: []*eventpb.Question{{Text: "What tempo is it?"}}, Plan: eventpb.PlanMode_PLAN_MODE_AUTO,
	}
}

func reader(t *testing.T, cfg kafka.Config, topicName, group string) *segmentio.Reader {
	t.Helper()
	r := segmentio.NewReader(segmentio.ReaderConfig{
		Brokers: cfg.Brokers, GroupID: group, Topic: topicName, StartOffset: segmentio.FirstOffset,
		MaxWait: 100 * time.Millisecond, HeartbeatInterval: 500 * time.Millisecond,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second,
	})
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestForeignClientReadsOurRecordsInAGroup(t *testing.T) {
	t.Parallel()
	cfg, p := contractSetup(t)
	const jobs = 30
	want := make(map[string]*eventpb.Job)
	for i := range jobs {
		job := contractJob(i)
		want[job.GetJobId()] = job
		rec, err := event.Encode("gateway", job)
		require.NoError(t, err)
		require.NoError(t, p.Publish(t.Context(), rec))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first, second := reader(t, cfg, event.TopicJobs, "foreign"), reader(t, cfg, event.TopicJobs, "foreign")
	msgs := make(chan segmentio.Message)
	for _, r := range []*segmentio.Reader{first, second} {
		go func() {
			for {
				m, err := r.FetchMessage(ctx)
				if err != nil {
					return
				}
				_ = r.CommitMessages(ctx, m)
				select {
				case msgs <- m:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for len(want) > 0 {
		var m segmentio.Message
		select {
		case m = <-msgs:
		case <-ctx.Done():
			require.FailNow(t, "records missing", "%d of %d", len(want), jobs)
		}
		job := &eventpb.Job{}
		require.NoError(t, proto.Unmarshal(m.Value, job))
		if sent := want[job.GetJobId()]; sent != nil {
			require.True(t, proto.Equal(sent, job))
		}
		require.Equal(t, job.GetJobId(), string(m.Key))
		headers := map[string]string{}
		for _, h := range m.Headers {
			headers[h.Key] = string(h.Value)
		}
		require.Equal(t, event.TypeJob, headers[event.HeaderType])
		require.Equal(t, "1.0", headers[event.HeaderSpecVersion])
		require.Equal(t, event.ContentType, headers[event.HeaderContentType])
		require.NotEmpty(t, headers[event.HeaderID])
		delete(want, job.GetJobId())
	}
	require.Eventually(t, func() bool {
		lag, err := kafka.Lag(t.Context(), cfg, "foreign")
		var left int64
		for _, n := range lag {
			left += n
		}
		return err == nil && len(lag) > 0 && left == 0
	}, patience, 50*time.Millisecond, "its commits are seen by our lag")
}

func TestForeignProducerFeedsJobs(t *testing.T) {
	t.Parallel()
	cfg, _ := contractSetup(t)
	w := &segmentio.Writer{
		Addr: segmentio.TCP(cfg.Brokers...), RequiredAcks: segmentio.RequireAll,
		Balancer: segmentio.Murmur2Balancer{Consistent: true}, BatchTimeout: time.Millisecond,
	}
	transport := &segmentio.Transport{}
	w.Transport = transport
	t.Cleanup(func() {
		require.NoError(t, w.Close())
		transport.CloseIdleConnections()
	})
	const jobs = 20
	var msgs []segmentio.Message
	for i := range jobs {
		rec, err := event.Encode("feeder", contractJob(i))
		require.NoError(t, err)
		m := segmentio.Message{Topic: rec.Topic, Key: []byte(rec.Key), Value: rec.Value}
		for _, h := range rec.Headers {
			m.Headers = append(m.Headers, segmentio.Header{Key: h.Key, Value: h.Value})
		}
		msgs = append(msgs, m)
	}
	require.NoError(t, w.WriteMessages(t.Context(), msgs...))

	got, partitions := map[string]bool{}, map[string]int32{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	caughtUp, wait := kafka.Tail(ctx, cfg, event.TopicJobs, kafka.Earliest, func(rec event.Record, p int32, _ int64) {
		if job, err := event.DecodeAs[*eventpb.Job](rec); err == nil {
			got[job.GetJobId()] = true
			partitions[rec.Key] = p
		}
	})
	<-caughtUp
	cancel()
	require.NoError(t, wait())
	require.Len(t, got, jobs)

	// Both clients choose the same partition for a key, so that its order holds whoever writes.
	ours := newProducer(t, cfg)
	for i := range jobs {
		rec, err := event.Encode("gateway", contractJob(i))
		require.NoError(t, err)
		require.NoError(t, ours.Publish(t.Context(), rec))
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	caughtUp, wait = kafka.Tail(ctx, cfg, event.TopicJobs, kafka.Earliest, func(rec event.Record, p int32, _ int64) {
		if before, ok := partitions[rec.Key]; ok && before != p {
			t.Errorf("key %s lies on partitions %d and %d", rec.Key, before, p)
		}
	})
	<-caughtUp
	cancel()
	require.NoError(t, wait())
}
