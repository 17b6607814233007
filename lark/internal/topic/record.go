package topic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/larkstream/larkstream/shared/event"
)

// Record is one line of a dump.
type Record struct {
	Topic     string    `json:"topic"`
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	// Key is nil for a record without a key.
	Key     Text     `json:"key"`
	Headers []Header `json:"headers"`
	// Type is the record's ce_type; Payload its value as JSON, or DecodeError why the value cannot be decoded.
	Type        string          `json:"type,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	DecodeError string          `json:"decode_error,omitempty"`
	// Raw is the value as it is on the topic, in base64; nil (null) is a tombstone. Replay publishes Raw, never Payload.
	Raw []byte `json:"raw"`
}

// Header is a record header.
type Header struct {
	Key   Text `json:"key"`
	Value Text `json:"value"`
}

// Text is bytes that are mostly text. Its JSON is a string where the bytes are UTF-8, {"base64":"..."} where they are not,
// and null for nil.
type Text []byte

type binary struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	switch {
	case t == nil:
		return []byte("null"), nil
	case utf8.Valid(t):
		return json.Marshal(string(t))
	}
	return json.Marshal(binary{t})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	switch {
	case bytes.Equal(raw, []byte("null")):
		*t = nil
		return nil
	case bytes.HasPrefix(raw, []byte("{")):
		var b binary
		if err := strict(raw, &b); err != nil {
			return err
		}
		if b.Base64 == nil {
			return errors.New("base64 is missing")
		}
		*t = b.Base64
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	*t = Text(s)
	return nil
}

// decode fills Type, Payload and DecodeError.
func (r *Record) decode() {
	rec := event.Record{Topic: r.Topic, Key: string(r.Key), Value: r.Raw}
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, event.Header{Key: string(h.Key), Value: h.Value})
	}
	r.Type = rec.Get(event.HeaderType)
	if r.Raw == nil { // a tombstone has nothing to decode
		return
	}
	msg, err := event.Decode(rec)
	if err == nil {
		r.Payload, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(msg)
	}
	if err != nil {
		r.DecodeError = err.Error()
	}
}

// message is the record as it is to be published: without a time, because retention counts from the time and would delete
// an old record at once.
func (r *Record) message(topic string) kafka.Message {
	m := kafka.Message{Topic: topic, Key: r.Key, Value: r.Raw}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, kafka.Header{Key: string(h.Key), Value: h.Value})
	}
	return m
}

// ParseRecord reads a line of a dump. It refuses unknown fields and a line without raw, so that a slip of an editor never
// publishes something else than what was dumped.
func ParseRecord(line []byte) (Record, error) {
	if !utf8.Valid(line) {
		return Record{}, errors.New("line is not UTF-8")
	}
	var parsed struct {
		Record
		Raw json.RawMessage `json:"raw"`
	}
	if err := strict(line, &parsed); err != nil {
		return Record{}, fmt.Errorf("reading record: %w", err)
	}
	rec := parsed.Record
	switch {
	case rec.Topic == "":
		return Record{}, errors.New("topic is missing")
	case parsed.Raw == nil:
		return Record{}, errors.New("raw is missing (null is a tombstone)")
	}
	if err := json.Unmarshal(parsed.Raw, &rec.Raw); err != nil {
		return Record{}, fmt.Errorf("reading raw: %w", err)
	}
	return rec, nil
}

// strict reads one JSON value without unknown fields.
func strict(raw []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}
