package cli

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// mainOf runs the command line in this process.
func mainOf(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return out.String(), errs.String(), code
}

// TestEveryHelpHasExamples walks the tree of commands.
func TestEveryHelpHasExamples(t *testing.T) {
	t.Parallel()
	walked := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		walked++
		for line := range strings.Lines(cmd.Example) {
			require.True(t, strings.HasPrefix(line, "  "), "an example of %s is not indented: %q", cmd.CommandPath(), line)
		}
		require.Regexp(t, `lark(-sim)? `, cmd.Example, cmd.CommandPath())
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
	require.Greater(t, walked, 30, "the walk reaches the subcommands of subcommands")
}

func TestUsageErrorsExitTwo(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for want, args := range map[string][]string{
		`lark has no subcommand "tuba"`:                 {"tuba"},
		`has no subcommand "aks": is it ask?`:           {"aks"},
		`lark jobs has no subcommand "lst": is it list`: {"jobs", "lst"},
		`lark topic has no subcommand "x"`:              {"topic", "x"},
		`lark bench has no subcommand "x"`:              {"bench", "x"},
		`lark model import has no subcommand "x"`:       {"model", "import", "x"},
		`lark completion has no subcommand "tcsh"`:      {"completion", "tcsh"},
		`lark has no subcommand "trombone"`:             {"help", "trombone"},
		`lark jobs has no subcommand "trombone"`:        {"help", "jobs", "trombone"},
		`unknown flag: --nope`:                          {"model", "import", "jukebox", "--nope"},
		`unknown command "x" for "lark version"`:        {"version", "x"},
		`unknown command "x" for "lark completion bash`: {"completion", "bash", "x"},
		`--data is empty`:                               {"doctor", "--data", ""},
		`--data is empty: name a value`:                 {"jobs", "list", "--data="},
		`--server is empty`:                             {"jobs", "list", "--server", ""},
		`--model is empty`:                              {"up", "--model", "", "--data", data},
		`is not http://host:port`:                       {"jobs", "list", "--server", "localhost:8080"},
		`"tuba://x" is not http://host:port`:            {"ask", "--server", "tuba://x", "-", "Key?"},
		`because auth is none; set auth to keys`:        {"up", "--addr", ":8080", "--data", data},
		`--limit must be`:                               {"jobs", "list", "--limit", "-1", "--data", data},
		`--state "lost" is not known`:                   {"jobs", "list", "--state", "lost", "--data", data},
	} {
		_, stderr, code := mainOf(t, args...)
		require.Equal(t, exitUsage, code, "lark %q: %s", args, stderr)
		require.Contains(t, stderr, want, args)
		require.Contains(t, stderr, "Try lark --help", args)
	}
}

func TestGroupsAndHelpPrintHelp(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"Available Commands":  {},
		"lark jobs [command]": {"jobs"},
		"lark ask song.mp3":   {"help", "ask"},
		"--preset":            {"help", "model", "random", "llama"},
	} {
		stdout, stderr, code := mainOf(t, args...)
		require.Zero(t, code, stderr)
		require.Contains(t, stdout, want)
	}
}

// closedPipe is a standard output that nobody reads any more.
type closedPipe struct{ writes int }

func (c *closedPipe) Write([]byte) (int, error) {
	c.writes++
	return 0, io.ErrClosedPipe
}

func TestLostOutputIsAFailure(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"--help"}, {"completion", "bash"}} {
		var errs bytes.Buffer
		out := &closedPipe{}
		code := Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: out, Err: &errs})
		require.Equal(t, exitFailed, code, args)
		require.Contains(t, errs.String(), io.ErrClosedPipe.Error(), args)
		require.Equal(t, 1, out.writes, "nothing more is written after the first error")
	}
}

// TestADeadPortNamesTheRemedy: of a gateway that does not run.
func TestADeadPortNamesTheRemedy(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	for _, args := range [][]string{{"ask", "--server", url, "-", "Key?"}, {"jobs", "list", "--server", url}} {
		_, stderr, code := mainOf(t, args...)
		require.Equal(t, exitFailed, code)
		require.Contains(t, stderr, "no gateway answers at "+url)
		require.Contains(t, stderr, "lark up")
		require.Contains(t, stderr, "--server")
	}
}
