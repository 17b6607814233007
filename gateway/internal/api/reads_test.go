package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func TestGet(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("a", "b")
	got, err := r.client.Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateQueued, got.State)
	require.Equal(t, []client.Question{{Index: 0, Text: "a"}, {Index: 1, Text: "b"}}, got.Questions)
	require.Nil(t, got.Coverage)
	require.Zero(t, got.Counts.Expected)

	r.record(true, planOf(job.ID, 2, 2), answerOf(job.ID, 0, 0), answerOf(job.ID, 1, 0))
	r.say(progressOf(job.ID, "encoder", 0, "skipped"))
	r.say(progressOf(job.ID, "projector", 0, "waiting"))
	r.say(progressOf(job.ID, "llm", 1, "started"))
	got, err = r.client.Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateRunning, got.State)
	require.Equal(t, client.Counts{Questions: 2, Windows: 2, Expected: 4, Answered: 2, WindowsDone: 1, CacheHits: 1}, got.Counts)
	require.Equal(t, &client.Coverage{HeardS: 45, TrackS: 60, Ratio: 0.75}, got.Coverage, "0 to 25 and 20 to 45, the overlap once")
	require.Equal(t, []client.Stage{{Stage: "encoder", Skipped: 1}, {Stage: "projector", Waiting: 1}, {Stage: "llm", Started: 1}}, got.Stages)
	require.Len(t, got.Windows, 2)
	require.Nil(t, got.EndedAt)

	r.record(true, answerOf(job.ID, 0, 1), answerOf(job.ID, 1, 1))
	got, err = r.client.Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, got.State)
	require.NotNil(t, got.EndedAt)
	require.GreaterOrEqual(t, got.Timings.Total, got.Timings.FirstOutcome)
	require.Equal(t, "/v1/jobs/"+job.ID+"/events", got.Links.Events)
}

func TestNoSuchJob(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, id := range []string{event.NewJobID(), "x", "%27%20OR%201=1", "..%2f..%2fetc", "%00"} {
		for _, path := range []string{"", "/outcomes", "/events"} {
			a := r.do(http.MethodGet, "/v1/jobs/"+id+path, nil)
			require.Equal(t, "job_not_found", a.problem(t).Code, id+path)
			require.Equal(t, http.StatusNotFound, a.status)
		}
		require.Equal(t, "job_not_found", r.do(http.MethodPost, "/v1/jobs/"+id+"/cancel", nil).problem(t).Code)
	}
	require.Equal(t, "not_found", r.do(http.MethodGet, "/v2/jobs", nil).problem(t).Code)
	require.Equal(t, "method_not_allowed", r.do(http.MethodDelete, "/v1/jobs", nil).problem(t).Code)
}

func TestListPages(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var want []string
	for i := range 7 {
		want = append([]string{r.submit(fmt.Sprint("q", i)).ID}, want...)
	}
	var got []string
	opts, pages := client.ListOptions{Limit: 3}, 0
	for {
		page, err := r.client.List(t.Context(), opts)
		require.NoError(t, err)
		pages++
		for _, j := range page.Jobs {
			got = append(got, j.ID)
			require.Empty(t, j.Questions)
		}
		if page.Next == nil {
			break
		}
		opts.Cursor = *page.Next
	}
	require.Equal(t, want, got)
	require.Equal(t, 3, pages)

	_, err := r.client.Cancel(t.Context(), want[2])
	require.NoError(t, err)
	page, err := r.client.List(t.Context(), client.ListOptions{State: client.StateCancelling})
	require.NoError(t, err)
	require.Len(t, page.Jobs, 1)
	empty := r.do(http.MethodGet, "/v1/jobs?state=failed", nil)
	require.JSONEq(t, `{"jobs":[],"next":null}`, string(empty.body))
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	r := setup(t)
	id := r.submit("q").ID
	next := r.do(http.MethodGet, "/v1/jobs/"+id+"/outcomes", nil)
	var list client.OutcomeList
	require.NoError(t, json.Unmarshal(next.body, &list))
	require.NotNil(t, list.Next)
	for path, status := range map[string]int{
		"/v1/jobs?limit=0": 422, "/v1/jobs?limit=101": 422, "/v1/jobs?limit=x": 422, "/v1/jobs?state=fine": 422, "/v1/jobs?cursor=%21": 400,
		"/v1/jobs?cursor=" + *list.Next: 400, "/v1/jobs?unknown=1": 422, "/v1/jobs/" + id + "/outcomes?cursor=bzotMQ": 400,
		"/v1/jobs/" + id + "/outcomes?cursor=bzp4": 400, "/v1/jobs/" + id + "/outcomes?limit=501": 422,
	} {
		a := r.do(http.MethodGet, path, nil)
		require.Equal(t, status, a.status, "%s: %s", path, a.body)
		require.Contains(t, []string{"invalid_request", "cursor_invalid"}, a.problem(t).Code)
	}
	a := r.do(http.MethodGet, "/v1/jobs/"+id+"/events", nil, "Last-Event-ID", "abc")
	require.Equal(t, http.StatusBadRequest, a.status)
}

// TestOutcomesFollowARunningJob: the cursor leads to what is recorded later, and ends with the job.
func TestOutcomesFollowARunningJob(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("a")
	var seen []string
	cursor := ""
	read := func() (more bool) {
		page, err := r.client.OutcomePage(t.Context(), job.ID, cursor, 2)
		require.NoError(t, err)
		for _, o := range page.Outcomes {
			seen = append(seen, o.Answer)
		}
		if page.Next != nil {
			cursor = *page.Next
		}
		return page.Next != nil
	}
	require.True(t, read())
	r.record(false, planOf(job.ID, 5, 1), answerOf(job.ID, 0, 4))
	require.True(t, read())
	r.record(false, answerOf(job.ID, 0, 0), answerOf(job.ID, 0, 1), answerOf(job.ID, 0, 2), answerOf(job.ID, 0, 3))
	require.True(t, read())
	require.False(t, read())
	require.Equal(t, []string{"answer 0/4", "answer 0/0", "answer 0/1", "answer 0/2", "answer 0/3"}, seen)
}

// TestOutcomePagesGoToTheEnd: an outcome that was dropped for want of a window leaves a gap in the numbers, which ends no list early.
func TestOutcomePagesGoToTheEnd(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("a")
	r.record(false, answerOf(job.ID, 0, 9), planOf(job.ID, 3, 1), answerOf(job.ID, 0, 0), answerOf(job.ID, 0, 1), answerOf(job.ID, 0, 2))
	page, err := r.client.OutcomePage(t.Context(), job.ID, "", 2)
	require.NoError(t, err)
	require.NotNil(t, page.Next)
	page, err = r.client.OutcomePage(t.Context(), job.ID, *page.Next, 2)
	require.NoError(t, err)
	require.Len(t, page.Outcomes, 1)
	require.Nil(t, page.Next)
}

func TestOutcomeShape(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("a")
	task := &eventpb.Task{
		JobId: job.ID, Window: windowOf(0), Track: &eventpb.Track{Sha256: sum("RIFF"), DurationS: 60}, Cache: eventpb.Cache_CACHE_MISS, ModelDigest: "d",
		Timings: &eventpb.Timings{ChunkMs: 1, EncodeMs: 2, ProjectMs: 3, PrefillMs: 4, DecodeMs: 5}, CreatedUnixMs: time.Now().UnixMilli(),
	}
	o := event.FailedOutcome(task, &eventpb.Question{Text: "a"}, event.Failure{Code: "engine_error", Message: "boom", TraceID: "t", Model: "nano"})
	e := planOf(job.ID, 1, 1)
	r.record(false, e)
	e.Plan, e.Outcome = nil, o
	r.record(false, e)
	all, err := r.client.Outcomes(t.Context(), job.ID)
	require.NoError(t, err)
	got := all[0]
	require.Equal(t, client.OutcomeFailed, got.State)
	require.Equal(t, &client.OutcomeError{Code: "engine_error", Message: "boom"}, got.Error)
	require.Equal(t, client.Track{SHA256: sum("RIFF"), DurationS: 60}, got.Track)
	require.Equal(t, client.Window{EndS: 25, HeardS: 25, Hash: windowOf(0).GetHash()}, got.Window)
	require.InDelta(t, 5, got.Timings.Decode, 0)
	require.Equal(t, "miss", got.Cache)
	require.Equal(t, o.GetOutcomeId(), got.ID)
}

// What is wrong with the track stands in the job, in the outcome and in the window, and counts against the coverage.
func TestFaultsOfTheTrackAreShown(t *testing.T) {
	t.Parallel()
	r := setup(t)
	id := r.submit("a").ID
	p, a := planOf(id, 2, 1), answerOf(id, 0, 1)
	faults := client.Faults{MissingS: 30, Warnings: []client.Warning{{Code: "truncated", AtS: 60, Message: "the file breaks off"}}}
	p.Plan.Track.MissingS, p.Plan.Track.Warnings = 30, []*eventpb.Warning{{Code: "truncated", AtS: 60, Message: "the file breaks off"}}
	p.Plan.Windows[1].Warnings = []string{"truncated"}
	a.Outcome.Track, a.Outcome.Window = p.Plan.GetTrack(), p.Plan.GetWindows()[1]
	r.record(true, p, a)

	job, err := r.client.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, faults, job.Faults)
	require.Empty(t, job.Windows[0].Warnings)
	require.Equal(t, []string{"truncated"}, job.Windows[1].Warnings)
	require.InDelta(t, 90, job.Coverage.TrackS, 0)
	require.InDelta(t, 0.5, job.Coverage.Ratio, 1e-9)
	outcomes, err := r.client.Outcomes(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, faults, outcomes[0].Track.Faults)
	require.Equal(t, []string{"truncated"}, outcomes[0].Window.Warnings)
}

// What was measured in the window stands beside the answer, as the store kept it.
func TestChecksStandBesideTheAnswer(t *testing.T) {
	t.Parallel()
	r := setup(t)
	id := r.submit("a", "b").ID
	checked, tagged := answerOf(id, 0, 0), answerOf(id, 1, 0)
	checked.Outcome.Check = &eventpb.Check{Agrees: true, Measured: "121 BPM", Confidence: 0.75}
	tagged.Outcome.Support = map[string]*eventpb.Check{"key": {Measured: "E", Confidence: 0.5}}
	r.record(true, planOf(id, 1, 2), checked, tagged)

	outcomes, err := r.client.Outcomes(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, &client.Check{Agrees: true, Measured: "121 BPM", Confidence: 0.75}, outcomes[0].Check)
	require.Nil(t, outcomes[0].Support)
	require.Nil(t, outcomes[1].Check)
	require.Equal(t, map[string]client.Check{"key": {Measured: "E", Confidence: 0.5}}, outcomes[1].Support)
}

func TestTagsStandBesideTheAnswer(t *testing.T) {
	t.Parallel()
	r := setup(t)
	id := r.submit("a", "b", "c").ID
	want := tags.Tags{TempoBPM: 105, Key: "G", Mode: "major", Instruments: []string{"piano"}}
	tagged, failed := answerOf(id, 0, 0), answerOf(id, 1, 0)
	tagged.Outcome.ResponseSchema, tagged.Outcome.Answer = event.SchemaTags, want.String()
	failed.Outcome.ResponseSchema, failed.Outcome.Answer, failed.Outcome.State = event.SchemaTags, "", eventpb.State_STATE_FAILED
	failed.Outcome.Error = &eventpb.Error{Code: event.CodeSchema, Message: "m"}
	r.record(true, planOf(id, 1, 3), tagged, failed, answerOf(id, 2, 0))

	outcomes, err := r.client.Outcomes(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, outcomes, 3)
	require.Equal(t, &want, outcomes[0].Tags)
	require.Equal(t, want.String(), outcomes[0].Answer)
	require.Equal(t, client.SchemaTags, outcomes[1].ResponseSchema)
	require.Equal(t, "schema", outcomes[1].Error.Code)
	require.Nil(t, outcomes[1].Tags)
	require.Nil(t, outcomes[2].Tags)
	raw := string(r.do(http.MethodGet, "/v1/jobs/"+id+"/outcomes", nil).body)
	require.Contains(t, raw, `"tags":{"tempo_bpm":105,"key":"G","mode":"major","metre":null,"instruments":["piano"],"genre":null,"mood":null,"description":null}`)
	require.Equal(t, 1, strings.Count(raw, `"tags":{`), "an outcome without tags has no such field")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("q")
	for range 2 {
		got, err := r.client.Cancel(t.Context(), job.ID)
		require.NoError(t, err)
		require.Equal(t, client.StateCancelling, got.State)
		require.NotNil(t, got.CancelAskedAt)
	}
	out := r.outbox()
	require.Len(t, out, 2)
	control, err := event.DecodeAs[*eventpb.Control](out[1].Record)
	require.NoError(t, err)
	require.Equal(t, job.ID, control.GetJobId())
	require.Equal(t, event.TopicControl, out[1].Record.Topic)
	require.EqualValues(t, 3, r.woken.Load())

	r.record(false, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	got, err := r.client.Cancel(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, got.State, "it had been answered before the cancel reached it")
}

func TestModels(t *testing.T) {
	t.Parallel()
	models, err := setup(t).client.Models(t.Context())
	require.NoError(t, err)
	require.Equal(t, []client.Model{{ID: "nano", Object: client.ModelObject, OwnedBy: client.ModelOwner}}, models)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	r := setup(t)
	job := r.submit("a")
	require.Equal(t, "job_open", r.do(http.MethodDelete, "/v1/jobs/"+job.ID, nil).problem(t).Code)
	r.record(true, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	require.NoError(t, r.client.Delete(t.Context(), job.ID))
	_, err := r.client.Get(t.Context(), job.ID)
	problem, ok := client.AsProblem(err)
	require.True(t, ok)
	require.Equal(t, "job_not_found", problem.Code)
	require.NoError(t, r.client.Delete(t.Context(), job.ID), "deleting again changes nothing")
	require.ErrorContains(t, r.client.Delete(t.Context(), "nothing"), "there is no such job")
	require.Equal(t, "job_not_found", r.do(http.MethodDelete, "/v1/jobs/..%2f..%2fetc", nil).problem(t).Code)
}
