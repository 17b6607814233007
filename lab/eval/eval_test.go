package eval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers by a function of the file's name and the question.
type fake struct {
	answer func(file, question string) string
	asked  atomic.Int64
	err    func(file string) error
}

func (f *fake) Name() string     { return "fake" }
func (f *fake) Digest() string   { return "0123456789abcdef" }
func (f *fake) WindowS() float64 { return 25 }
func (f *fake) Parallel() int    { return 2 }
func (f *fake) Close() error     { return nil }

func (f *fake) Ask(_ context.Context, path string, questions []string) ([]string, error) {
	file := filepath.Base(path)
	if f.err != nil {
		if err := f.err(file); err != nil {
			return nil, err
		}
	}
	var out []string
	for _, q := range questions {
		f.asked.Add(1)
		out = append(out, f.answer(file, q))
	}
	return out, nil
}

// taskOf is the task whose default wordings hold a question.
func taskOf(t *testing.T, question string) string {
	t.Helper()
	w, err := ReadWordings("")
	require.NoError(t, err)
	for task, questions := range w {
		for _, q := range questions {
			if q == question {
				return task
			}
		}
	}
	return TaskChoice
}

// eightClips alternate between two of everything.
func eightClips(t *testing.T) string {
	t.Helper()
	var lines []string
	for i := range 8 {
		labels := []string{
			`"tempo_bpm":120,"key":"C major","metre":"4/4","instruments":["piano","violin"],"drums":true,"genre":"rock","caption":"a loud rock song"`,
			`"tempo_bpm":90,"key":"A minor","metre":"3/4","instruments":["flute"],"drums":false,"genre":"jazz","caption":"a quiet waltz for flute"`,
		}[i%2]
		choice := []string{`"answer":"loud"`, `"answer":"quiet"`}[i%2]
		lines = append(lines, fmt.Sprintf(`{"id":"clip%d","audio":"%d.wav","labels":{%s,"unanswerable":true,"multiple_choice":[{"question":"How is it?","choices":["loud","quiet"],%s}]}}`, i, i, labels, choice))
	}
	return newSet(t, lines...)
}

// hearing answers truly of eightClips, by the number of the file.
func hearing(t *testing.T) *fake {
	return &fake{answer: func(file, question string) string {
		return map[string][2]string{
			TaskTempo: {"The tempo is 121 BPM.", "90"}, TaskKey: {"C major", "The key is A minor."}, TaskMetre: {"4/4", "3/4"}, TaskDrums: {"Yes.", "No drums"},
			TaskInstruments: {"piano and strings", "flutes"}, TaskGenre: {"Rock music", "It is jazz"}, TaskCaptions: {"a loud rock song", "a quiet waltz for flute"},
			TaskUnanswerable: {"I can't tell that from the audio.", "I don't know."}, TaskChoice: {"loud", "quiet"},
		}[taskOf(t, question)][int(file[0]-'0')%2]
	}}
}

func TestAModelThatHears(t *testing.T) {
	t.Parallel()
	rep, err := Run(t.Context(), hearing(t), Config{Set: eightClips(t), Seed: 1})
	require.NoError(t, err)
	for _, task := range []string{TaskKey, "key_mirex", TaskTempo, "tempo_acc2", TaskMetre, TaskInstruments, "instruments_micro", TaskDrums, TaskGenre, "captions_bleu4", "captions_rouge_l", TaskChoice, TaskUnanswerable, TaskConsistency, TaskGrounding} {
		f, ok := rep.Summary[task]
		require.True(t, ok, task)
		require.InDelta(t, 1, f.Value, 1e-6, task)
		require.NotNil(t, f.Constant, task)
	}
	require.Equal(t, 8, rep.Summary[TaskKey].N)
	require.InDelta(t, 0.5, *rep.Summary[TaskKey].Constant, 1e-9)
	require.InDelta(t, 0.65, *rep.Summary["key_mirex"].Constant, 1e-9, "C major of A minor is its relative")
	require.NotNil(t, rep.Summary[TaskTempo].MIR)
	require.Nil(t, rep.Summary[TaskDrums].MIR)
	require.NotNil(t, rep.Summary["grounding_tempo"].MIR)
	require.Nil(t, rep.Summary["grounding_drums"].MIR)
	require.Zero(t, rep.Summary["false_refusals"].Value)
	require.InDelta(t, 0.5, *rep.Summary[TaskChoice].Constant, 0.5)
	require.Empty(t, rep.Unread)
	for _, g := range rep.Grounding {
		require.True(t, g.Hears && g.Beats, g.Task)
	}
	require.Len(t, rep.Grounding, 7)
}

func TestADeafModelIsFoundOut(t *testing.T) {
	t.Parallel()
	deaf := &fake{answer: func(_, question string) string {
		return map[string]string{
			TaskTempo: "120 BPM", TaskKey: "C major", TaskMetre: "4/4", TaskDrums: "Yes.", TaskInstruments: "I can't tell that.", TaskGenre: "rock", TaskUnanswerable: "Bob",
		}[taskOf(t, question)]
	}}
	rep, err := Run(t.Context(), deaf, Config{Set: eightClips(t), Seed: 1})
	require.NoError(t, err)
	require.InDelta(t, 0.5, rep.Summary[TaskTempo].Value, 1e-9)
	require.Zero(t, rep.Summary[TaskInstruments].Value)
	require.Zero(t, rep.Summary[TaskUnanswerable].Value)
	require.InDelta(t, 8.0/48, rep.Summary["false_refusals"].Value, 1e-9)
	require.Len(t, rep.Unread, 16, "instruments and choices of every clip")
	for _, g := range rep.Grounding {
		require.False(t, g.Hears, g.Task)
		require.Contains(t, g.Verdict(), "does not depend on the audio")
	}
	var table bytes.Buffer
	WriteTable(&table, rep)
	require.Contains(t, table.String(), "| tempo | acc1 (4 %) | 0.500 (")
	require.Contains(t, table.String(), "16 answers could not be read")
}

func TestAnswersAreKept(t *testing.T) {
	t.Parallel()
	cfg := Config{Set: eightClips(t), Seed: 1, Cache: filepath.Join(t.TempDir(), "answers"), Tasks: []string{TaskKey}}
	model := hearing(t)
	model.err = func(file string) error {
		if file == "6.wav" {
			return errors.New("power cut")
		}
		return nil
	}
	_, err := Run(t.Context(), model, cfg)
	require.ErrorContains(t, err, "clip clip6: power cut")
	before := model.asked.Load()
	require.Positive(t, before)
	file, err := os.OpenFile(cfg.Cache, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(`{"key":"cut o`)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	model.err = nil
	rep, err := Run(t.Context(), model, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 8, model.asked.Load(), "no question is asked twice")
	require.InDelta(t, 1, rep.Summary[TaskKey].Value, 1e-9)
	_, err = Run(t.Context(), model, cfg)
	require.NoError(t, err)
	require.EqualValues(t, 8, model.asked.Load())

	require.NoError(t, os.WriteFile(cfg.Cache, []byte("no\nanswers\n"), 0o600))
	_, err = Run(t.Context(), model, cfg)
	require.ErrorContains(t, err, "--cache")
}

func TestAFileThatCannotBeReadIsLeftOut(t *testing.T) {
	t.Parallel()
	dir := eightClips(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "3.wav"), []byte("no audio"), 0o600))
	rep, err := Run(t.Context(), hearing(t), Config{Set: dir, Tasks: []string{TaskKey, TaskGrounding, TaskConsistency}})
	require.NoError(t, err)
	require.Equal(t, 7, rep.Clips)
	require.Equal(t, 7, rep.Summary[TaskKey].N)
	require.Equal(t, "clip3", rep.LeftOut[0].Clip)
}

func TestRobustness(t *testing.T) {
	t.Parallel()
	model := &fake{answer: func(file, _ string) string {
		if file == "clip.wav" || file == "clip.mp3" {
			return "C major"
		}
		return []string{"C major", "A minor"}[int(file[0]-'0')%2]
	}}
	rep, err := Run(t.Context(), model, Config{Set: eightClips(t), Tasks: []string{TaskKey, TaskRobustness}})
	if err != nil && strings.Contains(err.Error(), "needs ffmpeg") {
		t.Skip("ffmpeg is not installed")
	}
	require.NoError(t, err)
	require.Len(t, rep.Robustness, 4)
	for _, v := range rep.Robustness {
		require.InDelta(t, 0.5, v.Value, 1e-9, v.Variant)
		require.InDelta(t, 1, v.Clean, 1e-9)
		require.NotNil(t, v.MIR)
	}
	require.InDelta(t, 0.5, rep.Summary[TaskRobustness].Value, 1e-9)
}

// second prefers whichever caption comes second.
type second struct{ firsts []string }

func (j *second) Prefer(_ context.Context, _, first, _ string) (int, bool, error) {
	j.firsts = append(j.firsts, first)
	return -1, true, nil
}

func TestAJudgeThatLikesTheSecondWinsNothing(t *testing.T) {
	t.Parallel()
	j := &second{}
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf(`{"id":"c%d","audio":"%d.wav","labels":{"caption":"caption %d"}}`, i, i, i))
	}
	model := &fake{answer: func(string, string) string { return "mine" }}
	rep, err := Run(t.Context(), model, Config{Set: newSet(t, lines...), Tasks: []string{TaskCaptions}, Judge: j, Seed: 3})
	require.NoError(t, err)
	f := rep.Summary["captions_win_rate"]
	require.Equal(t, 40, f.N)
	require.Greater(t, f.Value, 0.2, "the order is shuffled")
	require.Less(t, f.Value, 0.8)
	require.Contains(t, j.firsts, "mine")
	require.Contains(t, f.Metric, "other clips")
}

func TestTheOrderOfChoicesIsShuffledAndKept(t *testing.T) {
	t.Parallel()
	q := Choice{Question: "Which?", Choices: []string{"one", "two", "three", "four"}, Answer: "one"}
	at := map[string]int{}
	for i := range 100 {
		a := q.ask(7, strconv.Itoa(i), 0)
		require.Equal(t, a, q.ask(7, strconv.Itoa(i), 0))
		require.Equal(t, "one", a.choices[a.right[0]-'0'])
		require.Contains(t, a.text, fmt.Sprintf("(%c) one", letters[a.right[0]-'0']))
		at[a.right]++
	}
	require.Len(t, at, 4)
	require.Equal(t, []string{"one", "two", "three", "four"}, q.Choices)
}

func TestPage(t *testing.T) {
	t.Parallel()
	dir := eightClips(t)
	model := hearing(t)
	right := model.answer
	model.answer = func(file, question string) string {
		if file == "2.wav" {
			return "<script>alert(1)</script>"
		}
		return right(file, question)
	}
	rep, err := Run(t.Context(), model, Config{Set: dir})
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, WritePage(t.Context(), &b, rep, dir))
	page := b.String()
	require.NotContains(t, page, "<script>alert")
	require.Contains(t, page, "&lt;script&gt;alert(1)")
	require.Contains(t, page, `<audio controls preload="none" src="data:audio/wav;base64,UklGR`)
	require.Contains(t, page, "<circle")
	require.Contains(t, page, "Confusion: drums")
	require.NotRegexp(t, `(?:src|href)="(?:https?:|//|/)`, page, "it needs no other file")
	require.NotContains(t, page, "ZgotmplZ", "the template refused a value")
}

func TestTasksAreChecked(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), hearing(t), Config{Tasks: []string{"kee"}})
	require.ErrorContains(t, err, `task "kee" is not known`)
}

func TestWordings(t *testing.T) {
	t.Parallel()
	w, err := ReadWordings("")
	require.NoError(t, err)
	for _, fact := range []string{TaskTempo, TaskKey, TaskMetre, TaskDrums, TaskInstruments} {
		require.Len(t, w[fact], wordingsPerFact, fact)
	}
	path := filepath.Join(t.TempDir(), "q.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"tempo":["How fast?"]}`), 0o600))
	_, err = ReadWordings(path)
	require.ErrorContains(t, err, "none for key")
}

// deployment is a gateway that answers each question with itself.
type deployment struct {
	questions [][]string
	code      string
	// busy is how many submissions are refused for now, and retryable whether it says so.
	busy  int
	fault client.Problem
	sent  []string
}

func (d *deployment) Models(context.Context) ([]client.Model, error) {
	return []client.Model{{ID: "m", Digest: "d", WindowS: 30}}, nil
}

func (d *deployment) Submit(_ context.Context, sub client.Submission, upload *client.Upload, _ client.SubmitOptions) (client.Job, error) {
	raw, err := io.ReadAll(upload.Reader)
	if err != nil {
		return client.Job{}, err
	}
	d.sent = append(d.sent, string(raw))
	if d.busy--; d.busy >= 0 {
		return client.Job{}, fmt.Errorf("submitting: %w", &d.fault)
	}
	d.questions = append(d.questions, sub.Questions)
	return client.Job{ID: "j"}, nil
}

func (d *deployment) Events(context.Context, string, string, func(client.Event) error) error {
	return nil
}

func (d *deployment) Outcomes(context.Context, string) (out []client.Outcome, err error) {
	last := d.questions[len(d.questions)-1]
	for i := range last { // in another order than asked
		k := len(last) - 1 - i
		o := client.Outcome{QuestionIndex: k, State: client.OutcomeAnswered, Answer: last[k]}
		if d.code != "" {
			o.State, o.Error = client.OutcomeFailed, &client.OutcomeError{Code: d.code, Message: "told so"}
		}
		out = append(out, o)
	}
	return out, nil
}

func TestADeploymentIsAskedInParts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.wav")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	d := &deployment{}
	m, err := OpenServer(t.Context(), d)
	require.NoError(t, err)
	require.InDelta(t, 30, m.WindowS(), 0)
	var questions []string
	for i := range jobQuestions + 3 {
		questions = append(questions, strconv.Itoa(i))
	}
	answers, err := m.Ask(t.Context(), path, questions)
	require.NoError(t, err)
	require.Equal(t, questions, answers)
	require.Len(t, d.questions, 2)

	var ofFile *FileError
	d.code = "audio_undecodable"
	_, err = m.Ask(t.Context(), path, questions[:1])
	require.ErrorAs(t, err, &ofFile)
	d.code = "engine_error"
	_, err = m.Ask(t.Context(), path, questions[:1])
	require.ErrorContains(t, err, "engine_error: told so")
	require.NotErrorAs(t, err, &ofFile)
}

func TestABusyDeploymentIsAskedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.wav")
	require.NoError(t, os.WriteFile(path, []byte("whole"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		ask := func(d *deployment) error {
			m, err := OpenServer(t.Context(), d)
			require.NoError(t, err)
			_, err = m.Ask(t.Context(), path, []string{"q"})
			return err
		}
		d := &deployment{busy: 3, fault: client.Problem{Status: 429, Retryable: true}}
		require.NoError(t, ask(d))
		require.Equal(t, []string{"whole", "whole", "whole", "whole"}, d.sent, "from the beginning each time")
		require.ErrorContains(t, ask(&deployment{busy: submitTries, fault: client.Problem{Status: 503, Retryable: true}}), "503")
		d = &deployment{busy: 1, fault: client.Problem{Status: 400}}
		require.ErrorContains(t, ask(d), "400")
		require.Len(t, d.sent, 1)
	})
}

func TestWhatIsAboutFactsAsksForThem(t *testing.T) {
	t.Parallel()
	rep, err := Run(t.Context(), hearing(t), Config{Set: eightClips(t), Tasks: []string{TaskGrounding}})
	require.NoError(t, err)
	require.Len(t, rep.Grounding, 6)
	require.NotContains(t, rep.Summary, TaskChoice)
}

func TestASetWithoutLabelsOfTheTasksIsAnError(t *testing.T) {
	t.Parallel()
	dir := newSet(t, `{"id":"a","audio":"0.wav","labels":{"key":"C major"}}`)
	_, err := Run(t.Context(), hearing(t), Config{Set: dir, Tasks: []string{TaskTempo, TaskDrums}})
	require.ErrorContains(t, err, "has a label for the tasks tempo, drums")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "0.wav"), []byte("no audio"), 0o600))
	_, err = Run(t.Context(), hearing(t), Config{Set: dir, Tasks: []string{TaskKey}})
	require.ErrorContains(t, err, "could be read, the first: a")
}
