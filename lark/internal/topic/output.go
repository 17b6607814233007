package topic

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/segmentio/kafka-go"
)

// record copies a fetched record, whose bytes are the client's.
func (d *dumper) record(s span, rec *kafka.Record) (Record, error) {
	out := Record{Topic: d.Topic, Partition: s.partition, Offset: rec.Offset, Time: rec.Time.UTC(), Headers: []Header{}}
	var err error
	if out.Key, err = readAll(rec.Key); err != nil {
		return Record{}, err
	}
	if out.Raw, err = readAll(rec.Value); err != nil {
		return Record{}, err
	}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, Header{Key: Text(h.Key), Value: h.Value})
	}
	return out, nil
}

// readAll reads and closes bytes of the client; nil stays nil.
func readAll(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	return io.ReadAll(b)
}

// outputError is a failure of the dump's output, which no other fetch can mend.
type outputError struct{ err error }

func (e *outputError) Error() string { return "writing the dump: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// write prints a record, unless its key is not asked for.
func (d *dumper) write(rec Record) error {
	if d.Key != nil && (rec.Key == nil || *d.Key != string(rec.Key)) {
		return nil
	}
	if !d.Raw {
		rec.decode()
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rec); err != nil {
		return &outputError{err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Max > 0 && d.records >= d.Max {
		return errEnough
	}
	if _, err := d.out.Write(line.Bytes()); err != nil {
		return &outputError{err}
	}
	d.records++
	if d.records == d.Max {
		return errEnough
	}
	return nil
}

func (d *dumper) flushIf(yes bool) error {
	if !yes {
		return nil
	}
	return d.flush()
}

func (d *dumper) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Flush(); err != nil {
		return &outputError{err}
	}
	return nil
}
