package topic

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

// What is dumped and replayed is the same bytes, whatever they are: binary keys and headers, tombstones, nonsense values.
func TestReplayIsExact(t *testing.T) {
	t.Parallel()
	w := setup(t)
	writer := &kafka.Writer{Addr: kafka.TCP(w.brokers...), Topic: event.TopicJobs, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	transport := &kafka.Transport{}
	writer.Transport = transport
	defer transport.CloseIdleConnections()
	odd := []kafka.Message{
		{Key: []byte("text"), Value: []byte("\xff\x00nonsense"), Headers: []kafka.Header{{Key: "a", Value: []byte("\xfe")}, {Key: "a", Value: []byte("twice")}}},
		{Key: []byte("\xff\xfe"), Value: []byte("{}")},
		{Key: []byte("tombstone"), Value: nil},
		{Key: []byte("empty"), Value: []byte{}},
		{Key: nil, Value: []byte("no key")},
		{Key: []byte{}, Value: []byte("\u2028 empty key \ufffd")},
	}
	require.NoError(t, writer.WriteMessages(t.Context(), odd...))
	require.NoError(t, writer.Close())
	w.jobs(t, 20)

	text, before := w.dump(t, all(event.TopicJobs))
	require.Len(t, before, len(odd)+20)
	totals, err := Replay(t.Context(), ReplayConfig{
		Brokers: w.brokers, Input: strings.NewReader(text), Topic: event.TopicJobs, ToTopic: "copy",
		Refused: func(line int, err error) { t.Errorf("line %d: %v", line, err) },
	})
	require.NoError(t, err)
	require.Equal(t, ReplayTotals{Published: int64(len(before)), NextLine: len(before) + 1}, totals)

	_, after := w.dump(t, all("copy"))
	type content struct {
		key, raw      Text
		headers       []Header
		keyed, valued bool
	}
	contents := func(recs []Record) (out []content) {
		for _, r := range recs {
			out = append(out, content{r.Key, r.Raw, r.Headers, r.Key != nil, r.Raw != nil})
		}
		return out
	}
	require.ElementsMatch(t, contents(before), contents(after))
	tombstones := 0
	for _, r := range after {
		if r.Raw == nil {
			tombstones++
		}
	}
	require.Equal(t, 1, tombstones)
	partitions := map[string]int{}
	for _, r := range before {
		partitions[string(r.Key)] = r.Partition
	}
	for i := range 20 {
		key := fmt.Sprint("job-", i)
		for _, r := range after {
			if string(r.Key) == key {
				require.Equal(t, partitions[key], r.Partition, "both clients choose the same partition for a key")
			}
		}
	}
}

func TestReplayRefusesWhatItMustNotPublish(t *testing.T) {
	t.Parallel()
	w := setup(t)
	lines := []string{
		`{"topic":"lark.jobs.v1","key":"a","headers":[],"raw":"eA=="}`,
		`{"topic":"lark.dead.v1","key":"b","headers":[],"raw":"eA=="}`,
		``,
		`not json`,
		`{"topic":"lark.jobs.v1","key":"c","headers":[{"key":"h","value":"v"}],"raw":null}`,
	}
	refused := map[int]string{}
	cfg := ReplayConfig{
		Brokers: w.brokers, Topic: event.TopicJobs, DryRun: true,
		Refused: func(line int, err error) { refused[line] = err.Error() },
	}
	cfg.Input = strings.NewReader(strings.Join(lines, "\n"))
	totals, err := Replay(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, ReplayTotals{Published: 2, Refused: 2, NextLine: 6}, totals)
	require.Len(t, refused, 2)
	require.Contains(t, refused[2], "lark.dead.v1")
	require.Contains(t, refused[4], "reading record")
	_, recs := w.dump(t, all(event.TopicJobs))
	require.Empty(t, recs, "a dry run publishes nothing")

	cfg.DryRun, cfg.FromLine, cfg.Rate = false, 5, 1000
	cfg.Input = strings.NewReader(strings.Join(lines, "\n"))
	totals, err = Replay(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, ReplayTotals{Published: 1, NextLine: 6}, totals)
	_, recs = w.dump(t, all(event.TopicJobs))
	require.Equal(t, "c", string(recs[0].Key))

	cfg.Topic, cfg.ToTopic, cfg.FromLine = "", "copy", 1
	cfg.Input = strings.NewReader(strings.Join(lines, "\n"))
	totals, err = Replay(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, ReplayTotals{Published: 3, Refused: 1, NextLine: 6}, totals, "asked for, records of every topic go")
}

func TestInterruptedReplayTellsWhereToGoOn(t *testing.T) {
	t.Parallel()
	w := setup(t)
	in, feed, err := os.Pipe() // a read of it hangs until something is written
	require.NoError(t, err)
	defer in.Close()
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan struct{})
	go func() {
		for range batchRecords + 3 {
			fmt.Fprintln(feed, `{"topic":"lark.jobs.v1","key":"a","headers":[],"raw":"eA=="}`)
		}
		<-published
		cancel()
	}()
	totals, err := Replay(ctx, ReplayConfig{
		Brokers: w.brokers, Topic: event.TopicJobs, Input: in, Progress: func(ReplayTotals) { close(published) },
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, ReplayTotals{Published: batchRecords, NextLine: batchRecords + 1}, totals)
	require.NoError(t, feed.Close())
	_, recs := w.dump(t, all(event.TopicJobs))
	require.Len(t, recs, batchRecords)
}

func TestALineThatIsTooLongEndsTheReplay(t *testing.T) {
	t.Parallel()
	w := setup(t)
	_, err := Replay(t.Context(), ReplayConfig{
		Brokers: w.brokers, Topic: event.TopicJobs, Input: strings.NewReader(strings.Repeat("x", maxLineBytes+1)),
	})
	require.ErrorContains(t, err, "a line may have 16 MiB")
}
