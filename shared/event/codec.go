package event

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Record types, the CloudEvents ce_type.
const (
	TypeJob            = "larkstream.job.v1"
	TypeWindowReady    = "larkstream.window.ready.v1"
	TypeEmbeddingReady = "larkstream.embedding.ready.v1"
	TypePromptReady    = "larkstream.prompt.ready.v1"
	TypeJobPlan        = "larkstream.job.plan.v1"
	TypeOutcome        = "larkstream.outcome.v1"
	TypeEvent          = "larkstream.event.v1"
	TypeControl        = "larkstream.control.v1"
)

// MaxValueBytes bounds the value of a record that Decode accepts and Encode makes. The largest
// legitimate record is a plan of MaxWindows windows.
const MaxValueBytes = 768 << 10

// ErrUndecodable wraps every error of Decode: this version cannot handle the record. ErrInvalid and ErrNewer wrap it too.
var ErrUndecodable = errors.New("undecodable record")

var (
	// ErrInvalid says that the record could be read, but its message breaks a rule of Validate.
	ErrInvalid = fmt.Errorf("%w: it breaks a rule", ErrUndecodable)
	// ErrNewer says that a newer version of Larkstream wrote the record: its ce_type is one of ours with a higher version.
	ErrNewer = fmt.Errorf("%w: a newer version wrote it", ErrUndecodable)
)

// envelope is what Encode needs to know of a message.
type envelope struct {
	topic, typ, key, job, id string
	lane                     string // "" for what has none
}

// Encode wraps a message in the record that carries it: topic (that of the job's lane), key, CloudEvents headers with an id
// derived from the content (so that the same step done twice makes the same id), and the protobuf
// value. source is the stage that sends it, e.g. "chunker".
func Encode(source string, msg proto.Message) (Record, error) {
	env, err := envelopeOf(msg)
	if err != nil {
		return Record{}, err
	}
	if err := Validate(msg); err != nil {
		return Record{}, fmt.Errorf("encoding %s: %w", env.typ, err)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		return Record{}, fmt.Errorf("encoding %s: %w", env.typ, err)
	}
	if len(value) > MaxValueBytes {
		return Record{}, fmt.Errorf("encoding %s: %d bytes, limit %d", env.typ, len(value), MaxValueBytes)
	}
	rec := Record{
		Topic: InLane(env.topic, env.lane),
		Key:   env.key,
		Value: value,
		Headers: []Header{
			{HeaderSpecVersion, []byte("1.0")},
			{HeaderID, []byte(env.id)},
			{HeaderType, []byte(env.typ)},
			{HeaderSource, []byte("/larkstream/" + source)},
			{HeaderSubject, []byte(env.job)},
			{HeaderTime, []byte(time.Now().UTC().Format(time.RFC3339Nano))},
			{HeaderContentType, []byte(ContentType)},
		},
	}
	if env.lane != "" {
		rec.Headers = append(rec.Headers, Header{HeaderLane, []byte(env.lane)})
	}
	return rec, nil
}

// Decode returns the validated message of a record, chosen by its ce_type. Every error wraps
// ErrUndecodable.
func Decode(rec Record) (proto.Message, error) {
	if len(rec.Value) > MaxValueBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrUndecodable, len(rec.Value), MaxValueBytes)
	}
	msg := newMessage(rec.Get(HeaderType))
	if msg == nil {
		if older := olderType(rec.Get(HeaderType)); older != "" {
			return nil, fmt.Errorf("%w: its ce_type is %.80q, this version knows %s", ErrNewer, rec.Get(HeaderType), older)
		}
		return nil, fmt.Errorf("%w: unknown ce_type %.80q", ErrUndecodable, rec.Get(HeaderType))
	}
	if err := proto.Unmarshal(rec.Value, msg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if err := Validate(msg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return msg, nil
}

// olderType is the type that this version knows under the name of a newer type; "" if typ is no newer version of a known type.
func olderType(typ string) string {
	name, version, ok := cutVersion(typ)
	if n, err := strconv.Atoi(version); !ok || err != nil || n < 2 || newMessage(name+".v1") == nil {
		return ""
	}
	return name + ".v1"
}

func cutVersion(typ string) (name, version string, ok bool) {
	i := strings.LastIndex(typ, ".v")
	if i < 0 {
		return "", "", false
	}
	return typ[:i], typ[i+len(".v"):], true
}

// DecodeAs is Decode for a handler that expects one type.
func DecodeAs[T proto.Message](rec Record) (T, error) {
	var zero T
	msg, err := Decode(rec)
	if err != nil {
		return zero, err
	}
	typed, ok := msg.(T)
	if !ok {
		return zero, fmt.Errorf("%w: unexpected ce_type %.80q on %s", ErrUndecodable, rec.Get(HeaderType), rec.Topic)
	}
	return typed, nil
}

func newMessage(typ string) proto.Message {
	switch typ {
	case TypeJob:
		return &eventpb.Job{}
	case TypeWindowReady:
		return &eventpb.WindowReady{}
	case TypeEmbeddingReady:
		return &eventpb.EmbeddingReady{}
	case TypePromptReady:
		return &eventpb.PromptReady{}
	case TypeJobPlan:
		return &eventpb.JobPlan{}
	case TypeOutcome:
		return &eventpb.Outcome{}
	case TypeEvent:
		return &eventpb.Event{}
	case TypeControl:
		return &eventpb.Control{}
	}
	return nil
}

func envelopeOf(msg proto.Message) (envelope, error) {
	switch m := msg.(type) {
	case *eventpb.Job:
		env := jobEnvelope(TopicJobs, TypeJob, m.GetJobId(), deriveID(TypeJob, m.GetJobId()))
		env.lane = laneName(m.GetLane())
		return env, nil
	case *eventpb.WindowReady:
		return taskEnvelope(TopicWindows, TypeWindowReady, m.GetTask()), nil
	case *eventpb.EmbeddingReady:
		return taskEnvelope(TopicEmbeddings, TypeEmbeddingReady, m.GetTask()), nil
	case *eventpb.PromptReady:
		return taskEnvelope(TopicPrompts, TypePromptReady, m.GetTask()), nil
	case *eventpb.JobPlan:
		return jobEnvelope(TopicAnswers, TypeJobPlan, m.GetJobId(), deriveID(TypeJobPlan, m.GetJobId())), nil
	case *eventpb.Outcome:
		return jobEnvelope(TopicAnswers, TypeOutcome, m.GetJobId(), m.GetOutcomeId()), nil
	case *eventpb.Event:
		return jobEnvelope(TopicEvents, TypeEvent, m.GetJobId(), eventID(m)), nil
	case *eventpb.Control:
		return envelope{topic: TopicControl, typ: TypeControl, key: controlKey(m), job: m.GetJobId(), id: deriveID(TypeControl, m.GetJobId(), m.GetKind())}, nil
	}
	return envelope{}, fmt.Errorf("encoding record: no topic carries %T", msg)
}

// jobEnvelope is for records that are keyed by their job.
func jobEnvelope(topic, typ, job, id string) envelope {
	return envelope{topic: topic, typ: typ, key: job, job: job, id: id}
}

func taskEnvelope(topic, typ string, t *eventpb.Task) envelope {
	return envelope{
		topic: topic, typ: typ, key: t.GetWindow().GetHash(), job: t.GetJobId(),
		id:   deriveID(typ, t.GetJobId(), itoa(t.GetWindow().GetIndex())),
		lane: laneName(t.GetLane()),
	}
}
