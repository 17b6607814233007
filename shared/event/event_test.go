package event_test

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/larkstream/larkstream/shared/alloctest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	audioHash  = strings.Repeat("ab", 32)
	windowHash = strings.Repeat("cd", 32)
)

func task() *eventpb.Task {
	return &eventpb.Task{
		JobId: "job-1",
		Track: &eventpb.Track{Sha256: audioHash, DurationS: 61.5},
		Window: &eventpb.Window{
			Index: 2, Hash: windowHash, BlobKey: event.PCMKey(windowHash),
			Span: &eventpb.Span{StartS: 36.5, EndS: 61.5}, HeardS: 25, Samples: 1102500,
		},
		Questions: []*eventpb.Question{
			{Index: 0, Text: "What key is this in?"},
			{Index: 1, Text: "Quel est le tempo\u00a0?"},
		},
		Decode:        &eventpb.Decode{MaxTokens: 64},
		ModelDigest:   "0123456789abcdef",
		CreatedUnixMs: 1_790_000_000_000,
		Cache:         eventpb.Cache_CACHE_MISS,
		Timings:       &eventpb.Timings{ChunkMs: 12.5, EncodeMs: 300},
	}
}

func job() *eventpb.Job {
	return &eventpb.Job{
		JobId: "job-1",
		Audio: &eventpb.Audio{
			Sha256: audioHash, BlobKey: event.AudioKey(audioHash), SizeBytes: 1 << 20, Name: "lark song.mp3",
		},
		Questions:     task().GetQuestions(),
		Plan:          eventpb.PlanMode_PLAN_MODE_EXPLICIT,
		Spans:         []*eventpb.Span{{StartS: 0, EndS: 25}},
		Decode:        &eventpb.Decode{Temperature: new(float32(0.7)), TopP: 0.9, Seed: 7},
		CreatedUnixMs: 1_790_000_000_000,
	}
}

// samples holds one message of every type that travels.
func samples() map[string]proto.Message {
	answered := event.NewOutcome(task(), task().GetQuestions()[0])
	answered.State = eventpb.State_STATE_ANSWERED
	answered.Answer = "The key is A minor."
	answered.Model = "lark-nano"
	answered.Tokens = &eventpb.Tokens{Prompt: 280, Output: 6}
	answered.EndedUnixMs = 1_790_000_001_000
	answered.Timings.TotalMs, answered.Timings.QueueMs = 1000, 687.5
	tagged := proto.CloneOf(answered)
	tagged.ResponseSchema, tagged.Answer = event.SchemaTags, `{"tempo_bpm":105,"key":null}`
	checked := proto.CloneOf(answered)
	checked.Window.Measured = &eventpb.Measured{TempoBpm: 121.5, TempoConfidence: 0.75, Key: "A minor", KeyConfidence: 0.5, Metre: "3/4", MetreConfidence: 0.25, Content: "music", ContentConfidence: 1}
	checked.Check = &eventpb.Check{Agrees: true, Measured: "A minor", Confidence: 0.5}
	checked.Support = map[string]*eventpb.Check{"key": {Measured: "A", Confidence: 0.5}, "mode": {Agrees: true, Measured: "minor", Confidence: 0.5}}
	tagging := job()
	tagging.ResponseSchema = event.SchemaTags
	bulk := job()
	bulk.Lane = event.LaneBulk
	return map[string]proto.Message{
		"job":       job(),
		"job-tags":  tagging,
		"job-bulk":  bulk,
		"window":    &eventpb.WindowReady{Task: task()},
		"embedding": &eventpb.EmbeddingReady{Task: task(), Key: "emb/v1/nano-0@0123/f32/" + windowHash, Frames: 269, Width: 192},
		"prompt":    &eventpb.PromptReady{Task: task(), Key: "prompt/v1/nano-0@0123/f32+4567/" + windowHash, Frames: 269, Width: 192},
		"plan": &eventpb.JobPlan{
			JobId: "job-1", Track: task().GetTrack(), Questions: 2,
			Windows: []*eventpb.Window{{Index: 0, Hash: windowHash, Span: &eventpb.Span{EndS: 25}}},
		},
		"outcome":         answered,
		"outcome-tags":    tagged,
		"outcome-checked": checked,
		"event": &eventpb.Event{
			JobId: "job-1", AtUnixMs: 1_790_000_000_500,
			Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{QuestionIndex: 1, WindowIndex: 2, Seq: 3, Text: " minor"}},
		},
		"control": &eventpb.Control{JobId: "job-1", Kind: "cancel", AtUnixMs: 1_790_000_000_600},
	}
}

// golden is a record as it stands in testdata: what an independent reader would see.
type golden struct {
	Topic   string            `json:"topic"`
	Key     string            `json:"key"`
	Headers map[string]string `json:"headers"`
	Value   []byte            `json:"value"`
}

func TestRecordsMatchTheirGoldenFiles(t *testing.T) {
	t.Parallel()
	for name, msg := range samples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec, err := event.Encode("test", msg)
			require.NoError(t, err)
			got := golden{Topic: rec.Topic, Key: rec.Key, Value: rec.Value, Headers: map[string]string{}}
			for _, h := range rec.Headers {
				got.Headers[h.Key] = string(h.Value)
			}
			_, err = time.Parse(time.RFC3339Nano, got.Headers[event.HeaderTime])
			require.NoError(t, err)
			delete(got.Headers, event.HeaderTime)

			path := filepath.Join("testdata", name+".json")
			if *update {
				raw, err := json.MarshalIndent(got, "", "  ")
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, append(raw, '\n'), 0o600))
			}
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var want golden
			require.NoError(t, json.Unmarshal(raw, &want))
			require.Empty(t, cmp.Diff(want, got))

			back, err := event.Decode(event.Record{Topic: rec.Topic, Key: rec.Key, Value: want.Value, Headers: rec.Headers})
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(msg, back, protocmp.Transform()))
		})
	}
}

func TestEveryRecordTypeHasItsTopic(t *testing.T) {
	t.Parallel()
	topics := map[string]event.TopicSpec{}
	for _, spec := range event.Topics() {
		require.NotContains(t, topics, spec.Name)
		require.Equal(t, spec.Compacted, spec.Retention == 0, spec.Name)
		topics[spec.Name] = spec
	}
	for name, msg := range samples() {
		rec, err := event.Encode("test", msg)
		require.NoError(t, err)
		require.Contains(t, topics[rec.Topic].Types, rec.Get(event.HeaderType), name)
	}
	require.Contains(t, topics, "lark.encoder.retry.10m.v1")
	require.Contains(t, topics, "lark.llm.retry.5s.v1")
}

func TestSameStepMakesTheSameID(t *testing.T) {
	t.Parallel()
	for name, msg := range samples() {
		a, err := event.Encode("test", msg)
		require.NoError(t, err)
		b, err := event.Encode("test", proto.Clone(msg))
		require.NoError(t, err)
		require.Equal(t, a.Get(event.HeaderID), b.Get(event.HeaderID), name)
	}
	require.NotEqual(t, event.OutcomeID("j", 1, 11), event.OutcomeID("j", 11, 1))
	require.NotEqual(t, event.DerivedJobID("a", "bc"), event.DerivedJobID("ab", "c"))
	first, second := event.NewJobID(), event.NewJobID()
	require.NotEqual(t, first, second)
}

func TestFailedOutcomesEndEveryQuestion(t *testing.T) {
	t.Parallel()
	failure := event.Failure{Code: event.CodeAudioUndecodable, Message: "no\xff frame", TraceID: "t"}
	for _, name := range []string{"job", "job-tags", "window", "embedding", "prompt"} {
		rec, err := event.Encode("test", samples()[name])
		require.NoError(t, err)
		out, err := event.FailedOutcomes("encoder", rec, failure)
		require.NoError(t, err)

		seen := map[uint32]bool{}
		planned := uint32(0)
		for _, r := range out {
			require.Equal(t, event.TopicAnswers, r.Topic)
			msg, err := event.Decode(r)
			require.NoError(t, err)
			switch m := msg.(type) {
			case *eventpb.JobPlan:
				planned = m.GetQuestions() * uint32(len(m.GetWindows()))
			case *eventpb.Outcome:
				require.Equal(t, eventpb.State_STATE_FAILED, m.GetState())
				require.Equal(t, event.CodeAudioUndecodable, m.GetError().GetCode())
				require.Equal(t, "no\uFFFD frame", m.GetError().GetMessage())
				require.Equal(t, name == "job-tags", m.GetResponseSchema() == event.SchemaTags)
				seen[m.GetQuestion().GetIndex()] = true
			}
		}
		require.Len(t, seen, 2, name)
		if strings.HasPrefix(name, "job") {
			require.EqualValues(t, 2, planned)
		}
	}
}

func TestCancelledAndExpiredAreTheirOwnState(t *testing.T) {
	t.Parallel()
	for _, code := range []string{event.CodeCancelled, event.CodeExpired} {
		o := event.FailedOutcome(task(), task().GetQuestions()[1], event.Failure{Code: code})
		require.Equal(t, eventpb.State_STATE_CANCELLED, o.GetState())
		require.NoError(t, event.Validate(o))
	}
}

func TestRecordsWithoutQuestionsEndNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"outcome", "event", "control", "plan"} {
		rec, err := event.Encode("test", samples()[name])
		require.NoError(t, err)
		out, err := event.FailedOutcomes("recorder", rec, event.Failure{Code: event.CodeInternal})
		require.NoError(t, err)
		require.Empty(t, out, name)
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*eventpb.Job){
		"no job id":          func(j *eventpb.Job) { j.JobId = "" },
		"path in job id":     func(j *eventpb.Job) { j.JobId = "../x" },
		"foreign blob":       func(j *eventpb.Job) { j.Audio.BlobKey = "emb/v1/x" },
		"short hash":         func(j *eventpb.Job) { j.Audio.Sha256 = "ab" },
		"no questions":       func(j *eventpb.Job) { j.Questions = nil },
		"index twice":        func(j *eventpb.Job) { j.Questions[1].Index = 0 },
		"endless question":   func(j *eventpb.Job) { j.Questions[0].Text = strings.Repeat("a", event.MaxQuestionBytes+1) },
		"span backwards":     func(j *eventpb.Job) { j.Spans[0].EndS = -1 },
		"spans without plan": func(j *eventpb.Job) { j.Plan = eventpb.PlanMode_PLAN_MODE_AUTO },
		"unknown plan":       func(j *eventpb.Job) { j.Plan = 9 },
		"unknown schema":     func(j *eventpb.Job) { j.ResponseSchema = "poem" },
		"negative heat":      func(j *eventpb.Job) { j.Decode.Temperature = new(float32(-1)) },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := job()
			spoil(j)
			_, err := event.Encode("test", j)
			require.Error(t, err)
		})
	}
}

func TestFaultsOfTracksAreBounded(t *testing.T) {
	t.Parallel()
	sound := &eventpb.Warning{Code: "truncated", AtS: 3, Message: "the file breaks off"}
	for name, spoil := range map[string]func(*eventpb.Task){
		"code":  func(t *eventpb.Task) { t.Track.Warnings = []*eventpb.Warning{{Code: "<b>"}} },
		"place": func(t *eventpb.Task) { t.Track.Warnings = []*eventpb.Warning{{Code: "x", AtS: math.NaN()}} },
		"message": func(t *eventpb.Task) {
			t.Track.Warnings = []*eventpb.Warning{{Code: "x", Message: strings.Repeat("y", 600)}}
		},
		"too many":        func(t *eventpb.Task) { t.Track.Warnings = slices.Repeat([]*eventpb.Warning{sound}, 33) },
		"missing":         func(t *eventpb.Task) { t.Track.MissingS = math.Inf(1) },
		"code of windows": func(t *eventpb.Task) { t.Window.Warnings = []string{"a,b"} },
	} {
		tk := task()
		tk.Track.Warnings, tk.Window.Warnings = []*eventpb.Warning{sound}, []string{"truncated"}
		require.NoError(t, event.Validate(&eventpb.WindowReady{Task: tk}))
		spoil(tk)
		require.Error(t, event.Validate(&eventpb.WindowReady{Task: tk}), name)
		require.Error(t, event.Validate(event.FailedOutcome(tk, tk.GetQuestions()[0], event.Failure{Code: event.CodeInternal})), name)
	}
}

func TestMeasurementsAreBounded(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*eventpb.Outcome){
		"tempo":        func(o *eventpb.Outcome) { o.Window.Measured.TempoBpm = math.Inf(1) },
		"key":          func(o *eventpb.Outcome) { o.Window.Measured.Key = strings.Repeat("b", 33) },
		"confidence":   func(o *eventpb.Outcome) { o.Check.Confidence = math.NaN() },
		"words":        func(o *eventpb.Outcome) { o.Support["key"].Measured = strings.Repeat("b", 129) },
		"many":         func(o *eventpb.Outcome) { o.Support = manyChecks(17) },
		"below naught": func(o *eventpb.Outcome) { o.Window.Measured.KeyConfidence = -1 },
	} {
		o := proto.CloneOf(samples()["outcome-checked"].(*eventpb.Outcome))
		require.NoError(t, event.Validate(o))
		spoil(o)
		require.Error(t, event.Validate(o), name)
	}
}

func manyChecks(n int) map[string]*eventpb.Check {
	out := map[string]*eventpb.Check{}
	for i := range n {
		out[strings.Repeat("x", i+1)] = &eventpb.Check{}
	}
	return out
}

func TestEveryRecordRefusesAnUnknownSchema(t *testing.T) {
	t.Parallel()
	tk := task()
	tk.ResponseSchema = "poem"
	outcome := event.FailedOutcome(tk, tk.GetQuestions()[0], event.Failure{Code: event.CodeSchema})
	for _, msg := range []proto.Message{&eventpb.WindowReady{Task: tk}, outcome} {
		require.ErrorContains(t, event.Validate(msg), `response_schema "poem" is not known; it is tags or empty`)
	}
}

func TestTotalsNeverRunBackwards(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(2000)
	timings := &eventpb.Timings{DecodeMs: 400}
	event.SetTotal(timings, 1500, now)
	require.InDelta(t, 500, timings.GetTotalMs(), 0)
	require.InDelta(t, 100, timings.GetQueueMs(), 0)
	event.SetTotal(timings, 9000, now)
	require.Zero(t, timings.GetTotalMs())
	require.Zero(t, timings.GetQueueMs())
}

func TestRecordHeaders(t *testing.T) {
	t.Parallel()
	r := event.Record{Headers: []event.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}}
	require.Equal(t, "2", r.Get("a"))
	w := r.With("a", "3")
	require.Len(t, w.Headers, 1)
	require.Equal(t, "3", w.Get("a"))
	require.Equal(t, "2", r.Get("a"))
}

func FuzzDecode(f *testing.F) {
	for _, msg := range samples() {
		rec, err := event.Encode("test", msg)
		require.NoError(f, err)
		f.Add(rec.Get(event.HeaderType), rec.Value)
	}
	f.Add("larkstream.unknown", []byte{1})
	f.Fuzz(func(t *testing.T, typ string, value []byte) {
		rec := event.Record{Topic: "t", Value: value}.With(event.HeaderType, typ)
		var msg proto.Message
		var err error
		alloctest.Bound(t, len(value), 64<<10, 200, func() { msg, err = event.Decode(rec) })
		if err != nil {
			require.ErrorIs(t, err, event.ErrUndecodable)
			return
		}
		again, err := event.Encode("fuzz", msg)
		require.NoError(t, err)
		require.NotEmpty(t, again.Topic)
	})
}
