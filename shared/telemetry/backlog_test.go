package telemetry

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// observed gathers what a callback reports.
type observed struct {
	noop.Observer
	values map[metric.Float64Observable]map[attribute.Set]float64
}

func (o *observed) ObserveFloat64(inst metric.Float64Observable, v float64, opts ...metric.ObserveOption) {
	if o.values[inst] == nil {
		o.values[inst] = make(map[attribute.Set]float64)
	}
	o.values[inst][metric.NewObserveConfig(opts).Attributes()] = v
}

// gauge tells instruments apart.
type gauge struct {
	noop.Float64ObservableGauge
	name string
}

// TestBacklogAgesAndEnds: a record grows older between two readings, and a reading that nobody renews is not shown for ever.
func TestBacklogAgesAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &BacklogMetrics{latest: make(map[string]reading)}
		members, records, age := &gauge{name: "members"}, &gauge{name: "records"}, &gauge{name: "age"}
		look := func() map[metric.Float64Observable]map[attribute.Set]float64 {
			o := &observed{values: make(map[metric.Float64Observable]map[attribute.Set]float64)}
			m.observe(o, members, records, age)
			return o.values
		}
		require.Empty(t, look())
		m.Set(Backlog{Stage: "encoder", Group: "g", Members: 2, Partitions: []PartitionBacklog{
			{Topic: "t", Lane: "interactive", Partition: 3, Records: 7, Since: time.Now().Add(-time.Minute)},
			{Topic: "r", Lane: "interactive", Partition: 0, Records: 1, Retry: true, Since: time.Now().Add(time.Hour)},
		}})
		at := func(topic, partition string, retry bool) attribute.Set {
			return attribute.NewSet(AttrStage.String("encoder"), AttrMessagingGroup.String("g"), AttrTopic.String(topic),
				AttrMessagingPartition.String(partition), AttrLane.String("interactive"), AttrRetry.Bool(retry))
		}
		time.Sleep(15 * time.Second) //nolint:forbidigo // the bubble's clock
		got := look()
		require.InDelta(t, 75, got[age][at("t", "3", false)], 0)
		require.InDelta(t, 7, got[records][at("t", "3", false)], 0)
		require.Zero(t, got[age][at("r", "0", true)], "not due yet")
		require.Len(t, got[age], 2)
		require.Len(t, got[members], 1)
		time.Sleep(backlogLife) //nolint:forbidigo // the bubble's clock
		require.Empty(t, look(), "nobody looks any more")
	})
}
