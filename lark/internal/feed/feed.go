package feed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// Config says what to feed and where to.
type Config struct {
	// File holds the jobs; "-" reads Input.
	File  string
	Input io.Reader
	// Brokers are host:port pairs.
	Brokers []string
	// BlobURL is the object store of the installation.
	BlobURL string
	// Journal names the file that remembers which jobs were published; empty = File + ".fed", none for "-".
	Journal string
	// MaxAudioBytes bounds one audio file (1 GiB).
	MaxAudioBytes int64
	// ModelDigest names the bundle that must answer the jobs; it is part of their ids. Empty = whichever is deployed.
	ModelDigest string
	// Failed tells whether the gateway knows the job as failed, in whole or in part; nil publishes no job again. A failed job is published
	// again as the next attempt, which has an id of its own.
	Failed func(ctx context.Context, jobID string) (bool, error)
	// Report is told of every line as it ends, in order.
	Report func(Result)
	// Log tells of brokers that do not answer; nil is silent.
	Log *slog.Logger
}

// States of a Result.
const (
	Published = "published"
	// Skipped: an earlier run has published it.
	Skipped = "skipped"
	// Rejected: the line or its audio cannot be used; nothing was published.
	Rejected = "rejected"
)

// Result is what became of a line.
type Result struct {
	Line  int    `json:"line"`
	JobID string `json:"job_id,omitempty"`
	// Attempt counts from 0.
	Attempt int    `json:"attempt,omitempty"`
	State   string `json:"state"`
	Error   string `json:"error,omitempty"`
}

// Totals counts lines by state.
type Totals struct {
	Published, Skipped, Rejected int
}

const (
	maxLineBytes = 1 << 20
	// batchJobs are published, and noted in the journal, together.
	batchJobs = 64
	source    = "feed"
)

// feeder is one run.
type feeder struct {
	Config
	dir           string
	blobs         *blob.Store
	producer      *kafka.Producer
	journal       *journal
	maxAudioBytes int64
	batch         []pending
	totals        Totals
	closes        []func() error
}

// pending is a job that is not published yet.
type pending struct {
	result Result
	record event.Record
}

// Run publishes every job of the file that the journal does not name. A bad line is reported and does not keep the
// others back; an error means that the run ended early, and that the next one will go on where it stopped.
func Run(ctx context.Context, cfg Config) (totals Totals, err error) {
	f := &feeder{Config: cfg, maxAudioBytes: cfg.MaxAudioBytes, dir: filepath.Dir(cfg.File)}
	if f.maxAudioBytes <= 0 {
		f.maxAudioBytes = 1 << 30
	}
	if f.Report == nil {
		f.Report = func(Result) {}
	}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	in, err := f.open()
	if err != nil {
		return Totals{}, err
	}
	defer in.Close()
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.connect(ctx); err != nil {
		return Totals{}, err
	}
	err = f.lines(ctx, in)
	return f.totals, err
}

// connect opens the broker, the object store and the journal. It asks the broker first, so that a wrong address is told at
// once and no audio is uploaded in vain.
func (f *feeder) connect(ctx context.Context) (err error) {
	brokers := kafka.Config{Brokers: f.Brokers, ClientID: "lark-" + source}
	if err = kafka.Ping(ctx, brokers); err != nil {
		return err
	}
	if f.blobs, err = blob.Open(ctx, f.BlobURL); err != nil {
		return err
	}
	f.closes = append(f.closes, f.blobs.Close)
	if f.journal, err = openJournal(f.Journal); err != nil {
		return err
	}
	f.closes = append(f.closes, f.journal.close)
	if f.producer, err = kafka.NewProducer(brokers, kafka.Deps{Log: f.Log}); err != nil {
		return err
	}
	// Every Publish has waited for its records, so nothing is left to flush.
	f.closes = append(f.closes, func() error { return f.producer.Close(context.WithoutCancel(ctx)) })
	return nil
}

// close closes what connect has opened, the last opened first.
func (f *feeder) close() (err error) {
	for _, closeIt := range slices.Backward(f.closes) {
		err = errors.Join(err, closeIt())
	}
	return err
}

func (f *feeder) open() (io.ReadCloser, error) {
	if f.File == "-" {
		f.dir = "."
		return io.NopCloser(f.Input), nil
	}
	if f.Journal == "" {
		f.Journal = f.File + ".fed"
	}
	file, err := os.Open(f.File)
	if err != nil {
		return nil, fmt.Errorf("opening jobs file: %w", err)
	}
	return file, nil
}

func (f *feeder) lines(ctx context.Context, in io.Reader) error {
	scan := bufio.NewScanner(in)
	scan.Buffer(make([]byte, 64<<10), maxLineBytes)
	for number := 1; scan.Scan(); number++ {
		raw := bytes.TrimSpace(scan.Bytes())
		if len(raw) == 0 {
			continue
		}
		if err := f.line(ctx, number, raw); err != nil {
			return fmt.Errorf("feeding line %d: %w", number, err)
		}
	}
	if err := scan.Err(); err != nil {
		return errors.Join(fmt.Errorf("reading jobs file: %w", err), f.flush(ctx))
	}
	return f.flush(ctx)
}

// line prepares one job. Only what would fail every other line too comes back as an error.
func (f *feeder) line(ctx context.Context, number int, raw []byte) error {
	rec, result, err := f.prepare(ctx, raw)
	var fatal *fatalError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &fatal):
		return fatal.err
	case err != nil:
		result = Result{State: Rejected, Error: err.Error()}
	}
	result.Line = number
	f.batch = append(f.batch, pending{result: result, record: rec})
	if len(f.batch) < batchJobs {
		return nil
	}
	return f.flush(ctx)
}

// fatalError would fail every other line too.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

// prepare makes the record of a line, in the attempt that is to be published.
func (f *feeder) prepare(ctx context.Context, raw []byte) (event.Record, Result, error) {
	l, err := parseLine(raw)
	if err != nil {
		return event.Record{}, Result{}, err
	}
	audio, err := f.audio(ctx, l)
	if err != nil {
		return event.Record{}, Result{}, err
	}
	now := time.Now()
	for attempt := 0; ; attempt++ {
		job, err := l.job(audio, f.ModelDigest, attempt, now)
		if err != nil {
			return event.Record{}, Result{}, err
		}
		result := Result{JobID: job.GetJobId(), Attempt: attempt, State: Published}
		failed, err := f.failed(ctx, job.GetJobId())
		if err != nil {
			return event.Record{}, Result{}, &fatalError{fmt.Errorf("asking the gateway for job %s: %w", job.GetJobId(), err)}
		}
		if failed {
			continue
		}
		if f.journal.has(job.GetJobId()) {
			result.State = Skipped
			return event.Record{}, result, nil
		}
		rec, err := event.Encode(source, job)
		return rec, result, err
	}
}

// failed tells whether the attempt with that id has failed and another one is wanted.
func (f *feeder) failed(ctx context.Context, id string) (bool, error) {
	if f.Failed == nil {
		return false, nil
	}
	return f.Failed(ctx, id)
}

// flush publishes the batch, then notes it, then reports it. A crash in between publishes some jobs a second time, which
// changes nothing: their ids are the same.
func (f *feeder) flush(ctx context.Context) error {
	var records []event.Record
	var ids []string
	for _, p := range f.batch {
		if p.result.State == Published {
			records = append(records, p.record)
			ids = append(ids, p.result.JobID)
		}
	}
	if err := f.producer.Publish(ctx, records...); err != nil {
		return err
	}
	if err := f.journal.add(ids); err != nil {
		return err
	}
	for _, p := range f.batch {
		f.totals.count(p.result.State)
		f.Report(p.result)
	}
	f.batch = f.batch[:0]
	return nil
}

func (t *Totals) count(state string) {
	switch state {
	case Published:
		t.Published++
	case Skipped:
		t.Skipped++
	case Rejected:
		t.Rejected++
	}
}
