package topic

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/larkstream/larkstream/shared/event"
	ours "github.com/larkstream/larkstream/shared/kafka"
)

// TestLogin: the tool's client logs in with the mechanisms of the pipeline's, which are written for another library.
func TestLogin(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(mechanism, "lark", "secret"))
			require.NoError(t, err)
			t.Cleanup(broker.Close)
			brokers := broker.ListenAddrs()
			login := ours.Security{Mechanism: mechanism, Username: "lark", Password: "secret"}
			require.NoError(t, ours.Provision(t.Context(), ours.Config{Brokers: brokers, Security: login},
				[]event.TopicSpec{{Name: "copy", Partitions: 1, Retention: time.Hour}}))

			line := `{"topic":"copy","key":"k","raw":"aGVsbG8="}` + "\n"
			totals, err := Replay(t.Context(), ReplayConfig{Brokers: brokers, Security: login, Topic: "copy", FromLine: 1, Input: strings.NewReader(line)})
			require.NoError(t, err)
			require.EqualValues(t, 1, totals.Published)
			var out bytes.Buffer
			records, err := Dump(t.Context(), DumpConfig{Brokers: brokers, Security: login, Topic: "copy", Partition: AllPartitions, To: latestPosition(t), Raw: true}, &out)
			require.NoError(t, err)
			require.EqualValues(t, 1, records)
			require.Contains(t, out.String(), "aGVsbG8=")

			wrong := ours.Security{Mechanism: mechanism, Username: "lark", Password: "guess"}
			_, err = Dump(t.Context(), DumpConfig{Brokers: brokers, Security: wrong, Topic: "copy", Partition: AllPartitions}, &out)
			require.ErrorContains(t, err, "KAFKA_USERNAME", "the remedy")
			require.NotContains(t, err.Error(), "guess")
		})
	}
}

func latestPosition(t *testing.T) Position {
	t.Helper()
	p, err := ParsePosition("latest", time.Now())
	require.NoError(t, err)
	return p
}
