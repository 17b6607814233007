//go:build unix

package bench

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
)

// system is a program that keeps the contract between the benchmark and what it measures: it logs how it was called, writes a result
// and prints a run. Its first window takes 4 s, the next 6 s, the third 5 s.
const system = `#!/bin/sh
dir=$(dirname "$0")
echo "$@" >>"$dir/calls"
test -z "$OPENBLAS_CORETYPE" || exit 1
own=1000 windows=1 ceilings=
while test $# -gt 0; do
  case $1 in
  window) ceilings=',"ceilings_gflops_per_core":{"f32":50}' ;;
  --windows) windows=$2 ;;
  --codes) printf '\001\000\000\000\002\000\000\000' >"$2" ;;
  --frames) printf '\000\000\200\077' >"$2" ;; # 1.0
  esac
  shift
done
echo x >>"$dir/count"
case $(wc -l <"$dir/count") in *1) seconds=4 ;; *2) seconds=6 ;; *) seconds=5 ;; esac
echo '{"system":"'$(basename "$0")'","precision":"f32","layers":2,"core_seconds":'$seconds',"wall_seconds":2,"parts":[
  {"name":"mlp","core_seconds":'$seconds',"gflop":100},{"name":"vq-vae","core_seconds":1,"gflop":10}],
  "memory":{"peak_bytes":3145728,"anonymous_bytes":'$((windows * 1048576))',"file_bytes":2097152}'"$ceilings}"
`

func executable(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(dir, 0o750))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o700))
	return path
}

func encoderConfig(t *testing.T) (cfg EncoderConfig, own, peer string) {
	t.Helper()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "bundle")
	_, err := jukeboxbundle.Random(t.Context(), jukeboxbundle.RandomConfig{Preset: "tiny", Out: bundle}, func(int64, int64) {})
	require.NoError(t, err)
	own, peer = filepath.Join(dir, "own"), filepath.Join(dir, "peer")
	return EncoderConfig{
		ModelDir: bundle, Seconds: 1, Layers: 2, Rounds: 3, Precisions: []string{"f32"}, Scratch: dir, Log: io.Discard, Progress: func(string) {},
		Executable: executable(t, own, "lark", system), Peer: []string{executable(t, peer, "torch", strings.ReplaceAll(system, `\002`, `\003`)), "-u"},
	}, own, peer
}

func TestSystemsRunInTurns(t *testing.T) {
	t.Setenv("OPENBLAS_CORETYPE", "Haswell")
	cfg, own, peer := encoderConfig(t)
	var turns []string
	cfg.Progress = func(what string) { turns = append(turns, what) }
	r, err := RunEncoder(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, []string{
		"round 1 of 3: larkstream f32", "round 1 of 3: peer f32", "round 2 of 3: larkstream f32", "round 2 of 3: peer f32",
		"round 3 of 3: larkstream f32", "round 3 of 3: peer f32", "memory of a second window: f32",
	}, turns)
	calls, err := os.ReadFile(filepath.Join(own, "calls"))
	require.NoError(t, err)
	require.Equal(t, 5, strings.Count(string(calls), "bench window --model "+cfg.ModelDir+" --precision f32 --layers "))
	require.Equal(t, 1, strings.Count(string(calls), "--layers 1 --seconds 1 --windows 2"))
	calls, err = os.ReadFile(filepath.Join(peer, "calls"))
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(calls), "-u --model "+cfg.ModelDir+" --precision f32 --layers 2 --audio "))

	require.Len(t, r.Systems, 2)
	require.InDelta(t, 5, r.Systems[0].CoreSeconds, 0)
	require.Len(t, r.Systems[1].Runs, 3)
	require.Equal(t, Difference{}, r.Systems[0].Difference)
	require.Equal(t, Difference{Codes: 1}, r.Systems[1].Difference)
	require.Equal(t, map[string]int64{"f32": 1 << 20}, r.SecondWindow)
	var text bytes.Buffer
	r.Write(&text)
	for _, want := range []string{
		"2 of 6 layers, medians of 3 rounds", "| f32 | 50.0 |", "| mlp | 5.00 | 100.0 | 20.0 | 40 % |", "| vq-vae | 1.00 | 10.0 | 10.0 | 20 % |",
		"| all | 6.00 | 110.0 | 18.3 | 37 % |", "| 6 layers, extrapolated | 16.00 | 310.0 | 19.4 | 39 % |",
		"| lark f32 : torch f32 | 1.00 | 1.00 |", "| lark f32 | 3 | 1 | 2 | 1 | 0 | 0 |", "| torch f32 | 3 | 1 | 2 |  | 1 | 0 |",
	} {
		require.Contains(t, text.String(), want)
	}
	r.Systems = r.Systems[:1]
	text.Reset()
	r.Write(&text)
	require.NotContains(t, text.String(), "| speed |", "there is no peer")
	entries, err := filepath.Glob(filepath.Join(cfg.Scratch, "lark-bench-*"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestASystemThatFailsEndsTheMeasurement(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"#!/bin/sh\nexit 3\n": "exit status 3", "#!/bin/sh\necho nonsense\n": "reading what", "#!/bin/sh\necho '{}'\n": "reading a result",
	} {
		cfg, _, peer := encoderConfig(t)
		cfg.Peer = []string{executable(t, peer, "bad", text)}
		_, err := RunEncoder(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	reference := result{[]int32{1, 2, 3}, []float32{3, 4}}
	require.Equal(t, Difference{}, reference.differs(reference))
	require.Equal(t, Difference{Codes: 2, Frames: 0.2}, result{[]int32{1, 9}, []float32{3, 5}}.differs(reference))
	require.Equal(t, Difference{Frames: 1}, result{reference.codes, nil}.differs(reference))
}
