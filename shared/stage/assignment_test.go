package stage

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAPartitionThatComesDuringTheDrainIsNotWorkedOn: the group may assign partitions while the instance leaves it. Work on one would never end, and
// the drain would wait for it for ever.
func TestAPartitionThatComesDuringTheDrainIsNotWorkedOn(t *testing.T) {
	t.Parallel()
	var a assignment
	tp := topicPartition{"windows", 3}
	p := newPartition(tp, (*kgo.Client)(nil), nil, nil)
	require.True(t, a.add(p))
	require.Equal(t, []*partition{p}, a.close())
	late := newPartition(topicPartition{"windows", 4}, (*kgo.Client)(nil), nil, nil)
	require.False(t, a.add(late))
	require.Nil(t, a.get(late.topicPartition))
	require.Empty(t, a.close())

	r := &Runner{}
	r.assigned.close()
	r.admit = &admitter{}
	r.onAssigned(context.Background(), nil, map[string][]int32{"windows": {5}})
	r.work.Wait() // nothing runs
	require.False(t, r.joined.Load())
}
