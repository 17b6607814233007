package event

import (
	"slices"
	"strings"
	"time"
)

// Topics of the pipeline. Those that carry work, and the retry topics, are there once for each lane, see InLane. The version counts changes in what a record means, not changes of its schema.
const (
	TopicJobs       = "lark.jobs.v1"
	TopicWindows    = "lark.windows.v1"
	TopicEmbeddings = "lark.embeddings.v1"
	TopicPrompts    = "lark.prompts.v1"
	TopicAnswers    = "lark.answers.v1"
	TopicEvents     = "lark.events.v1"
	TopicControl    = "lark.control.v1"
	TopicDead       = "lark.dead.v1"
)

// RetryDelays are the delays of the retry topics, shortest first.
func RetryDelays() []time.Duration {
	return []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute}
}

// RetryTopic names the topic on which a stage's records wait for delay: lark.encoder.retry.5s.v1.
func RetryTopic(stage string, delay time.Duration) string {
	return "lark." + stage + ".retry." + shortDuration(delay) + ".v1"
}

// StageOf is the work stage that consumes a topic; "" for a topic that no work stage consumes.
func StageOf(topic string) string {
	switch InLane(topic, LaneInteractive) {
	case TopicJobs:
		return StageChunker
	case TopicWindows:
		return StageEncoder
	case TopicEmbeddings:
		return StageProjector
	case TopicPrompts:
		return StageLLM
	}
	return ""
}

// Group is the consumer group of a stage.
func Group(stage string) string { return "lark." + stage }

// ReadBy are the topics that a stage reads in all lanes, its retry topics included.
func ReadBy(stage string) []string {
	var topics []string
	for _, t := range Topics() {
		jobs := InLane(t.Name, LaneInteractive) == TopicJobs
		if StageOf(t.Name) == stage || (stage == StageRecorder && (t.Name == TopicAnswers || jobs)) {
			topics = append(topics, t.Name)
		}
	}
	for _, delay := range RetryDelays() {
		topics = append(topics, InLanes(RetryTopic(stage, delay))...)
	}
	return topics
}

// IsRetry tells whether records wait on a topic for another attempt.
func IsRetry(topic string) bool { return slices.Contains(strings.Split(topic, "."), "retry") }

// shortDuration prints 5s, 1m, 10m or 250ms rather than 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// TopicSpec is how a topic is made where it does not exist yet.
type TopicSpec struct {
	Name string
	// Grow gives an existing topic more partitions where it has fewer than Partitions. Set by WithPartitions.
	Grow bool
	// Partitions of the topic. Work topics have at least four times as many as a small
	// deployment has encoders; a topic's key order holds within a partition.
	Partitions int32
	// Retention of records; 0 for a compacted topic, which keeps the last record of each key.
	Retention time.Duration
	// Bytes bounds a partition: the broker deletes the oldest records beyond it, whatever their age. 0 sets no bound.
	Bytes int64
	// Trimmed topics carry work: the broker deletes nothing by itself, whatever its age. The stage that reads the topic deletes
	// records once they are older than Retention and every group that reads the topic has committed them.
	Trimmed   bool
	Compacted bool
	// Key says what records are keyed by, for documentation.
	Key string
	// Types are the record types (ce_type) on the topic; empty where any type may appear.
	Types []string
}

// WorkPartitions is how many partitions a new topic that carries work has, unless somebody asks for another number.
const WorkPartitions = 8

const day = 24 * time.Hour

// BrokerRetention is the retention.ms that the topic is made with; -1 for a topic from which the broker deletes nothing by age.
func (t TopicSpec) BrokerRetention() int64 {
	if t.Compacted || t.Trimmed {
		return -1
	}
	return t.Retention.Milliseconds()
}

// MaxPartitions bounds the partitions that may be asked for.
const MaxPartitions = 1000

// WithPartitions gives the topics that carry work n partitions; existing ones with fewer grow. 0 changes nothing. The other topics do not grow:
// the events of a job are numbered within one partition, and control and dead letters are read whole by everyone.
func WithPartitions(topics []TopicSpec, n int32) []TopicSpec {
	out := slices.Clone(topics)
	for i := range out {
		if n > 0 && out[i].Trimmed {
			out[i].Partitions, out[i].Grow = n, true
		}
	}
	return out
}

// WithEventBytes bounds each partition of the events. Streams are told from events, and nothing else depends on them. 0 changes nothing.
func WithEventBytes(topics []TopicSpec, n int64) []TopicSpec {
	out := slices.Clone(topics)
	for i := range out {
		if out[i].Name == TopicEvents {
			out[i].Bytes = n
		}
	}
	return out
}

// Topics lists every topic of the system. docs/api/asyncapi.yaml is compared with it by a test.
func Topics() []TopicSpec {
	var specs []TopicSpec
	for _, lane := range Lanes() {
		specs = append(specs,
			workTopic(InLane(TopicJobs, lane), "job id", TypeJob, TypeWindowReady),
			workTopic(InLane(TopicWindows, lane), "window hash", TypeWindowReady),
			workTopic(InLane(TopicEmbeddings, lane), "window hash", TypeEmbeddingReady),
			workTopic(InLane(TopicPrompts, lane), "window hash", TypePromptReady),
		)
		for _, stage := range Stages() {
			for _, delay := range RetryDelays() {
				specs = append(specs, workTopic(InLane(RetryTopic(stage, delay), lane), "as the source"))
			}
		}
	}
	return append(specs, []TopicSpec{
		{Name: TopicAnswers, Partitions: WorkPartitions, Retention: 30 * day, Trimmed: true, Key: "job id", Types: []string{TypeJobPlan, TypeOutcome}},
		{Name: TopicEvents, Partitions: WorkPartitions, Retention: day, Key: "job id", Types: []string{TypeEvent}},
		{Name: TopicControl, Partitions: 1, Compacted: true, Key: "job id; watch/ and the job id for a word on streams", Types: []string{TypeControl}},
		{Name: TopicDead, Partitions: 1, Retention: 30 * day, Key: "as the source"},
	}...)
}

// workTopic is a topic of which nothing is deleted before it is done.
func workTopic(name, key string, types ...string) TopicSpec {
	return TopicSpec{Name: name, Partitions: WorkPartitions, Retention: 7 * day, Trimmed: true, Key: key, Types: types}
}
