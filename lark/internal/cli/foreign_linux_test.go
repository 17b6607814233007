package cli_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// TestAnotherUsersFolder: every command says in one way that the data folder is not this user's. Root, whom no folder keeps out, becomes nobody.
func TestAnotherUsersFolder(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(data, 0))
	model, track := modeltest.Write(t, modeltest.Manifest()), filepath.Join(t.TempDir(), "a.wav")
	jobs := filepath.Join(filepath.Dir(track), "jobs.jsonl")
	require.NoError(t, os.WriteFile(track, tone(1), 0o644))
	require.NoError(t, os.WriteFile(jobs, []byte(`{"audio":"a.wav","questions":["Key?"]}`+"\n"), 0o644))
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		require.NoError(t, os.CopyFS(filepath.Join(filepath.Dir(track), "model"), os.DirFS(model))) // with rights for all
		model = filepath.Join(filepath.Dir(track), "model")
		for _, dir := range []string{filepath.Dir(executable), filepath.Dir(filepath.Dir(track)), filepath.Dir(track), model} {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
		files, err := filepath.Glob(filepath.Join(model, "*"))
		require.NoError(t, err)
		for _, file := range files {
			require.NoError(t, os.Chmod(file, 0o755))
		}
	}
	for _, args := range [][]string{
		{"up"}, {"ask", track, "Key?"}, {"jobs", "list"}, {"jobs", "show", "x"}, {"jobs", "cancel", "x"}, {"feed", jobs}, {"topic", "dump", "lark.jobs.v1"}, {"doctor"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, executable, append(args, "--data", data)...)
		var said bytes.Buffer
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LARK_MODEL_DIR=" + model}, "/", &said, &said, attr
		require.Error(t, cmd.Run(), args)
		cancel()
		require.Equal(t, 1, strings.Count(said.String(), "data folder "+data+" belongs to another user"), "lark %q: %s", args, said.String())
		require.Contains(t, said.String(), "name a folder of your own with --data", args)
	}
}
