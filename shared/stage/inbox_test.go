package stage

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func polled(n, bytes int) []*kgo.Record {
	recs := make([]*kgo.Record, n)
	for i := range recs {
		recs[i] = &kgo.Record{Offset: int64(i), Value: make([]byte, bytes)}
	}
	return recs
}

func TestInboxPausesByBytesAndResumesAtAQuarter(t *testing.T) {
	t.Parallel()
	for name, records := range map[string]int{"large records": 8, "small records": 512} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stub := &consumerStub{}
			in := newInbox(t.Context(), topicPartition{"t", 1}, stub)
			size := pauseBytes/records - recordOverhead
			in.add(polled(records-1, size))
			require.Empty(t, stub.paused)
			in.add(polled(1, size))
			in.add(polled(1, size))
			require.Equal(t, []string{"t"}, stub.paused, "paused once")
			for range records - records/4 {
				require.NotNil(t, in.next())
				require.Empty(t, stub.resumed)
			}
			in.next()
			in.next()
			require.Equal(t, []string{"t"}, stub.resumed, "resumed once")
		})
	}
}

func TestInboxKeepsTheOrderAndEndsWithItsPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stop, cancel := context.WithCancel(t.Context())
		in := newInbox(stop, topicPartition{"t", 1}, &consumerStub{})
		seen := make(chan int64, 10)
		go func() {
			defer close(seen)
			for rec := in.next(); rec != nil; rec = in.next() {
				seen <- rec.Offset
			}
		}()
		synctest.Wait() // it waits for the first record
		in.add(polled(3, 1))
		for want := range int64(3) {
			require.Equal(t, want, <-seen)
		}
		cancel()
		_, open := <-seen
		require.False(t, open)
		in.add(polled(1, 1))
		require.Nil(t, in.next(), "a stopped partition takes nothing up")
	})
}

func TestInboxDoesNotLeaveAPauseBehind(t *testing.T) {
	t.Parallel()
	stub := &consumerStub{}
	in := newInbox(t.Context(), topicPartition{"t", 1}, stub)
	in.unpause()
	require.Empty(t, stub.resumed, "it was not paused")
	in.add(polled(1, pauseBytes))
	in.clear()
	in.unpause()
	require.Equal(t, []string{"t"}, stub.resumed)
}
