package stage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// crashingStage, when set in the environment, makes this test binary a stage: the broker's address, a space, the object store.
const crashingStage = "LARK_TEST_CRASHING_STAGE"

const deadly = 17 // index of the window that kills its stage

// TestCrashingStage is the process that TestARecordThatKillsItsProcess starts again and again.
func TestCrashingStage(t *testing.T) {
	addr, store, ok := strings.Cut(os.Getenv(crashingStage), " ")
	if !ok {
		t.Skip("it runs as a process of another test")
	}
	marks, err := blob.Open(t.Context(), store)
	require.NoError(t, err)
	out, err := kafka.NewProducer(kafka.Config{Brokers: []string{addr}}, kafka.Deps{Log: testLog()})
	require.NoError(t, err)
	runner, err := stage.New(stage.Config{Stage: "test", Topics: []string{event.TopicWindows}, RetryDelays: testDelays}, stage.Deps{
		Kafka: kafka.Config{Brokers: []string{addr}}, Producer: out, Log: testLog(), Marks: marks,
		Handle: func(_ context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
			if msg.(*eventpb.WindowReady).GetTask().GetWindow().GetIndex() == deadly {
				return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return answer(rec)
		},
	})
	require.NoError(t, err)
	require.NoError(t, runner.Run(t.Context()))
}

// A record whose handler takes the whole process down comes to its end, and so do its neighbours.
func TestARecordThatKillsItsProcess(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	const windows = 40
	for i := range uint32(windows) {
		c.publish(window("job", fmt.Sprint("key", i), i, 1))
	}
	store := "file://" + t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var deaths atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashingStage$")
			cmd.Env = append(os.Environ(), crashingStage+"="+c.config.Brokers[0]+" "+store)
			out, err := cmd.CombinedOutput() // killed, by its record or at the end of this test
			if ctx.Err() != nil {
				return
			}
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
				deaths.Add(1)
			} else {
				t.Logf("the stage ended otherwise: %v: %s", err, out)
			}
			c.forget("lark.test")
		}
	}()
	seen := c.waitOutcomes(windows)
	require.Len(t, c.waitDead(1), 1) // before the end: outcome and letter are written side by side
	cancel()
	require.Len(t, seen, windows)
	for id, os := range seen {
		if id != event.OutcomeID("job", 0, deadly) {
			require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState())
			continue
		}
		require.Equal(t, event.CodeCrashedStage, os[0].GetError().GetCode())
	}
	<-ended
	require.EqualValues(t, 3, deaths.Load())
}

// forget removes the dead members of a group, which the broker would do after the session timeout.
func (c *cluster) forget(group string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.config.Brokers...))
	if err != nil {
		return
	}
	defer client.Close()
	groups, err := kadm.NewClient(client).DescribeGroups(c.t.Context(), group)
	if err != nil {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range groups[group].Members {
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID = m.MemberID
		req.Members = append(req.Members, member)
	}
	_, _ = req.RequestWith(c.t.Context(), client)
}
