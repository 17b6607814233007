package event_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// spec has every field and every option set.
func spec() event.JobSpec {
	s := event.JobSpec{
		ID: "job-1", Audio: event.AudioFile{SHA256: audioHash, Name: "lark song.mp3", Bytes: 1 << 20, URI: "file:///music/lark.mp3"},
		Questions: []string{"Key?", "Tempo?"}, Plan: event.PlanExplicit, Spans: []event.Span{{StartS: 1, EndS: 26}},
		Decode:      event.Decoding{MaxTokens: 64, Temperature: new(float32(0.5)), TopP: 0.9, Seed: 7, TopK: 20, RepetitionPenalty: 1.1},
		ModelDigest: "d1", Created: time.UnixMilli(1_790_000_000_000).UTC(), Deadline: time.UnixMilli(1_790_000_060_000).UTC(),
	}
	s.Options = event.Options{ResponseSchema: event.SchemaTags, Strict: true, Lane: event.LaneBulk, Combine: true, StartWithinS: 1.5, NoRetry: true}
	s.History = &[]event.Turn{{Role: event.RoleSystem, Text: "Be short."}, {Role: event.RoleUser, Text: "Metre?"}, {Role: event.RoleAssistant, Text: "4/4."}}
	return s
}

func TestJobSpecsSurviveTheRecord(t *testing.T) {
	t.Parallel()
	want := spec()
	options := reflect.ValueOf(want.Options)
	for i := range options.NumField() {
		require.False(t, options.Field(i).IsZero(), "spec must set every option, also %s", options.Type().Field(i).Name)
	}
	require.NoError(t, event.Validate(event.NewJob(want)))
	got, err := event.JobSpecOf(event.NewJob(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, plan := range []string{event.PlanAuto, event.PlanAll} {
		s := spec()
		s.Plan, s.Spans, s.Deadline = plan, nil, time.Time{}
		require.True(t, event.KnownPlan(plan))
		require.NoError(t, event.Validate(event.NewJob(s)))
		got, err := event.JobSpecOf(event.NewJob(s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	for _, plan := range []string{"", "ALL", "some"} {
		require.False(t, event.KnownPlan(plan))
		s := spec()
		s.Plan = plan
		require.ErrorContains(t, event.Validate(event.NewJob(s)), "plan 0 is not known")
	}
}

func TestQuestionsWithGapsAreRefused(t *testing.T) {
	t.Parallel()
	job := event.NewJob(spec())
	job.Questions[0].Index = 5
	_, err := event.JobSpecOf(job)
	require.ErrorIs(t, err, event.ErrSparse)
}

// TestTasksCarryWhatTheJobSays: whatever field a task has in common with its job is handed on.
func TestTasksCarryWhatTheJobSays(t *testing.T) {
	t.Parallel()
	job := event.NewJob(spec())
	job.ModelDigest = "0123"
	task := event.NewTask(job, &eventpb.Track{Sha256: audioHash}, &eventpb.Window{Hash: windowHash})
	fields, common := task.ProtoReflect().Descriptor().Fields(), 0
	for i := range fields.Len() {
		f := fields.Get(i)
		of := job.ProtoReflect().Descriptor().Fields().ByName(f.Name())
		if of == nil {
			continue
		}
		common++
		require.True(t, job.ProtoReflect().Has(of), "the job has %s", f.Name())
		require.True(t, task.ProtoReflect().Get(f).Equal(job.ProtoReflect().Get(of)), "the task has the job's %s", f.Name())
	}
	require.GreaterOrEqual(t, common, 7)
}

// TestOptionsAreWellFormed: the JSON of the options is the API's and the job store's.
func TestOptionsAreWellFormed(t *testing.T) {
	t.Parallel()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[event.Options]()) {
		require.True(t, f.Type.Comparable(), f.Name)
		require.True(t, strings.HasSuffix(f.Tag.Get("json"), ",omitempty"), "%s has the tag json:\"name,omitempty\"", f.Name)
		require.NotEmpty(t, f.Tag.Get("doc"), f.Name)
	}
	var fault *event.OptionError
	require.ErrorAs(t, event.Options{ResponseSchema: "poem"}.Validate(), &fault)
	require.Equal(t, "response_schema_unknown", fault.Code)
	require.EqualError(t, fault, `response_schema "poem" is not known; it is tags or empty`)
}

func TestHistoriesThatAreNoConversationsAreRefused(t *testing.T) {
	t.Parallel()
	user, assistant, system := event.Turn{Role: "user", Text: "a"}, event.Turn{Role: "assistant", Text: "b"}, event.Turn{Role: "system", Text: "c"}
	check := func(turns ...event.Turn) error {
		s := spec()
		s.History = &turns
		return event.Validate(event.NewJob(s))
	}
	require.NoError(t, check())
	require.NoError(t, check(system))
	require.NoError(t, check(system, user, assistant, user, assistant))
	for want, turns := range map[string][]event.Turn{
		"ends with the user's turn":                      {user},
		"of \"assistant\" where one of the user":         {assistant, user},
		"of \"user\" where one of the assistant":         {user, user},
		"of \"system\" where one of the user":            {user, assistant, system, user},
		"of \"robot\" where one of the user":             {{Role: "robot", Text: "x"}, assistant},
		"a turn without text":                            {user, {Role: "assistant"}},
		fmt.Sprintf("at most %d", event.MaxTurns):        slices.Repeat([]event.Turn{user, assistant}, event.MaxTurns),
		fmt.Sprintf("at most %d", event.MaxHistoryBytes): {{Role: "user", Text: strings.Repeat("x", event.MaxHistoryBytes)}, assistant},
	} {
		require.ErrorContains(t, check(turns...), want)
	}
}
