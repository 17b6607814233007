package topic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	ours "github.com/larkstream/larkstream/shared/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// world is the embedded broker with our topics.
type world struct {
	brokers  []string
	producer *ours.Producer
}

func setup(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	broker, err := ours.StartBroker(ours.BrokerConfig{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cfg := ours.Config{Brokers: []string{broker.Addr()}}
	require.NoError(t, ours.Provision(t.Context(), cfg, append(event.Topics(),
		event.TopicSpec{Name: "copy", Partitions: 8, Retention: time.Hour})))
	producer, err := ours.NewProducer(cfg, ours.Deps{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, producer.Close(context.Background())) })
	return &world{brokers: cfg.Brokers, producer: producer}
}

func job(t *testing.T, id string) event.Record {
	t.Helper()
	sha := strings.Repeat("ab", 32)
	rec, err := event.Encode("test", &eventpb.Job{
		JobId: id, Audio: &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha)}, Plan: eventpb.PlanMode_PLAN_MODE_AUTO,
		Questions: []*eventpb.Question{{Text: "What <tempo> & key?"}},
	})
	require.NoError(t, err)
	return rec
}

func (w *world) jobs(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, w.producer.Publish(t.Context(), job(t, fmt.Sprint("job-", i))))
	}
}

func (w *world) dump(t *testing.T, cfg DumpConfig) (string, []Record) {
	t.Helper()
	cfg.Brokers = w.brokers
	var out bytes.Buffer
	n, err := Dump(t.Context(), cfg, &out)
	require.NoError(t, err)
	recs := parse(t, out.String())
	require.Len(t, recs, int(n))
	return out.String(), recs
}

func parse(t *testing.T, dump string) []Record {
	t.Helper()
	var recs []Record
	for line := range strings.Lines(dump) {
		rec, err := ParseRecord([]byte(line))
		require.NoError(t, err, line)
		recs = append(recs, rec)
	}
	return recs
}

// all is the DumpConfig of a whole topic.
func all(topic string) DumpConfig {
	return DumpConfig{Topic: topic, Partition: AllPartitions, To: Latest()}
}

func TestDumpShowsEveryRecordAndItsPayload(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.jobs(t, 30)
	text, recs := w.dump(t, all(event.TopicJobs))
	require.Len(t, recs, 30)
	keys, partition, offset := map[string]bool{}, -1, int64(-1)
	for _, rec := range recs {
		keys[string(rec.Key)] = true
		require.Equal(t, event.TopicJobs, rec.Topic)
		require.Equal(t, event.TypeJob, rec.Type)
		require.WithinDuration(t, time.Now(), rec.Time, time.Hour)
		require.GreaterOrEqual(t, rec.Partition, partition, "one partition after another")
		if rec.Partition > partition {
			partition, offset = rec.Partition, -1
		}
		require.Equal(t, offset+1, rec.Offset)
		offset = rec.Offset
		var payload struct {
			JobID     string `json:"job_id"`
			Questions []struct{ Text string }
			Plan      string
		}
		require.NoError(t, json.Unmarshal(rec.Payload, &payload))
		require.Equal(t, string(rec.Key), payload.JobID)
		require.Equal(t, "PLAN_MODE_AUTO", payload.Plan)
		require.Equal(t, "What <tempo> & key?", payload.Questions[0].Text)
	}
	require.Len(t, keys, 30)
	require.Contains(t, text, "What <tempo> & key?", "text is not escaped for HTML")
}

func TestDumpFromToAndBounds(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.jobs(t, 10)
	_, recs := w.dump(t, all(event.TopicJobs))
	fullest := map[int]int{}
	for _, r := range recs {
		fullest[r.Partition]++
	}
	partition := recs[0].Partition
	position := func(text string) Position {
		p, err := ParsePosition(text, time.Now())
		require.NoError(t, err)
		return p
	}
	for name, tc := range map[string]struct {
		change func(*DumpConfig)
		want   int
	}{
		"one partition":        {func(c *DumpConfig) { c.Partition = partition }, fullest[partition]},
		"max":                  {func(c *DumpConfig) { c.Max = 3 }, 3},
		"max beyond":           {func(c *DumpConfig) { c.Max = 300 }, 10},
		"key":                  {func(c *DumpConfig) { key := "job-7"; c.Key = &key }, 1},
		"no such key":          {func(c *DumpConfig) { key := ""; c.Key = &key }, 0},
		"from latest":          {func(c *DumpConfig) { c.From = Latest() }, 0},
		"from offset beyond":   {func(c *DumpConfig) { c.From = position("99999") }, 0},
		"to the first":         {func(c *DumpConfig) { c.Partition, c.To = partition, position("1") }, 1},
		"from an hour ago":     {func(c *DumpConfig) { c.From = position("1h") }, 10},
		"from the future":      {func(c *DumpConfig) { c.From = position("2199-01-01T00:00:00Z") }, 0},
		"to an hour ago":       {func(c *DumpConfig) { c.To = position("1h") }, 0},
		"to before the from":   {func(c *DumpConfig) { c.From, c.To = Latest(), Position{} }, 0},
		"raw has no payload":   {func(c *DumpConfig) { c.Raw = true }, 10},
		"to a later time":      {func(c *DumpConfig) { c.To = position("2199-01-01T00:00:00Z") }, 10},
		"from the second on":   {func(c *DumpConfig) { c.Partition, c.From = partition, position("1") }, fullest[partition] - 1},
		"from exactly its end": {func(c *DumpConfig) { c.Partition, c.From = partition, position(strconv.Itoa(fullest[partition])) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := all(event.TopicJobs)
			tc.change(&cfg)
			_, got := w.dump(t, cfg)
			require.Len(t, got, tc.want)
			for _, r := range got {
				require.Equal(t, cfg.Raw, r.Payload == nil)
			}
		})
	}
}

// lineCounter tells when so many lines have been written.
type lineCounter struct {
	want int
	full chan struct{}
}

func (l *lineCounter) Write(p []byte) (int, error) {
	before := l.want
	l.want -= bytes.Count(p, []byte("\n"))
	if before > 0 && l.want <= 0 {
		close(l.full)
	}
	return len(p), nil
}

func TestFollowGoesOnUntilItIsStopped(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.jobs(t, 5)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := all(event.TopicJobs)
	cfg.Brokers, cfg.Follow = w.brokers, true
	out := &lineCounter{want: 12, full: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		_, err := Dump(ctx, cfg, out)
		ended <- err
	}()
	w.jobs(t, 7)
	select {
	case <-out.full:
	case <-ctx.Done():
		require.FailNow(t, "records are missing", "%d", out.want)
	}
	cancel()
	require.NoError(t, <-ended, "Ctrl-C is the way to end it")
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestErrorsNameTheirCause(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.jobs(t, 3)
	dump := func(brokers []string, cfg DumpConfig, out io.Writer) error {
		cfg.Brokers = brokers
		_, err := Dump(t.Context(), cfg, out)
		return err
	}
	err := dump(w.brokers, all("nowhere"), io.Discard)
	require.ErrorContains(t, err, "topic nowhere does not exist")
	require.ErrorContains(t, err, event.TopicAnswers, "it lists the topics that exist")
	require.ErrorContains(t, dump([]string{"127.0.0.1:1"}, all(event.TopicJobs), io.Discard), "reaching Kafka at 127.0.0.1:1")
	cfg := all(event.TopicJobs)
	cfg.Partition = 8
	require.ErrorContains(t, dump(w.brokers, cfg, io.Discard), "no partition 8; its partitions are 0 to 7")
	require.ErrorContains(t, dump(w.brokers, all(event.TopicJobs), fullDisk{}), "disk is full")

	_, err = Replay(t.Context(), ReplayConfig{Brokers: w.brokers, ToTopic: "nowhere", Input: strings.NewReader("")})
	require.ErrorContains(t, err, "topic nowhere does not exist")
	_, err = Replay(t.Context(), ReplayConfig{Brokers: w.brokers, Input: strings.NewReader("")})
	require.ErrorContains(t, err, "no topic")
}

func TestParsePosition(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]Position{
		"earliest": {}, "latest": Latest(), "0": {kind: atOffset}, "17": {kind: atOffset, offset: 17},
		"2026-11-28T11:00:00Z": {kind: atTime, at: now.Add(-time.Hour)}, "90m": {kind: atTime, at: now.Add(-90 * time.Minute)},
	} {
		got, err := ParsePosition(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "-1", "-90m", "yesterday", "2026-11-28", "2999-01-01T00:00:00Z"} {
		_, err := ParsePosition(text, now)
		require.ErrorContains(t, err, "is no position", text)
	}
}
