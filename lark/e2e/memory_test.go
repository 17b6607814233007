package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	// backlogJobs of 8 KB each are 160 MB on one topic, more than a stage may keep of them.
	backlogJobs = 20_000
	backlogPart = 500
)

// TestABacklogTakesNoMemory: with a catalogue of 160 MB before it, no process takes more memory than docs/architecture.md states.
func TestABacklogTakesNoMemory(t *testing.T) {
	if world.kafka != nil {
		t.Skip("the rest of the backlog would lie before the next tests: they share the topics of one Kafka")
	}
	s := start(t, options{data: t.TempDir(), env: testEngines()})
	known := s.submit(t, melody(seedOf(t), 2), client.Submission{Questions: []string{"What is the tempo?"}})
	known, _ = s.finish(t, known.ID)
	s.backlog(t, known.Audio)

	bulk := `lark_lane="bulk"`
	require.Eventually(t, func() bool {
		return s.metric(t, up.Chunker, "lark_stage_records_total", bulk) >= backlogJobs/10 && s.metric(t, up.LLM, "lark_stage_records_total", bulk) >= 100
	}, patience, poll)
	bounds := statedBounds(t)
	for _, stage := range append(workStages(), up.Gateway, up.Broker) {
		peak := s.peakMemory(t, stage)
		t.Logf("%s has held %d MiB at most", stage, peak>>20)
		require.Contains(t, bounds, stage)
		require.LessOrEqual(t, peak, bounds[stage], stage)
	}
}

// backlog publishes the jobs of a catalogue about a track that is known, as lark feed does.
func (s *stack) backlog(t *testing.T, track client.Audio) {
	t.Helper()
	producer, err := kafka.NewProducer(kafka.Config{Brokers: s.brokers()}, kafka.Deps{Log: quiet()})
	require.NoError(t, err)
	defer func() { require.NoError(t, producer.Close(context.Background())) }()
	long := strings.Repeat("Which instrument comes in at this moment of the piece? ", 36)
	for i := 0; i < backlogJobs; i += backlogPart {
		var recs []event.Record
		for k := i; k < i+backlogPart; k++ {
			spec := event.JobSpec{
				ID: event.DerivedJobID("backlog", strconv.Itoa(k)), Audio: event.AudioFile{SHA256: track.SHA256, Name: "track", Bytes: track.Bytes},
				Plan: client.PlanAuto, Options: event.Options{Lane: event.LaneBulk}, Created: time.Now(),
			}
			for q := range 4 {
				spec.Questions = append(spec.Questions, fmt.Sprintf("%d.%d %s", k, q, long))
			}
			rec, err := event.Encode("test", event.NewJob(spec))
			require.NoError(t, err)
			recs = append(recs, rec)
		}
		require.NoError(t, producer.Publish(t.Context(), recs...))
	}
}

// statedBounds reads the table of docs/architecture.md: the bytes that each process may take with lark-nano.
func statedBounds(t *testing.T) map[string]int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(world.root, "docs", "architecture.md"))
	require.NoError(t, err)
	bounds := map[string]int64{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+) \| (\d+) MiB \|`).FindAllStringSubmatch(string(text), -1) {
		mib, err := strconv.ParseInt(row[2], 10, 64)
		require.NoError(t, err)
		bounds[row[1]] = mib << 20
	}
	return bounds
}
