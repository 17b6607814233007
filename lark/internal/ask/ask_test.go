package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a gateway that knows one job: its events, and then its outcomes.
type script struct {
	events   []client.Event
	outcomes []client.Outcome
	windows  []client.Window
	state    string
	// hang keeps the first watch open after its events until its context ends.
	hang    bool
	watched chan struct{} // closed when the events have been told

	// away is why the gateway is away for a while.
	away error

	// submitting is called during a submission.
	submitting func(ctx context.Context) error

	// lists are what the gateway says of the job of an idempotency key, one after another.
	lists []func() (client.JobList, error)

	key       string
	submitted client.Submission
	upload    string
	uploaded  string
	cancelled bool
	watches   int
}

func (s *script) Submit(ctx context.Context, sub client.Submission, upload *client.Upload, opts client.SubmitOptions) (client.Job, error) {
	s.submitted, s.key = sub, opts.IdempotencyKey
	if s.submitting != nil {
		if err := s.submitting(ctx); err != nil {
			return client.Job{}, err
		}
	}
	if upload != nil {
		text, err := io.ReadAll(upload.Reader)
		if err != nil {
			return client.Job{}, err
		}
		s.upload, s.uploaded = upload.Name, string(text)
	}
	return client.Job{ID: "job-1", State: client.StateQueued}, nil
}

func (s *script) Watch(ctx context.Context, _ string, opts client.WatchOptions, fn func(client.Event) error) error {
	s.watches++
	if s.away != nil {
		opts.Lost(s.away)
		opts.Back()
	}
	for _, ev := range s.events {
		if err := fn(ev); err != nil {
			return err
		}
	}
	if s.hang && s.watches == 1 {
		close(s.watched)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (s *script) Get(context.Context, string) (client.Job, error) {
	job := client.Job{ID: "job-1", State: s.state, Windows: s.windows, Counts: client.Counts{Windows: len(s.windows)}}
	for _, o := range s.outcomes {
		job.Warnings = o.Track.Warnings
		if o.State == client.OutcomeAnswered {
			job.Counts.Answered++
		}
	}
	return job, nil
}

func (s *script) Outcomes(context.Context, string) ([]client.Outcome, error) { return s.outcomes, nil }

func (s *script) Cancel(context.Context, string) (client.Job, error) {
	s.cancelled, s.state = true, client.StateCancelled
	return client.Job{ID: "job-1", State: client.StateCancelling}, nil
}

func (s *script) List(ctx context.Context, opts client.ListOptions) (client.JobList, error) {
	if opts.IdempotencyKey != s.key || len(s.lists) == 0 {
		<-ctx.Done()
		return client.JobList{}, ctx.Err()
	}
	list := s.lists[0]
	s.lists = s.lists[1:]
	return list()
}

func answer(window, question int, text string) client.Outcome {
	return client.Outcome{
		ID: string(rune('a'+window)) + string(rune('0'+question)), JobID: "job-1", QuestionIndex: question, State: client.OutcomeAnswered,
		Answer: text, Window: client.Window{Index: window, StartS: 25 * float64(window), EndS: 25 * float64(window+1), HeardS: 25}, Cache: "miss",
	}
}

func token(window, question, seq int, text string) client.Event {
	return client.Event{Token: &client.TokenEvent{Window: window, Question: question, Seq: seq, Text: text}}
}

func ended(o client.Outcome) client.Event { return client.Event{Outcome: &o} }

func run(t *testing.T, s *script, cfg Config) (string, Result, error) {
	t.Helper()
	var out bytes.Buffer
	cfg.Out = &out
	if cfg.Track == "" {
		cfg.Track = filepath.Join(t.TempDir(), "song.wav")
		require.NoError(t, os.WriteFile(cfg.Track, []byte("sound"), 0o600))
	}
	result, err := Run(t.Context(), s, cfg)
	return out.String(), result, err
}

func windows(n int) []client.Window {
	var out []client.Window
	for i := range n {
		out = append(out, client.Window{Index: i, StartS: 25 * float64(i), EndS: 25 * float64(i+1)})
	}
	return out
}

func TestOneQuestionPrintsItsAnswerAlone(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1), outcomes: []client.Outcome{answer(0, 0, "The key is A minor.")}}
	out, result, err := run(t, s, Config{Questions: []string{"Key?"}, Windows: "30-55", Decode: client.Decode{Seed: 3}})
	require.NoError(t, err)
	require.Equal(t, "The key is A minor.\n", out)
	require.True(t, result.Answered())
	require.Equal(t, "song.wav", s.upload)
	require.Equal(t, "sound", s.uploaded)
	require.Equal(t, client.Submission{
		Questions: []string{"Key?"}, Plan: client.PlanExplicit, Spans: []client.Span{{StartS: 30, EndS: 55}}, Decode: &client.Decode{Seed: 3},
	}, s.submitted)
}

func TestFaultsOfTheTrackAreToldOnce(t *testing.T) {
	t.Parallel()
	faulty := func(window int) client.Outcome {
		o := answer(window, 0, "A minor.")
		o.Track.Warnings = []client.Warning{{Code: "truncated", AtS: 50, Message: "the file\x1b breaks off"}, {Code: "clipped", Message: "it is clipped"}}
		o.Window.Warnings = []string{"truncated"}
		return o
	}
	both := []client.Outcome{faulty(0), faulty(1)}
	for _, live := range []bool{false, true} {
		s := &script{state: client.StateSucceeded, windows: windows(1), outcomes: both[:1], events: []client.Event{ended(both[0])}}
		out, _, err := run(t, s, Config{Questions: []string{"Key?"}, Live: live, Strict: true})
		require.NoError(t, err)
		require.Equal(t, "warning: the file\ufffd breaks off\nwarning: it is clipped\nA minor.\n", out)
		require.True(t, s.submitted.Strict)
	}
	s := &script{state: client.StateSucceeded, windows: windows(2), outcomes: both}
	out, _, err := run(t, s, Config{Questions: []string{"Key?"}, Windows: "all"})
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "breaks off"))
	out, _, err = run(t, s, Config{Questions: []string{"Key?"}, Windows: "all", JSON: true})
	require.NoError(t, err)
	require.Contains(t, out, `"warnings":["truncated"]`)
	require.Contains(t, out, `"code":"truncated","at_s":50`)
	for line := range strings.Lines(out) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

func tagged(window int) client.Outcome {
	o := answer(window, 0, "{}")
	o.ResponseSchema = client.SchemaTags
	o.Tags = &tags.Tags{TempoBPM: 105, Key: "G", Mode: "major", Instruments: []string{"piano", "drums"}, Description: "Two\x1b[31m parts."}
	return o
}

const table = `tempo        105 BPM
key          G
mode         major
metre        unknown
instruments  piano, drums
genre        unknown
mood         unknown
description  Two�[31m parts.
`

func TestTagsArePrintedAsATable(t *testing.T) {
	t.Parallel()
	for _, live := range []bool{false, true} {
		s := &script{state: client.StateSucceeded, windows: windows(1), outcomes: []client.Outcome{tagged(0)}, events: []client.Event{
			token(0, 0, 0, `{"tempo_bpm"`), token(0, 0, 1, ":105"), ended(tagged(0)),
		}}
		out, _, err := run(t, s, Config{Schema: client.SchemaTags, Live: live})
		require.NoError(t, err)
		require.Equal(t, table, out)
		require.Equal(t, client.Submission{Options: client.Options{ResponseSchema: client.SchemaTags}, Plan: client.PlanAuto}, s.submitted)
	}
	s := &script{state: client.StateSucceeded, windows: windows(2), outcomes: []client.Outcome{tagged(1), tagged(0)}}
	out, _, err := run(t, s, Config{Schema: client.SchemaTags, Windows: "all"})
	require.NoError(t, err)
	require.Contains(t, out, "[0:00 to 0:25]\ntempo        105 BPM\n")
	require.Contains(t, out, "parts.\n\n[0:25 to 0:50]\ntempo ")
}

func TestTagsInJSON(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1), outcomes: []client.Outcome{tagged(0)}}
	out, _, err := run(t, s, Config{Schema: client.SchemaTags, JSON: true})
	require.NoError(t, err)
	var line Line
	require.NoError(t, json.Unmarshal([]byte(out), &line))
	require.Equal(t, tagged(0).Tags, line.Tags)
	s.outcomes = []client.Outcome{answer(0, 0, "A minor.")}
	out, _, err = run(t, s, Config{JSON: true, Questions: []string{"Key?"}})
	require.NoError(t, err)
	require.NotContains(t, out, "tags")
}

func TestURLIsLeftToTheGateway(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1)}
	_, _, err := run(t, s, Config{Track: "https://example.org/a.mp3", Questions: []string{"Key?"}})
	require.NoError(t, err)
	require.Equal(t, "https://example.org/a.mp3", s.submitted.AudioURL)
	require.Empty(t, s.upload)
}

func TestSeveralWindowsAndQuestionsInOrder(t *testing.T) {
	t.Parallel()
	failed := answer(1, 1, "")
	failed.State, failed.Error = client.OutcomeFailed, &client.OutcomeError{Code: "engine_error", Message: "out of luck"}
	s := &script{state: client.StatePartial, windows: windows(2), outcomes: []client.Outcome{
		failed, answer(0, 1, "Yes."), answer(1, 0, "C major."), answer(0, 0, "A minor."),
	}}
	out, result, err := run(t, s, Config{Questions: []string{"Key?", "Drums?"}})
	require.NoError(t, err)
	require.False(t, result.Answered())
	require.Equal(t, `[0:00 to 0:25]
Key?
  A minor.
Drums?
  Yes.

[0:25 to 0:50]
Key?
  C major.
Drums?
  not answered (engine_error): out of luck
`, out)
}

func TestLiveTextOfSeveralAnswersDoesNotMix(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1), events: []client.Event{
		token(0, 1, 0, "Yes"), token(0, 0, 0, "A"), token(0, 1, 1, ", drums."), token(0, 0, 1, " minor."),
		ended(answer(0, 1, "Yes, drums.")), token(0, 1, 9, "late"), ended(answer(0, 0, "A minor.")),
	}}
	out, _, err := run(t, s, Config{Live: true, Questions: []string{"Key?", "Drums?"}})
	require.NoError(t, err)
	require.Equal(t, "Drums?\n  Yes, drums.\nKey?\n  A minor.\n", out)
}

func TestAWindowKeepsTheFloor(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(2), events: []client.Event{
		token(1, 0, 0, "C"), token(0, 0, 0, "A"), ended(answer(1, 0, "C major.")), ended(answer(0, 0, "A minor.")), ended(answer(0, 1, "No.")),
		ended(answer(1, 1, "Yes.")),
	}}
	out, _, err := run(t, s, Config{Live: true, Questions: []string{"Key?", "Drums?"}})
	require.NoError(t, err)
	require.Equal(t, "[0:25 to 0:50]\nKey?\n  C major.\nDrums?\n  Yes.\n\n[0:00 to 0:25]\nKey?\n  A minor.\nDrums?\n  No.\n", out)
}

func TestLiveTextOfARestartedStage(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1), events: []client.Event{
		token(0, 0, 0, "The key"), token(0, 0, 1, " is"), token(0, 0, 0, "A"), ended(answer(0, 0, "A minor.")),
	}}
	out, _, err := run(t, s, Config{Live: true, Questions: []string{"Key?"}})
	require.NoError(t, err)
	require.Equal(t, "The key is ... (started again)\nA minor.\n", out)
}

func TestLiveTextThatTheAnswerContradicts(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, windows: windows(1), events: []client.Event{
		token(0, 0, 4, "minor"), ended(answer(0, 0, "A minor.")),
	}}
	out, _, err := run(t, s, Config{Live: true, Questions: []string{"Key?"}})
	require.NoError(t, err)
	require.Equal(t, "minor ... (started again)\nA minor.\n", out)
}

func TestJSONHasTheContractsFieldsAndEachOutcomeOnce(t *testing.T) {
	t.Parallel()
	o := answer(0, 0, "A <minor>.")
	o.Question, o.Model, o.TraceID = "Key?", "lark-nano 0", "0af7"
	o.Track = client.Track{SHA256: "ab", DurationS: 61.5}
	o.Timings, o.Tokens = client.Timings{Total: 9}, client.Tokens{Prompt: 280, Output: 6}
	s := &script{state: client.StateSucceeded, events: []client.Event{ended(o), ended(o)}, outcomes: []client.Outcome{o, answer(1, 0, "B.")}}
	out, _, err := run(t, s, Config{JSON: true, Questions: []string{"Key?"}})
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"job_id":"job-1","question":"Key?","state":"answered","answer":"A <minor>.","error":null,
		"track":{"sha256":"ab","duration_s":61.5},"window":{"index":0,"start_s":0,"end_s":25,"heard_s":25},"model":"lark-nano 0","cache":"miss",
		"timings_ms":{"queue":0,"chunk":0,"encode":0,"project":0,"prefill":0,"decode":0,"total":9},"tokens":{"prompt":280,"output":6},"trace_id":"0af7"}`, lines[0])
	var second Line
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &second))
	require.Equal(t, "B.", second.Answer)
}

func TestInterruptCancelsTheJobAndPrintsItsOutcomes(t *testing.T) {
	t.Parallel()
	gone := answer(0, 0, "")
	gone.State, gone.Error = client.OutcomeCancelled, &client.OutcomeError{Code: "cancelled", Message: "cancelled by the user"}
	s := &script{windows: windows(1), outcomes: []client.Outcome{gone}, hang: true, watched: make(chan struct{})}
	ctx, interrupt := context.WithCancelCause(t.Context())
	go func() {
		<-s.watched
		interrupt(errors.New("interrupt"))
	}()
	var out bytes.Buffer
	result, err := Run(ctx, s, Config{Track: "https://example.org/a.mp3", Questions: []string{"Key?"}, Out: &out})
	require.ErrorContains(t, err, "interrupt")
	require.True(t, s.cancelled)
	require.Equal(t, client.StateCancelled, result.Job.State)
	require.Equal(t, "not answered (cancelled): cancelled by the user\n", out.String())
}

// An interrupt during the submission cancels the job that comes of it, and ends one that no answer comes to.
func TestInterruptDuringTheSubmission(t *testing.T) {
	t.Parallel()
	errInterrupt := errors.New("interrupt")
	for name, answered := range map[string]bool{"answered": true, "no answer": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancelCause(t.Context())
				s := &script{windows: windows(1), hang: true, watched: make(chan struct{}), submitting: func(ctx context.Context) error {
					interrupt(errInterrupt)
					if answered {
						return ctx.Err()
					}
					<-ctx.Done()
					return ctx.Err()
				}}
				_, err := Run(ctx, s, Config{Track: "https://example.org/a.mp3", Questions: []string{"Key?"}, Out: io.Discard})
				require.ErrorIs(t, err, errInterrupt)
				require.Equal(t, answered, s.cancelled)
				if !answered {
					require.ErrorContains(t, err, "lark jobs list")
				}
			})
		})
	}
}

// A submission that is given up is looked for by its key: what the gateway has taken is cancelled and named.
func TestASubmissionThatIsGivenUpIsLookedFor(t *testing.T) {
	t.Parallel()
	errInterrupt := errors.New("interrupt")
	none := func() (client.JobList, error) { return client.JobList{}, nil }
	inFlight := func() (client.JobList, error) {
		return client.JobList{}, &client.Problem{Status: 409, Code: "idempotency_key_in_flight", Retryable: true}
	}
	refused := func() (client.JobList, error) {
		return client.JobList{}, &client.Problem{Status: 400, Code: "invalid_request"}
	}
	made := func() (client.JobList, error) { return client.JobList{Jobs: []client.Job{{ID: "job-1"}}}, nil }
	for name, tc := range map[string]struct {
		lists     []func() (client.JobList, error)
		cancelled bool
		says      string
	}{
		"a job":            {lists: []func() (client.JobList, error){made}, cancelled: true},
		"a job a bit late": {lists: []func() (client.JobList, error){none, inFlight, inFlight, made}, cancelled: true},
		"no job":           {lists: []func() (client.JobList, error){inFlight, none, none}, says: "the gateway has not taken the job"},
		"an old gateway":   {lists: []func() (client.JobList, error){refused}, says: "is not known, lark jobs list tells"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancelCause(t.Context())
				s := &script{lists: tc.lists, windows: windows(1), hang: true, watched: make(chan struct{}), submitting: func(ctx context.Context) error {
					interrupt(errInterrupt)
					<-ctx.Done()
					return ctx.Err()
				}}
				result, err := Run(ctx, s, Config{Track: "https://example.org/a.mp3", Questions: []string{"Key?"}, Out: io.Discard})
				require.ErrorIs(t, err, errInterrupt)
				require.Equal(t, tc.cancelled, s.cancelled)
				require.Equal(t, tc.cancelled, result.Job.ID == "job-1")
				require.ErrorContains(t, err, tc.says)
			})
		})
	}
}

func TestProgressLineGivesWayToText(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	s := newScreen(&shown, terminal.New(&shown, func() int { return 80 }), true, []string{"Key?"})
	s.progress(client.ProgressEvent{Stage: "chunker", Status: "done", Windows: 4})
	s.progress(client.ProgressEvent{Stage: "encoder", Window: 1, Status: "done"})
	s.progress(client.ProgressEvent{Stage: "encoder", Window: 2, Status: "skipped"})
	require.True(t, strings.HasSuffix(shown.String(), "\x1b[Kchunker done  encoder 2/4  projector -  llm -"), shown.String())
	s.plan(windows(1))
	s.token(client.TokenEvent{Text: "A"})
	s.progress(client.ProgressEvent{Stage: "llm", Status: "started"})
	require.True(t, strings.HasSuffix(shown.String(), "llm -\r\x1b[KA"), shown.String())
}

func TestTerminalIsNotSteeredByAnswers(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a\ufffd[31mb\ufffd\nc\td", Printable("a\x1b[31mb\u009b\nc\td"))
}

func TestTrackThatIsNotAFile(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, &script{}, Config{Track: t.TempDir(), Questions: []string{"Key?"}})
	require.ErrorContains(t, err, "is not a file")
	_, _, err = run(t, &script{}, Config{Track: filepath.Join(t.TempDir(), "x"), Questions: []string{"Key?"}})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestATrackFromStandardInput(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, outcomes: []client.Outcome{answer(0, 0, "G major.")}}
	out, result, err := run(t, s, Config{Track: Stdin, In: strings.NewReader("piped sound"), Questions: []string{"Key?"}})
	require.NoError(t, err)
	require.True(t, result.Answered())
	require.Equal(t, "piped sound", s.uploaded)
	require.Equal(t, "stdin", s.upload)
	require.Contains(t, out, "G major.")
}

func TestAGatewayThatIsAwayIsTold(t *testing.T) {
	t.Parallel()
	s := &script{state: client.StateSucceeded, outcomes: []client.Outcome{answer(0, 0, "G major.")}, away: errors.New("no gateway answers")}
	var notices []string
	out, _, err := run(t, s, Config{Questions: []string{"Key?"}, Notice: func(text string) { notices = append(notices, text) }})
	require.NoError(t, err)
	require.Equal(t, []string{
		"no gateway answers; job job-1 waits for the gateway, trying again for 1m0s", "the gateway is back, job job-1 goes on",
	}, notices)
	require.NotContains(t, out, "gateway", "answers alone go to standard output")
}
