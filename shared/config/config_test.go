package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/config/configtest"
)

type common struct {
	Addr     string        `yaml:"addr" env:"ADDR" flag:"addr" default:":8080" help:"where to listen"`
	Password config.Secret `yaml:"password" env:"PASSWORD"`
}

type settings struct {
	Common common          `yaml:",inline"`
	Name   string          `yaml:"name" default:"lark" help:"display name"`
	On     bool            `yaml:"on"`
	Wait   time.Duration   `yaml:"wait" default:"5s"`
	Delays []time.Duration `yaml:"delays" default:"1s,2m"`
	Tags   []string        `yaml:"tags"`
	Limits struct {
		MaxItems int     `yaml:"max_items" default:"10"`
		Ratio    float64 `yaml:"ratio" default:"0.5"`
		Bytes    uint32  `yaml:"bytes"`
		Secret   string  `yaml:"inner" env:"-" flag:"-"`
	} `yaml:"limits"`
}

func (s *settings) Validate() error {
	var faults []error
	if s.Limits.MaxItems < 1 {
		faults = append(faults, errors.New("limits.max_items: must be above 0"))
	}
	if s.Wait < 0 {
		faults = append(faults, errors.New("wait: must not be negative"))
	}
	return errors.Join(faults...)
}

// load runs Load with an environment of its own and returns what it printed.
func load(t *testing.T, dst any, yamlText string, env map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	opts := config.Options{
		Name: "lark-test", Summary: "Tests configuration.", Examples: []string{"lark-test --on"}, EnvPrefix: "LARK_T_", Args: args, Out: &out,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
	}
	if yamlText != "" {
		opts.File = filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(opts.File, []byte(yamlText), 0o600))
	}
	err := config.Load(dst, opts)
	return out.String(), err
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s := settings{Name: "set by the program"}
	_, err := load(t, &s, "", nil)
	require.NoError(t, err)
	require.Equal(t, ":8080", s.Common.Addr)
	require.Equal(t, "set by the program", s.Name)
	require.Equal(t, 5*time.Second, s.Wait)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Minute}, s.Delays)
	require.Equal(t, 10, s.Limits.MaxItems)
	require.InDelta(t, 0.5, s.Limits.Ratio, 0)
}

func TestEachSourceOverridesTheOneBefore(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := load(t, &s, "addr: yaml\nname: yaml\nwait: 1s\ndelays: [3s]\nlimits: {max_items: 2, ratio: 0.25}\n",
		map[string]string{"LARK_T_NAME": "env", "LARK_T_WAIT": "2s", "LARK_T_LIMITS_MAX_ITEMS": "3", "ADDR": "", "PASSWORD": "p", "LARK_T_TAGS": "a, b,"},
		"--wait", "3s", "--limits-max-items=4", "--on", "--limits-bytes", "0x10")
	require.NoError(t, err)
	require.Equal(t, "yaml", s.Common.Addr, "an empty variable is as good as none")
	require.Equal(t, "env", s.Name)
	require.Equal(t, 3*time.Second, s.Wait)
	require.Equal(t, []time.Duration{3 * time.Second}, s.Delays)
	require.Equal(t, []string{"a", "b"}, s.Tags)
	require.Equal(t, 4, s.Limits.MaxItems)
	require.InDelta(t, 0.25, s.Limits.Ratio, 0)
	require.EqualValues(t, 16, s.Limits.Bytes)
	require.True(t, s.On)
	require.Equal(t, "p", s.Common.Password.Reveal())
}

func TestZeroInTheFileBeatsTheDefault(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := load(t, &s, "wait: 0s\nlimits: {ratio: 0}\n", nil)
	require.NoError(t, err)
	require.Zero(t, s.Wait)
	require.Zero(t, s.Limits.Ratio)
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := load(t, &s, "nam: typo\nwait: soon\nlimits: {max_items: many, unknown: 1}\n",
		map[string]string{"LARK_T_ON": "perhaps", "LARK_T_LIMITS_BYTES": "-1", "LARK_T_DELAYS": "1s,x"}, "--limits-ratio", "half")
	for _, want := range []string{
		"field nam not found", "line 2", "soon", "line 3", "many", "field unknown not found",
		"on: variable LARK_T_ON: \"perhaps\" is neither true nor false", "limits.bytes: variable LARK_T_LIMITS_BYTES",
		"delays: variable LARK_T_DELAYS: \"x\" is not a duration", "limits.ratio: flag --limits-ratio: \"half\" is not a number",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestValidateReportsAll(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := load(t, &s, "", nil, "--limits-max-items", "0", "--wait", "-1s")
	require.ErrorContains(t, err, "limits.max_items")
	require.ErrorContains(t, err, "wait: must not be negative")
}

func TestFileFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: b: c":                  "mapping values",
		"name: a\nname: b":         "already",
		"name: a\n---\nname: b":    "more than one",
		"- list":                   "cannot unmarshal",
		strings.Repeat("#", 2<<20): "is over",
		"\x00":                     "control characters",
	} {
		var s settings
		_, err := load(t, &s, text, nil)
		require.ErrorContains(t, err, want, "%.20q", text)
	}
	var s settings
	_, err := load(t, &s, "# nothing but a comment\n", nil)
	require.NoError(t, err)
	require.ErrorContains(t, config.Load(&s, config.Options{Args: []string{"--config", "/does/not/exist"}}), "opening configuration file")
}

func TestArguments(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := load(t, &s, "", nil, "stray")
	require.ErrorContains(t, err, `unexpected argument "stray"`)
	_, err = load(t, &s, "", nil, "--nope")
	require.ErrorContains(t, err, "unknown flag")
	_, err = load(t, &s, "", nil, "--limits-inner=x")
	require.ErrorContains(t, err, "unknown flag", "the tag forbids it")

	var rest []string
	require.NoError(t, config.Load(&s, config.Options{Args: []string{"--on", "a", "b"}, Rest: &rest, LookupEnv: func(string) (string, bool) { return "", false }}))
	require.Equal(t, []string{"a", "b"}, rest)
}

func TestHelp(t *testing.T) {
	t.Parallel()
	s := settings{Common: common{Password: "hunter2"}}
	out, err := load(t, &s, "", map[string]string{"PASSWORD": "hunter3"}, "--help", "stray")
	require.ErrorIs(t, err, config.ErrDone)
	for _, want := range []string{
		"Tests configuration.", "lark-test --on", "--limits-max-items int", "LARK_T_LIMITS_MAX_ITEMS", "where to listen (ADDR)",
		`(default ":8080")`, "--wait duration", "limits.ratio", "--validate",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "hunter")
}

func TestValidateOnly(t *testing.T) {
	t.Parallel()
	var s settings
	out, err := load(t, &s, "name: x\n", nil, "--validate")
	require.ErrorIs(t, err, config.ErrDone)
	require.Equal(t, "configuration is valid\n", out)
	_, err = load(t, &s, "wait: -1s\n", nil, "--validate")
	require.Error(t, err)
	require.NotErrorIs(t, err, config.ErrDone)
}

func TestStructsThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	for want, dst := range map[string]any{
		"not a pointer": settings{},
		"not supported": &struct{ M map[string]int }{},
		"share the flag --a": &struct {
			A, B string `flag:"a"`
		}{},
		"share the variable": &struct {
			A string `env:"X"`
			B string `env:"X"`
		}{},
	} {
		require.ErrorContains(t, config.Load(dst, config.Options{}), want)
	}
	require.Error(t, config.Load(nil, config.Options{}))
	require.Error(t, config.Load((*settings)(nil), config.Options{}))
}

func TestBadDefaultIsAFault(t *testing.T) {
	t.Parallel()
	dst := struct {
		N int `default:"many"`
	}{}
	require.ErrorContains(t, config.Load(&dst, config.Options{}), "n: default:")
}

func TestComplete(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return new(settings) }, "testdata/complete.yaml")
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := struct{ URL config.Secret }{"redis://user:hunter2@h"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s.URL, "all", s)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s.URL, "all", s)
	asJSON, err := json.Marshal(s)
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(s)
	require.NoError(t, err)
	var all strings.Builder
	fmt.Fprint(&all, s, s.URL, log.String(), string(asJSON), string(asYAML), &s, s.URL.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&all, verb, s)
		fmt.Fprintf(&all, verb, s.URL)
		fmt.Fprintf(&all, verb, &s.URL)
	}
	printed := all.String()
	require.NotContains(t, printed, "hunter2")
	require.NotContains(t, printed, fmt.Sprintf("%x", "hunter2"))
	require.Contains(t, printed, "[redacted]")
	require.Empty(t, config.Secret("").String())
	require.Equal(t, "redis://user:hunter2@h", s.URL.Reveal())
}

func TestSecretStaysOutOfErrors(t *testing.T) {
	t.Parallel()
	dst := struct {
		Keys []config.Secret `yaml:"keys"`
		N    int             `yaml:"n"`
	}{}
	_, err := load(t, &dst, "", map[string]string{"LARK_T_KEYS": "a,b"})
	require.NoError(t, err)
	require.Equal(t, "b", dst.Keys[1].Reveal())
}

func FuzzFile(f *testing.F) {
	f.Add("name: x\nlimits: {ratio: 1}\n")
	f.Add("a: &a [*a]")
	f.Add("{")
	f.Fuzz(func(t *testing.T, text string) {
		var s settings
		_, _ = load(t, &s, text, nil) // must not panic
	})
}
