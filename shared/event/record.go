package event

import "time"

// Header is one record header. Keys may repeat on the wire; the last one counts.
type Header struct {
	Key   string
	Value []byte
}

// Record is a Kafka record without a client library's type around it.
type Record struct {
	Topic   string
	Key     string
	Value   []byte
	Headers []Header
	// Time is when the record was written; zero for a record not yet written.
	Time time.Time
}

// Header keys. The ce_ keys are CloudEvents 1.0 in Kafka binary mode; the record's key is the
// partition key; traceparent is W3C trace context, written by the telemetry package.
const (
	HeaderID          = "ce_id"
	HeaderType        = "ce_type"
	HeaderSource      = "ce_source"
	HeaderTime        = "ce_time"
	HeaderSpecVersion = "ce_specversion"
	// HeaderSubject holds the job id, so that a record can be followed without decoding it.
	HeaderSubject     = "ce_subject"
	HeaderContentType = "content-type"
	// HeaderLane is the lane of a job or a window, so that a record's lane is known without decoding it.
	HeaderLane = "lark-lane"
	// HeaderTenant is whose record it is; without it the record is TenantDefault's. A stage copies it to all that it makes of the record.
	HeaderTenant = "lark-tenant"
	// HeaderIsolated is IsolatedYes on a record whose tenant shares nothing that stages keep with other tenants. A stage copies it as HeaderTenant.
	HeaderIsolated = "lark-isolated"
)

// Headers that the stage runner adds to a record on a retry topic or on the dead-letter topic.
const (
	HeaderStage           = "lark-stage"
	HeaderAttempt         = "lark-attempt"
	HeaderNotBefore       = "lark-not-before"
	HeaderReason          = "lark-reason"
	HeaderErrorText       = "lark-error"
	HeaderFirstError      = "lark-first-error"
	HeaderOriginTopic     = "lark-origin-topic"
	HeaderOriginPartition = "lark-origin-partition"
	HeaderOriginOffset    = "lark-origin-offset"
	// HeaderPutBackSince is when a record was first put back for another instance, RFC 3339.
	HeaderPutBackSince = "lark-put-back-since"
	// HeaderPutBacks counts how often a record was put back for another instance.
	HeaderPutBacks = "lark-put-backs"
	// HeaderHops counts how often a window was sent back because its data was not there.
	HeaderHops = "lark-hops"
	// HeaderRedriven counts how often a dead letter was sent back to its topic.
	HeaderRedriven = "lark-redriven"
	// HeaderTruncated marks a dead letter whose value and foreign headers did not fit; it holds the size of the value in bytes.
	HeaderTruncated = "lark-truncated"
	// HeaderKey holds the record's key while the record has another one on a retry topic.
	HeaderKey = "lark-key"
)

// ContentType of every record value.
const ContentType = "application/protobuf"

// Get returns the last header of that key, or "".
func (r Record) Get(key string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// With returns a copy of the record whose only header of that key is value.
func (r Record) With(key, value string) Record {
	headers := make([]Header, 0, len(r.Headers)+1)
	for _, h := range r.Headers {
		if h.Key != key {
			headers = append(headers, h)
		}
	}
	r.Headers = append(headers, Header{Key: key, Value: []byte(value)})
	return r
}
