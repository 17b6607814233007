package feed

import (
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
	// Security is how the brokers are reached.
	Security kafka.Security
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
	// Progress is told how far the run is, after every line that was read; nil tells nobody.
	Progress func(Progress)
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

// Progress is how far a run is.
type Progress struct {
	// Jobs is how many lines that are not blank were read.
	Jobs int
	// Done and Total are bytes of the file. Total is 0 where the end is not known, as on standard input.
	Done, Total int64
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
	progress      Progress
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
	if f.Progress == nil {
		f.Progress = func(Progress) {}
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
	brokers := kafka.Config{Brokers: f.Brokers, ClientID: "lark-" + source, Security: f.Security}
	if err = kafka.Ping(ctx, brokers); err != nil {
		return err
	}
	if f.blobs, err = blob.Open(ctx, f.BlobURL); err != nil {
		return err
	}
	f.closes = append(f.closes, f.blobs.Close)
	// The id of the jobs topic stands for the installation: it is random, and new when the topic is made anew.
	installation, err := kafka.TopicID(ctx, brokers, event.TopicJobs)
	if err != nil {
		return err
	}
	if f.journal, err = openJournal(f.Journal, installation); err != nil {
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
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		f.progress.Total = info.Size()
	}
	return file, nil
}

func (f *feeder) lines(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines, failed := splitLines(ctx, in)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case l, more := <-lines:
			if !more {
				return f.ended(ctx, failed)
			}
			if err := f.line(ctx, l); err != nil {
				return fmt.Errorf("feeding line %d: %w", l.number, err)
			}
			f.progress.Jobs++
			f.progress.Done = l.end
			f.Progress(f.progress)
		}
	}
}

// ended publishes what is left when no line comes any more, and tells why the file could not be read to its end.
func (f *feeder) ended(ctx context.Context, failed <-chan error) error {
	if ctx.Err() != nil { // the lines end then too
		return context.Cause(ctx)
	}
	err := f.flush(ctx)
	select {
	case fault := <-failed:
		return errors.Join(fault, err)
	default:
		return err
	}
}

// line prepares one job. Only what would fail every other line too comes back as an error.
func (f *feeder) line(ctx context.Context, l textLine) error {
	rec, result, err := f.prepare(ctx, l)
	var fatal *fatalError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &fatal):
		return fatal.err
	case err != nil:
		result = Result{State: Rejected, Error: err.Error()}
	}
	result.Line = l.number
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
func (f *feeder) prepare(ctx context.Context, text textLine) (event.Record, Result, error) {
	if text.err != nil {
		return event.Record{}, Result{}, text.err
	}
	l, err := parseLine(text.raw)
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
