package deployments

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/services/encoder-svc/encodersvc"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/services/projector-svc/projectorsvc"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const root = "../../../deployments"

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return raw
}

func TestEveryFileParses(t *testing.T) {
	t.Parallel()
	parsed := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		switch filepath.Ext(path) {
		case ".json":
			require.True(t, json.Valid(raw), path)
			parsed++
		case ".yaml", ".yml":
			require.NotEmpty(t, documents(t, path, raw))
			parsed++
		}
		return nil
	}))
	require.Greater(t, parsed, 10)
}

func documents(t *testing.T, path string, raw []byte) []map[string]any {
	t.Helper()
	var docs []map[string]any
	for dec := yaml.NewDecoder(strings.NewReader(string(raw))); ; {
		var doc map[string]any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err, path)
		docs = append(docs, doc)
	}
}

func TestKustomizationListsEveryManifest(t *testing.T) {
	t.Parallel()
	var file struct {
		Resources []string `yaml:"resources"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "kubernetes/kustomization.yaml"), &file))
	paths, err := filepath.Glob(filepath.Join(root, "kubernetes", "*.yaml"))
	require.NoError(t, err)
	var names []string
	for _, path := range paths {
		if name := filepath.Base(path); name != "kustomization.yaml" {
			names = append(names, name)
		}
	}
	require.ElementsMatch(t, names, file.Resources)
}

// TestVariablesAreKnown compares what is set for the services with the environment that their configurations read.
func TestVariablesAreKnown(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for prefix, config := range configs() {
		envNames(reflect.TypeOf(config), prefix, known)
	}
	for name, env := range composeVariables(t) {
		require.NotEmpty(t, env, name)
		for key := range env {
			require.Contains(t, known, key, "compose: service %s", name)
		}
	}
	for _, path := range []string{"config", "gateway", "chunker", "encoder", "projector", "llm"} {
		for _, key := range manifestVariables(t, "kubernetes/"+path+".yaml") {
			require.Contains(t, known, key, path)
		}
	}
	for _, dir := range []string{"gateway", "services/chunker-svc", "services/encoder-svc", "services/projector-svc", "services/llm-svc"} {
		text := string(read(t, "../"+dir+"/Dockerfile"))
		for _, m := range regexp.MustCompile(`\b([A-Z_]+)=`).FindAllStringSubmatch(text, -1) {
			require.True(t, known[m[1]] || m[1] == "CGO_ENABLED", "%s: %s", dir, m[1])
		}
	}
}

// TestTheGatewayKnowsItsOwnNames: it refuses requests for other hosts, so the names by which other containers call it are configured.
func TestTheGatewayKnowsItsOwnNames(t *testing.T) {
	t.Parallel()
	require.Contains(t, strings.Split(composeVariables(t)["gateway"]["LARK_GATEWAY_HOSTS"], ","), "gateway")
	m := regexp.MustCompile(`LARK_GATEWAY_HOSTS, value: "([^"]+)"`).FindStringSubmatch(string(read(t, "kubernetes/gateway.yaml")))
	require.Len(t, m, 2)
	names := strings.Split(m[1], ",")
	for _, name := range []string{"gateway", "gateway.larkstream", "gateway.larkstream.svc", "gateway.larkstream.svc.cluster.local"} {
		require.Contains(t, names, name)
	}
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	cfg.Hosts = names
	require.NoError(t, cfg.Validate())
}

// configs are the configurations of the services, by the prefix of the variables whose names come from keys.
func configs() map[string]any {
	return map[string]any{
		"LARK_GATEWAY_": server.Config{}, "LARK_CHUNKER_": chunkersvc.Config{}, "LARK_ENCODER_": encodersvc.Config{},
		"LARK_PROJECTOR_": projectorsvc.Config{}, "LARK_LLM_": llmsvc.Config{},
	}
}

// envNames collects what shared/config reads: the tag env, or else the prefix and the path of keys.
func envNames(t reflect.Type, prefix string, into map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		name := f.Tag.Get("env")
		switch {
		case f.Type.Kind() == reflect.Struct && options == "inline":
			envNames(f.Type, prefix, into)
		case f.Type.Kind() == reflect.Struct:
			envNames(f.Type, prefix+strings.ToUpper(key)+"_", into)
		case name == "" && key != "":
			into[prefix+strings.ToUpper(key)] = true
		case name != "" && name != "-":
			into[name] = true
		}
	}
}

// composeVariables returns the environment of the services that are built here.
func composeVariables(t *testing.T) map[string]map[string]string {
	t.Helper()
	var file struct {
		Services map[string]struct {
			Build       any               `yaml:"build"`
			Environment map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "docker-compose.yml"), &file))
	variables := map[string]map[string]string{}
	for name, s := range file.Services {
		if s.Build != nil {
			variables[name] = s.Environment
		}
	}
	require.Len(t, variables, 5)
	return variables
}

// manifestVariables returns the keys of ConfigMaps and of the env of containers.
func manifestVariables(t *testing.T, path string) []string {
	t.Helper()
	var keys []string
	for dec := yaml.NewDecoder(strings.NewReader(string(read(t, path)))); ; {
		var doc struct {
			Data map[string]string `yaml:"data"`
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Env []struct {
								Name string `yaml:"name"`
							} `yaml:"env"`
						} `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return keys
		}
		require.NoError(t, err, path)
		for key := range doc.Data {
			keys = append(keys, key)
		}
		for _, c := range doc.Spec.Template.Spec.Containers {
			for _, e := range c.Env {
				keys = append(keys, e.Name)
			}
		}
	}
}

// TestContainersMayDrain: a container has longer to stop than its service takes to finish what it has in hand. Nothing sets another drain timeout.
func TestContainersMayDrain(t *testing.T) {
	t.Parallel()
	// flush is what a service does after it has drained, see worker.Close.
	const flush = 10 * time.Second
	drains := drainTimeouts(t)
	var compose struct {
		Services map[string]struct {
			StopGracePeriod string `yaml:"stop_grace_period"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "docker-compose.yml"), &compose))
	for name, drain := range drains {
		var manifest struct {
			Spec struct {
				Template struct {
					Spec struct {
						Grace int `yaml:"terminationGracePeriodSeconds"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		require.NoError(t, yaml.Unmarshal(read(t, "kubernetes/"+name+".yaml"), &manifest))
		require.GreaterOrEqual(t, time.Duration(manifest.Spec.Template.Spec.Grace)*time.Second, drain+flush, name)
		grace, err := time.ParseDuration(compose.Services[name].StopGracePeriod)
		require.NoError(t, err, name)
		require.GreaterOrEqual(t, grace, drain+flush, name)
		require.NotContains(t, composeVariables(t)[name], "LARK_DRAIN_TIMEOUT", name)
		require.NotContains(t, manifestVariables(t, "kubernetes/"+name+".yaml"), "LARK_DRAIN_TIMEOUT", name)
	}
	require.NotContains(t, manifestVariables(t, "kubernetes/config.yaml"), "LARK_DRAIN_TIMEOUT")
}

// drainTimeouts are the defaults of the services.
func drainTimeouts(t *testing.T) map[string]time.Duration {
	t.Helper()
	gateway, err := server.DefaultConfig()
	require.NoError(t, err)
	chunker, err := chunkersvc.DefaultConfig()
	require.NoError(t, err)
	encoder, err := encodersvc.DefaultConfig()
	require.NoError(t, err)
	projector, err := projectorsvc.DefaultConfig()
	require.NoError(t, err)
	llm, err := llmsvc.DefaultConfig()
	require.NoError(t, err)
	require.GreaterOrEqual(t, llm.DrainTimeout*3/4, llm.VLLMTimeout, "an answer that has begun is finished")
	return map[string]time.Duration{
		"gateway": gateway.DrainTimeout, "chunker": chunker.DrainTimeout, "encoder": encoder.DrainTimeout, "projector": projector.DrainTimeout,
		"llm": llm.DrainTimeout,
	}
}

// TestProbesLetAServiceLoadItsModel: liveness and start are judged by whether the service listens, never by whether its model is there, and
// liveness waits for the start.
func TestProbesLetAServiceLoadItsModel(t *testing.T) {
	t.Parallel()
	type probe struct {
		HTTPGet struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"`
		} `yaml:"httpGet"`
		PeriodSeconds    int `yaml:"periodSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}
	for _, name := range []string{"gateway", "chunker", "encoder", "projector", "llm"} {
		var doc struct {
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Startup   probe `yaml:"startupProbe"`
							Liveness  probe `yaml:"livenessProbe"`
							Readiness probe `yaml:"readinessProbe"`
						} `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		require.NoError(t, yaml.Unmarshal(read(t, "kubernetes/"+name+".yaml"), &doc))
		require.Len(t, doc.Spec.Template.Spec.Containers, 1, name)
		c := doc.Spec.Template.Spec.Containers[0]
		require.Equal(t, "/healthz", c.Startup.HTTPGet.Path, name)
		require.Equal(t, "/healthz", c.Liveness.HTTPGet.Path, name)
		require.Equal(t, "/readyz", c.Readiness.HTTPGet.Path, name)
		for _, p := range []probe{c.Startup, c.Liveness, c.Readiness} {
			require.Equal(t, "http", p.HTTPGet.Port, name)
		}
		require.GreaterOrEqual(t, c.Startup.PeriodSeconds*c.Startup.FailureThreshold, 60, "%s: seconds until it listens", name)
	}
}

// TestMetricsExist records into every instrument, reads what Prometheus would, and compares with it what the dashboard and
// the alerts ask for.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	exposed := exposedMetrics(t)
	asked := regexp.MustCompile(`\b(lark|gen_ai)_[a-z_]+\b`)
	label := regexp.MustCompile(`\b(?:by|without|on) \(([^)]*)\)|\b(lark_[a-z_]+)(?:=|!=|=~|!~)"`)
	count := 0
	for _, expr := range append(dashboardQueries(t), alertQueries(t)...) {
		text := expr
		for _, m := range label.FindAllStringSubmatch(expr, -1) {
			for _, name := range strings.Split(m[1]+m[2], ",") {
				require.Contains(t, exposed.labels, strings.TrimSpace(name), expr)
			}
			text = strings.Replace(text, m[0], "", 1)
		}
		for _, name := range asked.FindAllString(text, -1) {
			require.Contains(t, exposed.names, name, expr)
			count++
		}
	}
	require.Greater(t, count, 20)
}

// TestAlertsTellWhatToDo: every alert says what is wrong and what to do, and a runbook that it names is there and speaks of it.
func TestAlertsTellWhatToDo(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "prometheus/alerts.yml"), &file))
	runbook := regexp.MustCompile(`docs/runbooks/[a-z-]+\.md`)
	seen, named := map[string]bool{}, 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			require.False(t, seen[r.Alert], r.Alert)
			seen[r.Alert] = true
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.NotEmpty(t, r.Annotations["action"], r.Alert)
			for _, path := range runbook.FindAllString(r.Annotations["action"], -1) {
				named++
				require.Contains(t, string(read(t, "../"+path)), "`"+r.Alert+"`", path)
			}
		}
	}
	require.GreaterOrEqual(t, named, 6)
}

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var board struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(read(t, "grafana/larkstream.json"), &board))
	var queries []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	return queries
}

func alertQueries(t *testing.T) []string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Expr string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "prometheus/alerts.yml"), &file))
	var queries []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries = append(queries, r.Expr)
		}
	}
	return queries
}

type exposition struct{ names, labels map[string]bool }

func exposedMetrics(t *testing.T) exposition {
	t.Helper()
	tel, shutdown, err := telemetry.Start(t.Context(), telemetry.Config{Service: "test", Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, shutdown(context.Background())) })
	recordAll(t.Context())
	answer := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	exposed := exposition{names: map[string]bool{}, labels: map[string]bool{"le": true}}
	sample := regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="`)
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		m := sample.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		exposed.names[m[1]] = true
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			exposed.labels[l[1]] = true
		}
	}
	return exposed
}

// recordAll calls every method of the metric sets once.
func recordAll(ctx context.Context) {
	stage := telemetry.NewStageMetrics()
	stage.Handled(ctx, "s", "t", telemetry.ResultOK, time.Second)
	stage.Waited(ctx, "s", "t", time.Second)
	stage.InFlight(ctx, "s", "bulk", 1, 1)
	stage.Held(ctx, "s", "bulk", true)
	stage.Retried(ctx, "s", telemetry.RetryInPlace)
	stage.Dead(ctx, "s", "internal")
	stage.Published(ctx, "s", "t", 1)
	stage.Paused(ctx, "s", true)
	stage.Lost(ctx, "s", "t", 1)
	stage.EventsDropped(ctx, "t", 1)
	telemetry.NewBacklogMetrics().Set(telemetry.Backlog{Stage: "s", Group: "g", Partitions: []telemetry.PartitionBacklog{{Topic: "t"}}})
	cache := telemetry.NewCacheMetrics()
	cache.Request(ctx, telemetry.TierRedis, telemetry.ResultHit)
	cache.Write(ctx, telemetry.TierRedis, telemetry.ResultOK)
	cache.Discarded(ctx, telemetry.TierRedis, telemetry.DiscardCorrupt)
	cache.CircuitOpen(ctx, telemetry.TierRedis, true)
	engine := telemetry.NewEngineMetrics()
	engine.EncoderRun(ctx, "e")
	engine.Work(ctx, "s", "e", time.Second, 1)
	engine.Active(ctx, "s", "e", 1)
	engine.FirstToken(ctx, "m", time.Second)
	engine.Answered(ctx, "m", time.Second, "")
	engine.Tokens(ctx, "m", 2, 2, time.Second)
	ledger := telemetry.NewLedgerMetrics()
	ledger.Outcome(ctx, "t", "answered", "", "hit")
	ledger.JobAccepted(ctx, "t")
	ledger.Backlog(ctx, 1, 1, time.Second)
	ledger.Waiting(ctx, "bulk", 1)
	ledger.Republished(ctx)
	ledger.JobEnded(ctx, "t", "succeeded", time.Second)
	ledger.OutboxPending(ctx, 1)
	ledger.Ledger(ctx, 1, 1, 0)
	ledger.Stray(ctx, "unknown_job")
	ledger.Delivered(ctx, "failed")
	ledger.WebhookBacklog(ctx, telemetry.WebhookBacklog{Pending: 1, Oldest: time.Second, Due: time.Second, Failing: 1, Disabled: 1})
}
