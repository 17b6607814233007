package topic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	ours "github.com/larkstream/larkstream/shared/kafka"
)

// ReplayConfig says what to publish again and where.
type ReplayConfig struct {
	Brokers []string
	// Security is how the brokers are reached.
	Security ours.Security
	// Input holds the lines of a dump.
	Input io.Reader
	// Topic is the only topic whose records are taken; empty takes the records of every topic, which ToTopic must allow.
	Topic string
	// ToTopic is where the records go; empty is Topic.
	ToTopic string
	// FromLine skips the lines before it: where an earlier run stopped. Lines count from 1.
	FromLine int
	// Rate bounds the records a second; 0 is no bound.
	Rate float64
	// DryRun checks every line, and that the topic is there, and publishes nothing.
	DryRun bool
	// Refused is told of each line that is not published, and why.
	Refused func(line int, err error)
	// Progress is told after each batch.
	Progress func(ReplayTotals)
}

// ReplayTotals is what a replay has done so far.
type ReplayTotals struct {
	// Published counts acknowledged records; in a dry run, those that would be published.
	Published int64 `json:"published"`
	// Refused counts lines that cannot be read or are of another topic.
	Refused int64 `json:"refused"`
	// NextLine is the first line that is not dealt with.
	NextLine int `json:"next_line"`
}

const (
	// maxLineBytes bounds a line: a record of a few MB, decoded and in base64.
	maxLineBytes   = 16 << 20
	batchRecords   = 100
	batchBytes     = 1 << 20
	publishTimeout = 30 * time.Second
)

// Replay publishes the records of a dump again: the same key, headers and value, at the time of now. A line that cannot be
// used is refused and the others go on. An error means that the replay ended early: NextLine of the totals is where to go
// on.
func Replay(ctx context.Context, cfg ReplayConfig) (ReplayTotals, error) {
	r := &replayer{ReplayConfig: cfg, totals: ReplayTotals{NextLine: max(cfg.FromLine, 1)}}
	if r.ToTopic == "" {
		r.ToTopic = r.Topic
	}
	if r.ToTopic == "" {
		return r.totals, errors.New("replaying records: no topic given")
	}
	c, err := connect(cfg.Brokers, cfg.Security)
	if err != nil {
		return r.totals, err
	}
	defer c.close()
	if _, err := c.partitions(ctx, r.ToTopic); err != nil {
		return r.totals, err
	}
	r.writer = &kafka.Writer{
		Addr: kafka.TCP(cfg.Brokers...), Transport: c.transport, RequiredAcks: kafka.RequireAll,
		// The partition that the pipeline's producer would choose; a record without a key goes anywhere.
		Balancer: kafka.Murmur2Balancer{}, AllowAutoTopicCreation: false,
		BatchTimeout: time.Millisecond, BatchSize: batchRecords, BatchBytes: maxLineBytes,
	}
	err = r.run(ctx)
	return r.totals, errors.Join(err, r.writer.Close())
}

type replayer struct {
	ReplayConfig
	writer *kafka.Writer
	totals ReplayTotals
	batch  []kafka.Message
	bytes  int
	first  int       // line of the batch's first record
	due    time.Time // when the next batch may be published
}

func (r *replayer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines, fault := readLines(ctx, r.Input)
	number := 0
	for {
		var line []byte
		var more bool
		select {
		case <-ctx.Done():
		case line, more = <-lines:
		}
		if ctx.Err() != nil { // the reader ends too; what it has given is not all
			return fmt.Errorf("replay ended before line %d: %w", r.totals.NextLine, context.Cause(ctx))
		}
		number++
		if !more {
			if err := r.flush(ctx, number); err != nil {
				return err
			}
			return fault()
		}
		if number < r.FromLine {
			continue
		}
		if err := r.line(ctx, number, line); err != nil {
			return err
		}
	}
}

// readLines reads in the background, so that an interruption does not wait for input; a read that hangs is left behind.
// fault is to be asked once the channel is closed.
func readLines(ctx context.Context, in io.Reader) (_ <-chan []byte, fault func() error) {
	lines := make(chan []byte)
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 64<<10), maxLineBytes)
	go func() {
		defer close(lines)
		for scan.Scan() {
			select {
			case lines <- bytes.Clone(scan.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines, func() error {
		if err := scan.Err(); err != nil {
			return fmt.Errorf("reading the dump (a line may have %d MiB): %w", maxLineBytes>>20, err)
		}
		return nil
	}
}

func (r *replayer) line(ctx context.Context, number int, line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	rec, err := ParseRecord(line)
	if err == nil && r.Topic != "" && rec.Topic != r.Topic {
		err = fmt.Errorf("record is of topic %.80q, not of %s (--to-topic without --topic takes records of every topic)", rec.Topic, r.Topic)
	}
	if err != nil {
		r.totals.Refused++
		if r.Refused != nil {
			r.Refused(number, err)
		}
		return nil
	}
	if len(r.batch) == 0 {
		r.first = number
	}
	r.batch = append(r.batch, rec.message(r.ToTopic))
	r.bytes += len(line)
	if len(r.batch) < r.batchSize() && r.bytes < batchBytes {
		return nil
	}
	return r.flush(ctx, number+1)
}

// batchSize is a tenth of a second's records where there is a rate.
func (r *replayer) batchSize() int {
	if r.Rate <= 0 {
		return batchRecords
	}
	return min(max(int(r.Rate/10), 1), batchRecords)
}

// flush publishes the batch and waits until the broker has acknowledged it, so that an interruption leaves no doubt about
// which lines are published. next is the line after the batch.
func (r *replayer) flush(ctx context.Context, next int) error {
	if len(r.batch) > 0 && !r.DryRun {
		if err := r.pace(ctx); err != nil {
			return err
		}
		if err := r.publish(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("publishing lines %d to %d to %s; some of them may be published: %w", r.first, next-1, r.ToTopic, err)
		}
	}
	r.totals.Published += int64(len(r.batch))
	r.totals.NextLine = next
	r.batch, r.bytes = nil, 0
	if r.Progress != nil {
		r.Progress(r.totals)
	}
	return nil
}

func (r *replayer) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := r.writer.WriteMessages(ctx, r.batch...)
	var each kafka.WriteErrors
	if errors.As(err, &each) { // tells only how many failed; the first cause tells why
		for _, cause := range each {
			if cause != nil {
				return cause
			}
		}
	}
	return err
}

// pace waits until the batch may go out.
func (r *replayer) pace(ctx context.Context) error {
	if r.Rate <= 0 {
		return nil
	}
	now := time.Now()
	if wait := r.due.Sub(now); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return fmt.Errorf("replay ended before line %d: %w", r.totals.NextLine, context.Cause(ctx))
		case now = <-timer.C:
		}
	}
	r.due = now.Add(time.Duration(float64(len(r.batch)) / r.Rate * float64(time.Second)))
	return nil
}
