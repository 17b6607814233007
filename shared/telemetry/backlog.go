package telemetry

import (
	"context"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// backlogLife is how long a reading is shown. After that the metrics are absent, and alerts for absence tell that nobody looks any more.
const backlogLife = time.Minute

// Backlog is what a stage's consumer group has left to do.
type Backlog struct {
	Stage, Group string
	// Members is how many instances the group has.
	Members    int
	Partitions []PartitionBacklog
}

// PartitionBacklog is the part of a Backlog on one partition.
type PartitionBacklog struct {
	Topic, Lane string
	// Retry is set for a topic on which records wait for another attempt.
	Retry     bool
	Partition int32
	// Records are not committed.
	Records int64
	// Since is when the first of them was written, or is due on a retry topic; zero where there are none.
	Since time.Time
}

// BacklogMetrics shows the latest readings of all groups. It is safe for concurrent use.
type BacklogMetrics struct {
	mu     sync.Mutex
	latest map[string]reading // by stage
}

type reading struct {
	backlog Backlog
	at      time.Time
}

// NewBacklogMetrics registers the gauges with the global meter provider.
func NewBacklogMetrics() *BacklogMetrics {
	m := &BacklogMetrics{latest: make(map[string]reading)}
	i := newInstruments()
	members := i.observed(MetricStageMembers, "{member}", "Instances in the consumer group of a stage, as the broker says.")
	records := i.observed(MetricBacklogRecords, unitRecords, "Records that a stage has not committed, by partition, as the broker says.")
	age := i.observed(MetricBacklogAge, unitSeconds,
		"Age of the first record that a stage has not committed, by partition, from its writing or, on a retry topic, from its due time; 0 without one.")
	_, err := i.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m.observe(o, members, records, age)
		return nil
	}, members, records, age)
	if err != nil {
		otel.Handle(err)
	}
	return m
}

// Set takes a new reading of a stage.
func (m *BacklogMetrics) Set(b Backlog) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest[b.Stage] = reading{backlog: b, at: time.Now()}
}

func (m *BacklogMetrics) observe(o metric.Observer, members, records, age metric.Float64Observable) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, r := range m.latest {
		if now.Sub(r.at) > backlogLife {
			continue
		}
		of := r.backlog
		o.ObserveFloat64(members, float64(of.Members), metric.WithAttributes(AttrStage.String(of.Stage), AttrMessagingGroup.String(of.Group)))
		for _, p := range of.Partitions {
			at := metric.WithAttributes(AttrStage.String(of.Stage), AttrMessagingGroup.String(of.Group), AttrTopic.String(p.Topic),
				AttrMessagingPartition.String(strconv.Itoa(int(p.Partition))), AttrLane.String(p.Lane), AttrRetry.Bool(p.Retry))
			o.ObserveFloat64(records, float64(p.Records), at)
			seconds := 0.0
			if !p.Since.IsZero() {
				seconds = max(0, now.Sub(p.Since).Seconds())
			}
			o.ObserveFloat64(age, seconds, at)
		}
	}
}
