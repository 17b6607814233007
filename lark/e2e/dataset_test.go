package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/dataset/llm/fake"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// datasetClips is how many clips the set has, datasetKills how often each step that works clip by clip is killed.
const datasetClips, datasetKills = 14, 3

// Every step of lark dataset is killed with -9 in the middle of its work, several times, and begun again. What comes out is what comes out of a run
// that nobody disturbs: each clip has one row, nothing that was done is done again, and the exports are equal to the last byte.
func TestADatasetSurvivesKills(t *testing.T) {
	onlyEmbedded(t)
	t.Parallel()
	calm, killed := twoDatasets(t)
	for _, step := range []struct {
		args []string
		rows string // the file that gets a row for each clip
	}{
		{[]string{"annotate", "SET"}, "annotations.jsonl"},
		{[]string{"generate", "SET", "--rules"}, "pairs.understanding.rules.jsonl"},
		{[]string{"generate", "SET", "--llm", "LLM", "--model", "fake", "--families", "captioning", "--jobs", "2"}, "pairs.captioning.llm.jsonl"},
		{[]string{"encode", "SET", "--model", filepath.Join(world.root, "models", "lark-nano")}, "frames.jsonl"},
	} {
		calm.do(step.args...)
		killed.doAndKill(step.rows, step.args...)
		require.Equal(t, calm.rows(step.rows), killed.rows(step.rows), step.args)
	}
	require.GreaterOrEqual(t, killed.kills, datasetKills)
	t.Logf("%d kills met a step at work", killed.kills)
	require.EqualValues(t, datasetClips, calm.model.Requests.Load())
	for _, r := range []*datasetRun{calm, killed} {
		r.do("split", "SET", "--seed", "1")
		r.do("export", "SET", "--out", "SHARDS", "--format", "jsonl")
	}
	// A kill in the middle of an export leaves the export of before, or a whole one.
	killed.kill(func() bool { return true }, "export", "SET", "--out", "SHARDS", "--format", "jsonl")
	killed.do("export", "SET", "--out", "SHARDS", "--format", "jsonl")
	for _, r := range []*datasetRun{calm, killed} {
		require.Contains(t, r.do("verify", "SET", "--export", "SHARDS"), "0 faults")
	}
	want, err := os.ReadFile(filepath.Join(calm.shards, "manifest.json"))
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(killed.shards, "manifest.json"))
	require.NoError(t, err)
	require.Equal(t, calm.plain(want), killed.plain(got))
}

// A deployment encodes a set: clips go over Kafka to the encoder stage, and its frames are those that one process makes. Both the step and the stage are killed with -9 in the middle
// of the work.
func TestADeploymentEncodesADataset(t *testing.T) {
	t.Parallel()
	alone, many := twoDatasets(t)
	alone.do("encode", "SET", "--model", modelDir())

	s := start(t, options{data: t.TempDir(), instances: 2}) // on Apache Kafka, two of each stage
	there := func() int { return strings.Count(many.rows("frames.jsonl"), "\n") }
	encode := []string{"encode", "SET", "--model", modelDir(), "--store", s.folder.BlobURL(), "--server", s.gateway(), "--jobs", "4"}
	many.kill(func() bool { return there() >= 2 }, encode...)
	many.kill(func() bool {
		if there() < 5 {
			return false
		}
		s.kill(t, up.Encoder)
		return true
	}, encode...)
	require.Less(t, there(), datasetClips, "the kills met the step at work")
	require.Contains(t, many.do(encode...), "0 failed")
	require.Equal(t, alone.rows("frames.jsonl"), many.rows("frames.jsonl"))
	require.Contains(t, many.do("verify", "SET", "--store", s.folder.BlobURL()), fmt.Sprintf("%d clips with frames; 0 faults", datasetClips))
	jobs, err := s.List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	require.LessOrEqual(t, len(jobs.Jobs), 2*4, "jobs are deleted, but for those whose step was killed")

	// Another store than the deployment's is found out at the first clip.
	wrong := many.command(t.Context(), "encode", "SET", "--model", modelDir(), "--store", "file://"+t.TempDir(), "--server", s.gateway(), "--anew")
	out, err := wrong.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--store must be the deployment's BLOB_URL")
}

// Three processes share a step, one of them is killed with -9. The run that joins their rows does what is missing, asks about nothing twice, and leaves what one process would.
func TestProcessesShareAStep(t *testing.T) {
	onlyEmbedded(t)
	t.Parallel()
	alone, shared := twoDatasets(t)
	for _, step := range []struct {
		args []string
		name string
	}{
		{[]string{"annotate", "SET"}, "annotations"},
		{[]string{"generate", "SET", "--llm", "LLM", "--model", "fake", "--jobs", "1"}, "pairs.understanding.llm"},
	} {
		alone.do(step.args...)
		part := func(i int) []string { return append(slices.Clone(step.args), "--part", fmt.Sprintf("%d/3", i)) }
		one, two := shared.command(t.Context(), part(1)...), shared.command(t.Context(), part(2)...)
		require.NoError(t, one.Start())
		require.NoError(t, two.Start())
		shared.kill(func() bool { return shared.rows(step.name+".3-of-3.jsonl") != "" }, part(3)...)
		require.NoError(t, one.Wait())
		require.NoError(t, two.Wait())
		shared.do(step.args...)
		require.Equal(t, alone.rows(step.name+".jsonl"), shared.rows(step.name+".jsonl"))
	}
	require.LessOrEqual(t, shared.model.Requests.Load(), alone.model.Requests.Load()+1, "but for what was under way at the kill")
	left, err := filepath.Glob(filepath.Join(shared.set, "folder", "*-of-*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Contains(t, shared.do("verify", "SET"), "0 faults")
}

// twoDatasets are two sets of the same clips, both imported.
func twoDatasets(t *testing.T) (one, other *datasetRun) {
	t.Helper()
	from := t.TempDir()
	for i := range datasetClips {
		writeFile(t, filepath.Join(from, fmt.Sprintf("song%02d.wav", i)), wav(44100, 1, chordOf(i, 2*44100)))
	}
	writeFile(t, filepath.Join(from, "licence.txt"), []byte("CC-BY-4.0\n"))
	one, other = newDatasetRun(t, from), newDatasetRun(t, from)
	for _, r := range []*datasetRun{one, other} {
		r.do("import", "folder", "--from", from, "--out", r.set)
	}
	return one, other
}

// datasetRun is one set on its way from audio to shards.
type datasetRun struct {
	t           *testing.T
	set, shards string
	model       *fake.Server
	url         string
	kills       int // that met the step at work
}

func newDatasetRun(t *testing.T, from string) *datasetRun {
	t.Helper()
	dir := t.TempDir()
	r := &datasetRun{t: t, set: filepath.Join(dir, "set"), shards: filepath.Join(dir, "shards"), model: &fake.Server{Go: make(chan struct{})}}
	server := httptest.NewServer(r.model)
	t.Cleanup(server.Close)
	r.url = server.URL + "/v1"
	require.DirExists(t, from)
	return r
}

func (r *datasetRun) command(ctx context.Context, args ...string) *exec.Cmd {
	full := []string{"dataset"}
	for _, a := range args {
		full = append(full, strings.NewReplacer("SET", r.set, "SHARDS", r.shards, "LLM", r.url).Replace(a))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(world.bin, "lark"), full...)
	cmd.Env = append(os.Environ(), client.EnvToken+"="+adminKey())
	return cmd
}

// do runs a step to its end and returns what it printed.
func (r *datasetRun) do(args ...string) string {
	r.t.Helper()
	var stderr bytes.Buffer
	cmd := r.command(r.t.Context(), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(r.t, err, "%v: %s", args, &stderr)
	return string(out)
}

// doAndKill runs a step, kills it whenever some more rows are there, and at last lets it end. No run asks the model about a clip that has a row.
func (r *datasetRun) doAndKill(file string, args ...string) {
	r.t.Helper()
	there := func() int { return strings.Count(r.rows(file), "\n") }
	asks := func(run func()) int64 {
		left, before := int64(datasetClips-there()), r.model.Requests.Load()
		run()
		asked := r.model.Requests.Load() - before
		require.LessOrEqual(r.t, asked, left)
		return asked - left
	}
	for n := range datasetKills {
		least := 1 + n*datasetClips/(datasetKills+1)
		asks(func() { r.kill(func() bool { return there() >= least }, args...) })
	}
	more := asks(func() { r.do(args...) })
	if slices.Contains(args, "--llm") {
		require.Zero(r.t, more, "the last run asks about what has no row, and about nothing else")
	}
}

// kill starts a step and kills it with -9 as soon as when says so; a step that is faster ends well.
func (r *datasetRun) kill(when func() bool, args ...string) {
	r.t.Helper()
	var stderr bytes.Buffer
	cmd := r.command(r.t.Context(), args...)
	cmd.Stderr = &stderr
	require.NoError(r.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(patience)
	for !when() {
		select {
		case err := <-ended:
			require.NoError(r.t, err, "%v: %s", args, &stderr)
			return
		case <-deadline:
			require.Fail(r.t, "the step does not come forward", "%v", args)
		case <-time.After(poll):
		}
	}
	_ = cmd.Process.Kill() // it may have ended by itself
	if err := <-ended; err != nil {
		r.kills++
	}
}

// rows returns the rows of a step's file, without what differs between two runs.
func (r *datasetRun) rows(file string) string {
	data, err := os.ReadFile(filepath.Join(r.set, "folder", file))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(r.t, err)
	return r.plain(data)
}

// known matches whether frames were in the store already: those of a clip that was under way at a kill may be.
var known = regexp.MustCompile(`,"known":true`)

func (r *datasetRun) plain(data []byte) string {
	return known.ReplaceAllString(strings.ReplaceAll(string(data), filepath.Dir(r.set), "DIR"), "")
}

// chordOf is a major chord, a step higher for each clip.
func chordOf(step, samples int) []int16 {
	out := make([]int16, samples)
	for i := range out {
		at, root := float64(i)/44100, 220*math.Pow(2, float64(step)/12)
		var x float64
		for _, ratio := range []float64{1, 1.25, 1.5} {
			x += math.Sin(2 * math.Pi * root * ratio * at)
		}
		out[i] = int16(6000 * x * math.Exp(-3*math.Mod(at, 0.5)))
	}
	return out
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
