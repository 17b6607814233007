package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/alloctest"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker with our topics, an object store and a folder with a track.
type world struct {
	dir    string
	kafka  kafka.Config
	blobs  string
	broker *kafka.Broker
}

func setup(t *testing.T) *world {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w := &world{dir: t.TempDir(), kafka: kafka.Config{Brokers: []string{broker.Addr()}}, blobs: "file://" + t.TempDir(), broker: broker}
	require.NoError(t, kafka.Provision(t.Context(), w.kafka, event.Topics()))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "song.wav"), []byte("sound"), 0o600))
	return w
}

func (w *world) feed(t *testing.T, jobs string, change ...func(*Config)) ([]Result, Totals, error) {
	t.Helper()
	file := filepath.Join(w.dir, "jobs.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(jobs), 0o600))
	var results []Result
	cfg := Config{File: file, Brokers: w.kafka.Brokers, BlobURL: w.blobs, Report: func(r Result) { results = append(results, r) }}
	for _, c := range change {
		c(&cfg)
	}
	totals, err := Run(t.Context(), cfg)
	return results, totals, err
}

// jobs reads the jobs topic as a stage would.
func (w *world) jobs(t *testing.T) []*eventpb.Job {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var jobs []*eventpb.Job
	var faults []error
	caughtUp, wait := kafka.Tail(ctx, w.kafka, event.InLane(event.TopicJobs, event.LaneBulk), kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		job, err := event.DecodeAs[*eventpb.Job](rec)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || rec.Key != job.GetJobId() {
			faults = append(faults, err)
			return
		}
		jobs = append(jobs, job)
	})
	<-caughtUp
	cancel()
	_ = wait()
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, faults)
	return jobs
}

const twoJobs = `{"audio":"song.wav","questions":["Key?"," Tempo? "],"spans":"0-25"}

{"audio":"song.wav","questions":["Key?"],"seed":7,"temperature":0.5,"max_tokens":9}
`

func TestJobsArriveAsAStageReadsThem(t *testing.T) {
	t.Parallel()
	w := setup(t)
	results, totals, err := w.feed(t, twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
	require.Equal(t, []int{1, 3}, []int{results[0].Line, results[1].Line})

	byID := map[string]*eventpb.Job{}
	for _, job := range w.jobs(t) {
		byID[job.GetJobId()] = job
	}
	require.Len(t, byID, 2)
	first, second := byID[results[0].JobID], byID[results[1].JobID]
	sum := sha256.Sum256([]byte("sound"))
	require.Equal(t, hex.EncodeToString(sum[:]), first.GetAudio().GetSha256())
	require.Equal(t, "song.wav", first.GetAudio().GetName())
	require.Equal(t, "Tempo?", first.GetQuestions()[1].GetText())
	require.Equal(t, eventpb.PlanMode_PLAN_MODE_EXPLICIT, first.GetPlan())
	require.InDelta(t, 25, first.GetSpans()[0].GetEndS(), 0)
	require.Equal(t, eventpb.PlanMode_PLAN_MODE_AUTO, second.GetPlan())
	require.Equal(t, uint64(7), second.GetDecode().GetSeed())

	store, err := blob.Open(t.Context(), w.blobs)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	audio, err := store.GetBytes(t.Context(), first.GetAudio().GetBlobKey(), 100)
	require.NoError(t, err)
	require.Equal(t, "sound", string(audio))
}

func TestTagsAreAnotherJobThanText(t *testing.T) {
	t.Parallel()
	w := setup(t)
	results, totals, err := w.feed(t, `{"audio":"song.wav","questions":["Key?"]}
{"audio":"song.wav","questions":["Key?"],"response_schema":"tags"}
{"audio":"song.wav","response_schema":"tags"}
{"audio":"song.wav","response_schema":"poem"}
{"audio":"song.wav","questions":["Key?"],"response_schema":"poem"}
`)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 3, Rejected: 2}, totals)
	require.Contains(t, results[3].Error, "questions are needed")
	require.Contains(t, results[4].Error, `response_schema "poem" is not known`)
	// The id that this line has had since before there were schemas: a file fed again makes no new jobs.
	require.Equal(t, "4f963c6e-f750-58dd-aae1-ad31a6785f8d", results[0].JobID)
	asked := map[string]string{}
	for _, job := range w.jobs(t) {
		asked[job.GetJobId()] = job.GetResponseSchema() + " " + job.GetQuestions()[0].GetText()
	}
	require.Equal(t, map[string]string{
		results[0].JobID: " Key?", results[1].JobID: "tags Key?", results[2].JobID: "tags " + tags.DefaultQuestion,
	}, asked)
}

func TestASecondRunGoesOnWhereTheFirstStopped(t *testing.T) {
	t.Parallel()
	w := setup(t)
	first, _, err := w.feed(t, twoJobs)
	require.NoError(t, err)
	third := `{"audio":"song.wav","questions":["Metre?"]}` + "\n"
	second, totals, err := w.feed(t, twoJobs+third)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 1, Skipped: 2}, totals)
	require.Equal(t, first[0].JobID, second[0].JobID, "a line's id follows from its content")
	require.Len(t, w.jobs(t), 3)

	require.NoError(t, os.Remove(filepath.Join(w.dir, "jobs.jsonl.fed")))
	again, totals, err := w.feed(t, twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
	require.Equal(t, first[1].JobID, again[1].JobID)
}

// TestFailedJobsAreTriedAgain: an attempt that failed is followed by one with another id; what has not failed is left alone.
func TestFailedJobsAreTriedAgain(t *testing.T) {
	t.Parallel()
	w := setup(t)
	failed := map[string]bool{}
	retry := func(c *Config) {
		c.Failed = func(_ context.Context, id string) (bool, error) { return failed[id], nil }
	}
	first, _, err := w.feed(t, twoJobs, retry)
	require.NoError(t, err)
	failed[first[0].JobID] = true
	second, totals, err := w.feed(t, twoJobs, retry)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 1, Skipped: 1}, totals)
	require.Equal(t, 1, second[0].Attempt)
	require.NotEqual(t, first[0].JobID, second[0].JobID)
	_, totals, err = w.feed(t, twoJobs, retry)
	require.NoError(t, err)
	require.Equal(t, Totals{Skipped: 2}, totals, "the second attempt is on its way")
	failed[second[0].JobID] = true
	third, _, err := w.feed(t, twoJobs, retry)
	require.NoError(t, err)
	require.Equal(t, 2, third[0].Attempt)
	require.Len(t, w.jobs(t), 4)

	_, _, err = w.feed(t, twoJobs, func(c *Config) {
		c.Failed = func(context.Context, string) (bool, error) { return false, errors.New("no gateway") }
	})
	require.ErrorContains(t, err, "no gateway", "whoever asks for failed jobs must not be told that there are none")
}

// TestAnotherModelIsAnotherJob: the answers of one model are not those of another.
func TestAnotherModelIsAnotherJob(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ids := map[string]bool{}
	for _, digest := range []string{"", "one", "two", "one"} {
		results, _, err := w.feed(t, twoJobs, func(c *Config) { c.ModelDigest = digest })
		require.NoError(t, err)
		ids[results[0].JobID] = true
	}
	require.Len(t, ids, 3)
	pinned := map[string]int{}
	for _, job := range w.jobs(t) {
		pinned[job.GetModelDigest()]++
	}
	require.Equal(t, map[string]int{"": 2, "one": 2, "two": 2}, pinned)
}

func TestBadLinesDoNotKeepTheOthersBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "empty.wav"), nil, 0o600))
	bad := []string{
		`not json`, `{"audio":"song.wav"}`, `{"questions":["a"]}`, `{"audio":"song.wav","audio_ref":"x","questions":["a"]}`,
		`{"audio":"missing.wav","questions":["a"]}`, `{"audio":"empty.wav","questions":["a"]}`, `{"audio":"song.wav","questions":[""]}`,
		`{"audio":"song.wav","questions":["a"],"windows":"9-1"}`, `{"audio":"song.wav","questions":["a"],"qestion":1}`,
		`{"audio_ref":"` + strings.Repeat("ab", 32) + `","questions":["a"]}`, `{"audio":"song.wav","questions":["a"]} {}`,
		`{"audio":"song.wav","questions":["a"],"temperature":99}`,
	}
	results, totals, err := w.feed(t, strings.Join(bad, "\n")+"\n"+twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2, Rejected: len(bad)}, totals)
	for i := range bad {
		require.Equal(t, Rejected, results[i].State, bad[i])
		require.NotEmpty(t, results[i].Error)
	}
	require.Len(t, w.jobs(t), 2)
}

// TestBadLinesAreToldInTheWordsOfTheFile has the lines of a file that a user wrote by hand.
func TestBadLinesAreToldInTheWordsOfTheFile(t *testing.T) {
	t.Parallel()
	w := setup(t)
	lines := []struct{ raw, want string }{
		{`{"audio":"song.wav","questions":"x"}`, "questions must be a list of strings, not the JSON string"},
		{`{"audio":"song.wav","questions":["x",7]}`, "questions must be"},
		{`{"audio":"song.wav","question":"x"}`, `unknown field "question"`},
		{`{"audio":"nosuch.flac","questions":["x"]}`, "no such file"},
		{`{"audio":".","questions":["x"]}`, "is a directory"},
		{`{"audio":"song.wav","questions":["x"],"windows":"foo"}`, "windows are auto, all, or spans"},
		{`{"audio":"song.wav","questions":["x"],"windows":["0-1"]}`, "windows must be a string, not the JSON array"},
		{`{"audio":"song.wav","questions":["x"],"plan":"all","spans":"0-25"}`, "spans belong to plan explicit"},
		{`{"audio":"song.wav","questions":["x"],"plan":"all","windows":"all"}`, "windows is the older name"},
		{`{"audio":"http://example.org/a.mp3","questions":["x"]}`, "audio must be a file, not a URL"},
		{`{"audio":"song.wav","questions":["x"],"seed":-1}`, "seed must be a whole number that is not negative, not the JSON number -1"},
		{`["song.wav"]`, "not a JSON object but a JSON array"},
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.raw + "\n")
	}
	results, totals, err := w.feed(t, text.String())
	require.NoError(t, err)
	require.Equal(t, Totals{Rejected: len(lines)}, totals)
	for i, l := range lines {
		require.Equal(t, i+1, results[i].Line)
		require.Contains(t, results[i].Error, l.want)
		require.NotContains(t, results[i].Error, "Go struct")
	}
}

func TestAnUnreachableBrokerEndsTheRunAndNothingIsNoted(t *testing.T) {
	t.Parallel()
	w := setup(t)
	reachable := w.kafka.Brokers
	w.kafka.Brokers = []string{"127.0.0.1:1"}
	results, _, err := w.feed(t, twoJobs)
	require.ErrorContains(t, err, "reaching Kafka at 127.0.0.1:1")
	require.Empty(t, results)
	w.kafka.Brokers = reachable
	_, totals, err := w.feed(t, twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
}

func TestJobsFromStandardInput(t *testing.T) {
	t.Parallel()
	w := setup(t)
	totals, err := Run(t.Context(), Config{
		File: "-", Brokers: w.kafka.Brokers, BlobURL: w.blobs,
		Input: strings.NewReader(strings.ReplaceAll(twoJobs, "song.wav", filepath.Join(w.dir, "song.wav"))),
	})
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
}

// TestEveryEncodingOfTheFile: what editors and shells of Windows write is read.
func TestEveryEncodingOfTheFile(t *testing.T) {
	t.Parallel()
	w := setup(t)
	text := strings.ReplaceAll(twoJobs, "\n", "\r\n") + `{"audio":"song.wav","questions":["Größe? 𝄞"]}` // no line feed at the end
	var little, big []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		little = binary.LittleEndian.AppendUint16(little, unit)
		big = binary.BigEndian.AppendUint16(big, unit)
	}
	plain, totals, err := w.feed(t, text)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 3}, totals)
	require.Equal(t, []int{1, 3, 4}, []int{plain[0].Line, plain[1].Line, plain[2].Line})
	for name, file := range map[string]string{"UTF-8 with a mark": "\ufeff" + text, "UTF-16LE": string(little), "UTF-16BE": string(big)} {
		results, totals, err := w.feed(t, file)
		require.NoError(t, err, name)
		require.Equal(t, Totals{Skipped: 3}, totals, name)
		for i := range plain {
			require.Equal(t, plain[i].JobID, results[i].JobID, name)
			require.Equal(t, plain[i].Line, results[i].Line, name)
		}
	}
	results, totals, err := w.feed(t, string(little[2:]))
	require.NoError(t, err)
	require.Zero(t, totals.Published)
	require.Contains(t, results[0].Error, "UTF-16 without a byte order mark")
	results, _, err = w.feed(t, "{\"audio\":\"song.wav\",\"questions\":[\"Gr\xf6\xdfe?\"]}\n")
	require.NoError(t, err)
	require.Contains(t, results[0].Error, "not UTF-8", "or the question would be asked with other letters")
}

func TestAnOverLongLineDoesNotKeepTheOthersBack(t *testing.T) {
	t.Parallel()
	w := setup(t)
	before, after, _ := strings.Cut(strings.TrimSpace(twoJobs), "\n\n")
	results, totals, err := w.feed(t, before+"\n"+strings.Repeat("x", maxLineBytes)+"\n"+after)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2, Rejected: 1}, totals)
	require.Equal(t, Result{Line: 2, State: Rejected, Error: "the line has 1048577 bytes: a job has at most 1048576"}, results[1])
	require.Equal(t, 3, results[2].Line)
}

// TestTheJournalKnowsItsInstallation: what one installation was given, another one still needs, and so does a new one in the same place.
func TestTheJournalKnowsItsInstallation(t *testing.T) {
	t.Parallel()
	first, second := setup(t), setup(t)
	_, totals, err := first.feed(t, twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
	second.dir = first.dir // the same jobs file, with its journal
	_, totals, err = second.feed(t, twoJobs)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 2}, totals)
	require.Len(t, second.jobs(t), 2)
	for _, w := range []*world{first, second} {
		_, totals, err = w.feed(t, twoJobs)
		require.NoError(t, err)
		require.Equal(t, Totals{Skipped: 2}, totals, "one journal remembers both")
	}
}

func TestAJournalThatCannotBeWrittenNamesTheRemedy(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, place := range []string{filepath.Join(w.dir, "missing", "j.fed"), w.dir} {
		_, totals, err := w.feed(t, twoJobs, func(c *Config) { c.Journal = place })
		require.ErrorContains(t, err, place)
		require.ErrorContains(t, err, "--journal")
		require.Zero(t, totals)
	}
}

// TestAnInterruptedRunGoesOn: also one that waits for standard input ends at once, and the next one publishes what is missing, once.
func TestAnInterruptedRunGoesOn(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var text strings.Builder
	for i := range batchJobs + 6 {
		fmt.Fprintf(&text, `{"audio":%q,"questions":["Question %d?"]}`+"\n", filepath.Join(w.dir, "song.wav"), i)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	in, out := io.Pipe()
	t.Cleanup(func() { _ = out.Close() })
	go func() { _, _ = io.WriteString(out, text.String()) }() // and no end
	cfg := Config{File: "-", Input: in, Journal: filepath.Join(w.dir, "fed"), Brokers: w.kafka.Brokers, BlobURL: w.blobs}
	cfg.Progress = func(p Progress) {
		if p.Jobs == batchJobs+6 {
			interrupt()
		}
	}
	totals, err := Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, Totals{Published: batchJobs}, totals)

	cfg.Input, cfg.Progress = strings.NewReader(text.String()), nil
	totals, err = Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, Totals{Published: 6, Skipped: batchJobs}, totals)
	require.Len(t, w.jobs(t), batchJobs+6)
}

func TestProgressReachesTheEndOfTheFile(t *testing.T) {
	t.Parallel()
	w := setup(t)
	var seen []Progress
	_, _, err := w.feed(t, twoJobs, func(c *Config) { c.Progress = func(p Progress) { seen = append(seen, p) } })
	require.NoError(t, err)
	require.Len(t, seen, 2)
	require.Less(t, seen[0].Done, seen[1].Done)
	require.Equal(t, Progress{Jobs: 2, Done: int64(len(twoJobs)), Total: int64(len(twoJobs))}, seen[1])
}

func FuzzParseLine(f *testing.F) {
	for _, line := range strings.Split(twoJobs, "\n") {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		alloctest.Bound(t, len(raw), 64<<10, 200, func() {
			if l, err := parseLine(raw); err == nil {
				require.NotEmpty(t, l.Questions)
			}
		})
	})
}

// FuzzLines: whatever the bytes of a jobs file, each line comes once, in order and within bounds, as UTF-8 or with an error that says why not.
func FuzzLines(f *testing.F) {
	f.Add([]byte("\xef\xbb\xbf{}\r\n\n{}"))
	f.Add([]byte("\xff\xfe{\x00}\x00\n\x00"))
	f.Add([]byte("\xfe\xff\x00{\x00}\x00\n"))
	f.Add([]byte("{\x00}\x00\n\x00\xff\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		lines, failed := splitLines(t.Context(), bytes.NewReader(raw))
		var before textLine
		for l := range lines {
			require.Greater(t, l.number, before.number)
			require.Greater(t, l.end, before.end)
			require.NotEqual(t, l.err == nil, len(l.raw) == 0)
			require.LessOrEqual(t, len(l.raw), maxLineBytes)
			require.True(t, utf8.Valid(l.raw))
			before = l
		}
		require.LessOrEqual(t, before.end, int64(3*len(raw)), "a byte that is no character becomes three")
		require.Empty(t, failed)
	})
}
