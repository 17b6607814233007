package api

import (
	"cmp"
	"context"
	"math"
	"sort"
	"time"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// jobSummary is a job as it stands in lists.
func (a *API) jobSummary(ctx context.Context, j store.Job) client.Job {
	self := "/v1/jobs/" + j.ID
	return client.Job{
		ID: j.ID, State: string(j.State), CreatedAt: j.Created,
		DeadlineAt: timePtr(j.Deadline), CancelAskedAt: timePtr(j.CancelAsked), EndedAt: timePtr(j.Ended),
		Audio:  client.Audio{SHA256: j.Audio.SHA256, Name: j.Audio.Name, Bytes: j.Audio.Bytes, DurationS: j.DurationS},
		Plan:   client.Plan{Mode: j.Plan, Spans: j.Spans},
		Decode: j.Decode, Options: j.Options, Faults: j.Faults,
		Counts: client.Counts{
			Questions: j.QuestionCount, Windows: j.WindowCount, Expected: j.Expected(),
			Answered: j.Answered, Failed: j.Failed, Cancelled: j.Cancelled,
		},
		Timings: client.JobTimings{
			Planned: since(j.Created, j.Planned), FirstOutcome: since(j.Created, j.FirstOutcome), Total: since(j.Created, j.Ended),
		},
		Labels: j.Labels, Metadata: j.Metadata, Cost: a.deps.Prices.of(j.Cost), ExpiresAt: a.expires(ctx, j), TraceID: j.TraceID, Webhook: j.Hook, Run: j.RunID, Batch: j.BatchID,
		Links: client.Links{Self: self, Outcomes: self + "/outcomes", Events: self + "/events", Cancel: self + "/cancel"},
	}
}

// jobView is a job with all that is known of it.
func (a *API) jobView(ctx context.Context, j store.Job, p stream.Progress) client.Job {
	v := a.jobSummary(ctx, j)
	for i, text := range j.Questions {
		v.Questions = append(v.Questions, client.Question{Index: i, Text: text})
	}
	for _, w := range j.Windows {
		v.Windows = append(v.Windows, client.Window{Index: w.Index, StartS: w.Span.StartS, EndS: w.Span.EndS, HeardS: w.HeardS, Hash: w.Hash, Warnings: w.Warnings})
	}
	v.Counts.WindowsDone, v.Counts.CacheHits = j.WindowsDone, j.CacheHits
	if j.DurationS > 0 {
		v.Coverage = coverage(j)
	}
	for _, name := range event.WorkStages() {
		if c := p.Stage(name); c != (stream.Counts{}) {
			v.Stages = append(v.Stages, client.Stage{Stage: name, Started: c.Started, Waiting: c.Waiting, Retrying: c.Retrying, Done: c.Done, Skipped: c.Skipped})
		}
	}
	return v
}

// expires is when the gateway deletes a job; nil for a job that has not ended and where jobs stay for ever.
func (a *API) expires(ctx context.Context, j store.Job) *time.Time {
	own := time.Duration(auth.From(ctx).Tenant.Limits.RetentionS * float64(time.Second))
	retention := cmp.Or(own, a.deps.Retention)
	if j.Ended.IsZero() || retention <= 0 {
		return nil
	}
	return timePtr(j.Ended.Add(retention))
}

// coverage measures what the windows hear of the track, overlaps counted once.
func coverage(j store.Job) *client.Coverage {
	heard := make([]event.Span, 0, len(j.Windows))
	for _, w := range j.Windows {
		heard = append(heard, event.Span{StartS: w.Span.StartS, EndS: math.Min(w.Span.EndS, w.Span.StartS+w.HeardS)})
	}
	sort.Slice(heard, func(a, b int) bool { return heard[a].StartS < heard[b].StartS })
	var total, reached float64
	for _, s := range heard {
		total += max(0, s.EndS-max(s.StartS, reached))
		reached = max(reached, s.EndS)
	}
	track := j.DurationS + j.MissingS
	return &client.Coverage{HeardS: total, TrackS: track, Ratio: min(1, total/track)}
}

// asked is what outcomes of a job have of the job.
type asked struct {
	questions int
	labels    map[string]string
}

func askedOf(j store.Job) asked { return asked{questions: j.QuestionCount, labels: j.Labels} }

func (a *API) outcomeView(of asked, o *eventpb.Outcome) client.Outcome {
	w, t := o.GetWindow(), o.GetTimings()
	v := client.Outcome{
		ID: o.GetOutcomeId(), JobID: o.GetJobId(),
		QuestionIndex: int(o.GetQuestion().GetIndex()), Question: o.GetQuestion().GetText(),
		State: store.OutcomeState(o.GetState()), Answer: o.GetAnswer(), ResponseSchema: o.GetResponseSchema(), Tags: tagsView(o),
		Track: client.Track{SHA256: o.GetTrack().GetSha256(), DurationS: o.GetTrack().GetDurationS(), Faults: event.FaultsOf(o.GetTrack())},
		Window: client.Window{
			Index: int(w.GetIndex()), StartS: w.GetSpan().GetStartS(), EndS: w.GetSpan().GetEndS(), HeardS: w.GetHeardS(), Hash: w.GetHash(),
			Warnings: w.GetWarnings(),
		},
		Model: o.GetModel(), ModelDigest: o.GetModelDigest(), Cache: store.CacheName(o.GetCache()), AnswerCache: store.CacheName(o.GetAnswerCache()),
		Timings: client.Timings{
			Queue: t.GetQueueMs(), Chunk: t.GetChunkMs(), Encode: t.GetEncodeMs(), Project: t.GetProjectMs(),
			Prefill: t.GetPrefillMs(), Decode: t.GetDecodeMs(), Total: t.GetTotalMs(),
		},
		Tokens: client.Tokens{Prompt: int(o.GetTokens().GetPrompt()), Audio: int(o.GetTokens().GetAudio()), Output: int(o.GetTokens().GetOutput())},
		Cost:   a.deps.Prices.of(store.CostOf(o, of.questions)), Labels: of.labels, TraceID: o.GetTraceId(), EndedAt: time.UnixMilli(o.GetEndedUnixMs()).UTC(),
	}
	v.Confidence, v.Finish, v.Check = o.GetConfidence(), o.GetFinish(), checkView(o.GetCheck())
	for field, c := range o.GetSupport() {
		if v.Support == nil {
			v.Support = map[string]client.Check{}
		}
		v.Support[field] = *checkView(c)
	}
	if c := o.GetCombined(); c != nil {
		v.Combined = &client.Combined{Rule: c.GetRule(), Share: c.GetShare(), Windows: []int{}}
		for _, w := range c.GetWindows() {
			v.Combined.Windows = append(v.Combined.Windows, int(w))
		}
	}
	if e := o.GetError(); e != nil {
		v.Error = &client.OutcomeError{Code: e.GetCode(), Message: e.GetMessage()}
	}
	return v
}

// checkView is nil where nothing was compared.
func checkView(c *eventpb.Check) *client.Check {
	if c == nil {
		return nil
	}
	return &client.Check{Agrees: c.GetAgrees(), Measured: c.GetMeasured(), Confidence: c.GetConfidence()}
}

// tagsView is the tags of an outcome that has them.
func tagsView(o *eventpb.Outcome) *tags.Tags {
	if o.GetResponseSchema() != event.SchemaTags || o.GetState() != eventpb.State_STATE_ANSWERED {
		return nil
	}
	var t tags.Tags
	if err := t.UnmarshalJSON([]byte(o.GetAnswer())); err != nil {
		return nil // only llm-svc writes answered outcomes, after tags.Parse; the answer stands there as it is
	}
	return &t
}

func timePtr(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// since returns milliseconds between two moments; 0 when the later one has not come.
func since(from, to time.Time) float64 {
	if to.IsZero() {
		return 0
	}
	return float64(to.Sub(from)) / float64(time.Millisecond)
}
