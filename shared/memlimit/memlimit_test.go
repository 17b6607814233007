package memlimit

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestLimitOfTheContainer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":     {nil, 0},
		"version 2":             {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1073741824\n"}, 1 << 30},
		"the lowest counts":     {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "500\n", "sys/fs/cgroup/a/memory.max": "400\n"}, 400},
		"version 2, namespace":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 1 << 29},
		"path of the host":      {map[string]string{"proc/self/cgroup": "0::/docker/x\n", "sys/fs/cgroup/memory.max": "77\n"}, 77},
		"version 1":             {map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "99\n"}, 99},
		"version 1, none":       {map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"nonsense":              {map[string]string{"proc/self/cgroup": "zzz\n0::/../../etc\n", "sys/fs/cgroup/memory.max": "-5"}, 0},
		"a group that has gone": {map[string]string{"proc/self/cgroup": "0::/a\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys := fstest.MapFS{}
			for path, text := range tc.files {
				fsys[path] = &fstest.MapFile{Data: []byte(text)}
			}
			require.Equal(t, tc.want, of(fsys))
		})
	}
}

func TestThisProcess(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, Bytes(), int64(0))
}
