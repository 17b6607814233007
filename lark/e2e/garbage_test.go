package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

// consumed are the topics whose records a stage works on: garbage there must end as a dead letter. The others are
// read by watchers (events, control), who pass over it, or by nobody (dead letters).
func consumed() []string {
	topics := []string{event.TopicAnswers}
	for _, topic := range []string{event.TopicJobs, event.TopicWindows, event.TopicEmbeddings, event.TopicPrompts} {
		topics = append(topics, event.InLanes(topic)...)
	}
	for _, stage := range event.Stages() {
		for _, delay := range event.RetryDelays() {
			topics = append(topics, event.InLanes(event.RetryTopic(stage, delay))...)
		}
	}
	return topics
}

// TestGarbageOnEveryTopic writes what nobody can decode to every partition of every topic, with a client of another make.
func TestGarbageOnEveryTopic(t *testing.T) {
	s := tester(t)
	s.requireWorks(t) // the topics are there
	mark := fmt.Sprintf("garbage %d ", seedOf(t))
	for _, topic := range event.Topics() {
		for partition := range int(topic.Partitions) {
			s.writeGarbage(t, topic, partition, mark)
		}
	}
	s.requireWorks(t)

	want := map[string]int{}
	for _, topic := range event.Topics() {
		for _, name := range consumed() {
			if topic.Name == name {
				want[name] = 2 * int(topic.Partitions)
			}
		}
	}
	require.Equal(t, want, s.deadLetters(t, mark, want))
	s.requireWorks(t)
	for _, stage := range append(workStages(), "gateway") {
		require.NoError(t, readyAt(t.Context(), s.addr(stage)))
	}
}

// writeGarbage writes two records to a partition: one of an unknown kind, and one whose kind is right and whose value is not.
func (s *stack) writeGarbage(t *testing.T, topic event.TopicSpec, partition int, mark string) {
	t.Helper()
	typ := event.TypeOutcome
	if len(topic.Types) > 0 {
		typ = topic.Types[0]
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := kafka.DialLeader(ctx, "tcp", s.brokers()[0], topic.Name, partition)
	require.NoError(t, err, topic.Name)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = conn.WriteMessages(
		kafka.Message{Key: []byte("k"), Value: []byte(mark + "of no kind")},
		kafka.Message{Key: []byte("k"), Value: []byte(mark + "\xff\xff\xff\xff"), Headers: []kafka.Header{
			{Key: event.HeaderType, Value: []byte(typ)}, {Key: event.HeaderContentType, Value: []byte(event.ContentType)},
		}},
	)
	require.NoError(t, err, topic.Name)
}

// deadLetters reads the dead-letter topic until it holds as many letters with the mark as wanted, and counts them by
// the topic that they come from.
func (s *stack) deadLetters(t *testing.T, mark string, want map[string]int) map[string]int {
	t.Helper()
	total := 0
	for _, n := range want {
		total += n
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	letters := kafka.NewReader(kafka.ReaderConfig{
		Brokers: s.brokers(), Topic: event.TopicDead, Partition: 0, MaxBytes: 10 << 20, MaxWait: 250 * time.Millisecond,
	})
	defer func() { require.NoError(t, letters.Close()) }()
	seen := map[string]bool{} // at least once: the same letter may come twice
	got := map[string]int{}
	for len(seen) < total {
		m, err := letters.ReadMessage(ctx)
		require.NoError(t, err, "%d of %d dead letters came: %v", len(seen), total, got)
		rec := record(m)
		id := fmt.Sprint(rec.Get(event.HeaderOriginTopic), rec.Get(event.HeaderOriginPartition), "@", rec.Get(event.HeaderOriginOffset))
		if !strings.HasPrefix(string(m.Value), mark) || seen[id] || rec.Get(event.HeaderOriginTopic) == "" {
			continue
		}
		seen[id] = true
		got[rec.Get(event.HeaderOriginTopic)]++
		require.NotEmpty(t, rec.Get(event.HeaderReason))
		require.NotEmpty(t, rec.Get(event.HeaderStage))
	}
	return got
}

func record(m kafka.Message) event.Record {
	rec := event.Record{Topic: m.Topic, Key: string(m.Key), Value: m.Value}
	for _, h := range m.Headers {
		rec.Headers = append(rec.Headers, event.Header{Key: h.Key, Value: h.Value})
	}
	return rec
}
