package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/source"
)

// flaw is something that is wrong with items of a catalogue, and the reason that the ledger must give for it.
type flaw struct {
	name string
	// file names the n-th file in the folder of the flaw; nil: a number.
	file func(n int) string
	// place puts something at the path of the n-th item; nil leaves it empty.
	place func(t *testing.T, path string, n int)
	// later happens to it between the gateway's look and the chunker's.
	later func(t *testing.T, path string)
	// code is the reason; "" = it is only odd, and must succeed.
	code string
	// planned is the reason that a plan of headers tells before, if it is another.
	planned string
}

// flaws are fifteen, and so many items have each.
const flawed = 20

func flaws(t *testing.T) []flaw {
	t.Helper()
	is := func(data []byte) func(*testing.T, string, int) {
		return func(t *testing.T, path string, _ int) { write(t, path, data) }
	}
	number := 1_000_000 // of sounds: an item whose sound another item has is answered from what is known of it, though its file is gone
	good := func(t *testing.T, path string, _ int) {
		number++
		write(t, path, blip(number))
	}
	link := func(to string) func(*testing.T, string, int) {
		return func(t *testing.T, path string, _ int) { require.NoError(t, os.Symlink(to, path)) }
	}
	node := func(kind uint32) func(*testing.T, string, int) {
		return func(t *testing.T, path string, _ int) { require.NoError(t, syscall.Mknod(path, kind|0o600, 0)) }
	}
	const unplanned = "" // a header cannot tell
	denied := flaw{name: "pipes that nobody writes into", place: node(syscall.S_IFIFO), code: event.CodeSourceNotFile, planned: event.CodeSourceNotFile}
	if os.Getuid() != 0 { // whom nothing is denied
		denied = flaw{name: "files that may not be read", place: func(t *testing.T, path string, n int) {
			good(t, path, n)
			require.NoError(t, os.Chmod(path, 0))
		}, code: event.CodeSourceDenied, planned: event.CodeSourceDenied}
	}
	return []flaw{
		// The first two are changed while they are in hand, so they come first in the manifest.
		{name: "changed during the run", place: good, later: func(t *testing.T, path string) { write(t, path, blip(2_000_000)) }, code: event.CodeSourceChanged, planned: unplanned},
		{name: "vanishing during the run", place: good, later: func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, code: event.CodeSourceMissing, planned: unplanned},
		{name: "missing", code: event.CodeSourceMissing, planned: event.CodeSourceMissing},
		{name: "empty", place: is(nil), code: event.CodeAudioEmpty, planned: event.CodeAudioEmpty},
		{name: "text", place: is([]byte(strings.Repeat("this is no music\n", 100))), code: event.CodeAudioUndecodable, planned: event.CodeAudioUndecodable},
		{name: "truncated", place: is(flacTone(1)[:40_000]), code: event.CodeAudioDamaged, planned: unplanned},
		{name: "unsupported", place: is(testFile(t, "tone.m4a")), code: event.CodeNeedsFFmpeg, planned: unplanned},
		{name: "0 seconds long", place: is(wav(8000, 1, nil)), code: event.CodeAudioEmpty, planned: event.CodeAudioEmpty},
		{name: "10 hours long", place: is(flacBomb(10)), code: event.CodeAudioTooLong, planned: unplanned},
		denied,
		{name: "ünïcode, 255 bytes", file: oddName, place: good},
		{name: "names of 256 bytes", file: func(n int) string { return fmt.Sprintf("%0256d", n) }, code: event.CodeSourceUnreadable, planned: event.CodeSourceUnreadable},
		{name: "dangling links", place: link("nowhere"), code: event.CodeSourceMissing, planned: event.CodeSourceMissing},
		{name: "loops of links", place: func(t *testing.T, path string, _ int) {
			require.NoError(t, os.Symlink(filepath.Base(path)+".back", path))
			require.NoError(t, os.Symlink(filepath.Base(path), path+".back"))
		}, code: event.CodeSourceUnreadable, planned: event.CodeSourceUnreadable},
		{name: "sockets and folders", place: func(t *testing.T, path string, n int) {
			if n%2 == 0 {
				require.NoError(t, os.Mkdir(path, 0o750))
				return
			}
			node(syscall.S_IFSOCK)(t, path, n)
		}, code: event.CodeSourceNotFile, planned: event.CodeSourceNotFile},
	}
}

// oddName is a name that file systems take and programs trip over.
func oddName(n int) string {
	names := []string{
		"音楽 🎵.wav", "e\u0301 é.wav", "a\nb\tc.wav", "\"'`$(x);&|<>*?[]{}!#~.wav", "%41%2F%00.wav", "-rf.wav", " .wav", "a\xff\xfe.wav", "\u202egnp.wav", "..wav.",
	}
	if n < len(names) {
		return names[n]
	}
	return strings.Repeat("ü", 120) + fmt.Sprintf("%011d.wav", n) // 255 bytes
}

// blip is a fifth of a second of a tone that no other blip has.
func blip(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	samples := make([]int16, 1600)
	for i := range samples {
		samples[i] = int16(r.IntN(20_000) - 10_000)
	}
	return wav(8000, 1, samples)
}

// TestABadCatalogue runs a catalogue of 1,000 items of which every third is broken, in fifteen ways: the run ends, each item has the right reason, nothing
// waits for what never comes, and plan, ledger, report and export agree.
func TestABadCatalogue(t *testing.T) {
	onlyEmbedded(t)
	music := t.TempDir()
	s := start(t, options{data: t.TempDir(), env: []string{
		"LARK_ENCODER_ENGINE=test", "LARK_LLM_ENGINE=test", "LARK_CHUNKER_MEASURE=false", "LARK_FFMPEG=none", "LARK_SOURCES=" + music,
		"LARK_CHUNKER_MAX_DURATION=3m", // headers are not believed, so that much is decoded of ten hours
	}})
	s.ready(t)

	want, planned := map[string]flaw{}, map[string]int{}
	var first, rest [][]string
	var later []func()
	for _, f := range flaws(t) {
		for n := range flawed {
			name := fmt.Sprintf("%d.wav", n)
			if f.file != nil {
				name = f.file(n)
			}
			path := filepath.Join(music, f.name, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
			if f.place != nil {
				f.place(t, path, n)
			}
			id := fmt.Sprint(f.name, " ", n)
			want[id] = f
			line := []string{id, source.FileURI(path)}
			if f.later != nil {
				first = append(first, line)
				later = append(later, func() { f.later(t, path) })
				continue
			}
			rest = append(rest, line)
		}
	}
	const broken = 14 * flawed // the odd names are not
	for n := range 1000 - len(want) {
		id := fmt.Sprint("good ", n)
		path := filepath.Join(music, "good", id+".wav")
		write(t, path, blip(n))
		want[id] = flaw{}
		rest = append(rest, []string{id, source.FileURI(path)})
	}
	rand.New(rand.NewPCG(seedOf(t), 3)).Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	rest = append(rest, rest[:flawed]...) // lines that come twice
	for _, line := range rest {
		if code := want[line[0]].planned; code != "" {
			planned[code]++
		}
	}
	list := filepath.Join(t.TempDir(), "list.csv")
	f, err := os.Create(list)
	require.NoError(t, err)
	lines := csv.NewWriter(f)
	require.NoError(t, lines.WriteAll(append(append([][]string{{"id", "uri"}}, first...), rest...)))
	_, err = f.WriteString("no uri,\n\"x\n") // a line without a place, and one that never ends
	require.NoError(t, err)
	require.NoError(t, f.Close())

	var plan index.Plan
	require.NoError(t, json.Unmarshal([]byte(s.larkOK(t, "index", "plan", list, "What is the tempo?", "--read", "all", "--json")), &plan))
	require.Equal(t, planned, plan.Failing, "%v", plan.Examples)
	require.Equal(t, []int{1000 + flawed, flawed, 2}, []int{plan.Items, plan.Repeated, plan.BadLines})

	// The chunker stands still until the gateway has looked at the first items, and those have changed.
	chunker := s.pid(up.Chunker)
	require.NoError(t, syscall.Kill(chunker, syscall.SIGSTOP))
	_, stderr, code := s.lark(t, "index", "run", list, "What is the tempo?", "--name", "bad", "--strict", "--detach")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, fmt.Sprintf("%d items have an id that came before", flawed))
	require.Contains(t, stderr, "2 lines are no items")
	require.Eventually(t, func() bool {
		page, err := s.RunItems(t.Context(), "bad", client.ItemOptions{State: client.StateRunning, Limit: len(later)})
		return err == nil && len(page.Items) == len(later) && page.Items[len(later)-1].Number == len(later)
	}, patience, poll)
	for _, change := range later {
		change()
	}
	require.NoError(t, syscall.Kill(chunker, syscall.SIGCONT))

	stdout, stderr, code := s.lark(t, "index", "status", "bad", "--wait", "--json")
	require.Equal(t, 3, code, stderr)
	var run client.Run
	require.NoError(t, json.Unmarshal([]byte(stdout), &run))
	require.Equal(t, client.RunPartial, run.State)
	wrong := 0
	require.NoError(t, index.EachItem(t.Context(), s.Client, run.ID, "", false, func(it client.RunItem) error {
		f, ok := want[it.ID]
		require.True(t, ok, it.ID)
		state := client.StateFailed
		if f.code == "" {
			state = client.StateSucceeded
		}
		if it.Code != f.code || it.State != state || strings.Contains(it.Message, music) {
			t.Errorf("%q is %s %s (%s), and should be %s", it.ID, it.State, it.Code, it.Message, f.code)
			wrong++
		}
		delete(want, it.ID)
		return nil
	}))
	require.Zero(t, wrong)
	require.Empty(t, want)
	require.Equal(t, []int{1000, 1000 - broken, broken}, []int{run.Items, run.Counts.Succeeded, run.Counts.Failed})

	out := filepath.Join(t.TempDir(), "out")
	s.larkOK(t, "index", "export", "bad", "--format", "jsonl", "--out", out)
	s.larkOK(t, "index", "report", "bad", "--out", filepath.Join(t.TempDir(), "bad.html"))
	stdout, _, code = s.lark(t, "index", "verify", "bad", "--source", list, "--export", out)
	require.Contains(t, stdout, "line 1022 of the source is no item", "bad lines are differences")
	require.Contains(t, stdout, "2 differences")
	require.Equal(t, 1, code)
	require.Zero(t, s.metric(t, up.Gateway, "lark_ledger_imbalance"))
}
