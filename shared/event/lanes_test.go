package event_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

func TestATopicOfWorkIsThereForEachLane(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"lark.jobs.v1", "lark.jobs.bulk.v1"}, event.InLanes(event.TopicJobs))
	require.Equal(t, []string{"lark.jobs.v1", "lark.jobs.bulk.v1"}, event.InLanes("lark.jobs.bulk.v1"))
	require.Equal(t, "lark.encoder.retry.5s.bulk.v1", event.InLane("lark.encoder.retry.5s.v1", event.LaneBulk))
	require.Equal(t, "copy", event.InLane("copy", ""), "topics of others have no lane")
	for _, topic := range event.Topics() {
		require.Equal(t, topic.Name, event.InLane(topic.Name, event.LaneOf(topic.Name)))
	}
	for _, stage := range event.WorkStages() {
		require.Equal(t, 2, stagesTopics(stage), stage)
	}
}

func stagesTopics(stage string) (n int) {
	for _, topic := range event.Topics() {
		if event.StageOf(topic.Name) == stage {
			n++
		}
	}
	return n
}

func TestAJobAndItsWindowsTravelInItsLane(t *testing.T) {
	t.Parallel()
	for lane, want := range map[string][2]string{
		"":                    {"lark.jobs.v1", event.LaneInteractive},
		event.LaneInteractive: {"lark.jobs.v1", event.LaneInteractive},
		event.LaneBulk:        {"lark.jobs.bulk.v1", event.LaneBulk},
	} {
		s := spec()
		s.Lane = lane
		job := event.NewJob(s)
		rec, err := event.Encode("test", job)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{rec.Topic, rec.Get(event.HeaderLane)})
		require.Equal(t, lane, event.NewTask(job, nil, nil).GetLane())
		outcomes, err := event.FailedOutcomes("test", rec, event.Failure{Code: event.CodeInternal})
		require.NoError(t, err)
		for _, o := range outcomes {
			require.Equal(t, event.TopicAnswers, o.Topic, "answers have no lane")
		}
	}
	s := spec()
	s.Lane = "fast"
	var fault *event.OptionError
	require.ErrorAs(t, event.Validate(event.NewJob(s)), &fault)
	require.Equal(t, "lane_unknown", fault.Code)
	require.ErrorContains(t, fault, "it is interactive or bulk")
}
