// Package configtest checks configuration structs in the tests of their packages.
package configtest

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/shared/config"
)

// Complete checks that the YAML file at path sets every field of the configuration that newConfig points to, that no value
// is the field's default, and that every value loads. So a new field without a line in the file fails the test.
func Complete(t testing.TB, newConfig func() any, path string) {
	t.Helper()
	noEnv := func(string) (string, bool) { return "", false }
	initial, loaded := newConfig(), newConfig()
	require.NoError(t, config.Defaults(initial))
	require.NoError(t, config.Load(loaded, config.Options{Args: []string{"--config", path}, LookupEnv: noEnv}))

	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, yaml.Unmarshal(raw, &keys))
	compare(t, keys, reflect.ValueOf(initial).Elem(), reflect.ValueOf(loaded).Elem(), "")
}

func compare(t testing.TB, keys map[string]any, initial, loaded reflect.Value, at string) {
	t.Helper()
	for i := range initial.NumField() {
		sf := initial.Type().Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if name == "" {
			name = strings.ToLower(sf.Name)
		}
		switch {
		case !sf.IsExported() || name == "-":
		case sf.Tag.Get("instead") != "": // must not be set together with the field that the tag names
		case strings.Contains(opts, "inline"):
			compare(t, keys, initial.Field(i), loaded.Field(i), at)
		default:
			require.Contains(t, keys, name, "%s%s is not in the file", at, name)
			if sub, ok := keys[name].(map[string]any); ok && initial.Field(i).Kind() == reflect.Struct {
				compare(t, sub, initial.Field(i), loaded.Field(i), at+name+".")
				continue
			}
			require.NotEqual(t, initial.Field(i).Interface(), loaded.Field(i).Interface(),
				"%s%s has its default in the file, so that the test would not see it missing", at, name)
		}
	}
}
