package configtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/config/configtest"
)

type inner struct {
	Deep int `yaml:"deep" default:"1"`
}

type outer struct {
	Inner inner  `yaml:"inner"`
	Name  string `yaml:"name" default:"lark"`
}

// recorder is a testing.TB that remembers why it failed.
type recorder struct {
	testing.TB
	text string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Errorf(f string, args ...any) { r.text += fmt.Sprintf(f, args...) }
func (r *recorder) FailNow()                     { runtime.Goexit() }

func complete(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "complete.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	rec, done := &recorder{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		configtest.Complete(rec, func() any { return new(outer) }, path)
	}()
	<-done
	return rec.text
}

func TestComplete(t *testing.T) {
	t.Parallel()
	require.Empty(t, complete(t, "name: x\ninner: {deep: 2}\n"))
	require.Contains(t, complete(t, "name: x\n"), "inner is not in the file")
	require.Contains(t, complete(t, "name: x\ninner: {}\n"), "inner.deep is not in the file")
	require.Contains(t, complete(t, "name: lark\ninner: {deep: 2}\n"), "name has its default in the file")
	require.Contains(t, complete(t, "name: x\nnew: 1\ninner: {deep: 2}\n"), "field new not found")
}
