package deployments

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/larkstream/larkstream/gateway/server"
)

// TestOnlyTheGatewayHasTheDatabaseAndTheToken: chunker runs ffmpeg on files of strangers.
func TestOnlyTheGatewayHasTheDatabaseAndTheToken(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Build       any               `yaml:"build"`
			Environment map[string]string `yaml:"environment"`
			Volumes     []string          `yaml:"volumes"`
			ReadOnly    bool              `yaml:"read_only"`
			CapDrop     []string          `yaml:"cap_drop"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "docker-compose.yml"), &file))
	for name, s := range file.Services {
		if s.Build == nil {
			continue
		}
		require.True(t, s.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		database := slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.HasPrefix(v, "gateway:") })
		_, token := s.Environment["LARK_ADMIN_KEY"]
		require.Equal(t, name == "gateway", database, name)
		require.Equal(t, name == "gateway", token, name)
	}
	env := file.Services["gateway"].Environment
	require.True(t, strings.HasPrefix(env["DATABASE_URL"], "sqlite:///var/lib/lark/"))
	with := func(key string) func(string) string {
		return func(name string) string { return map[string]string{"LARK_ADMIN_KEY": key}[name] }
	}
	require.Error(t, server.CheckExposure(env["LARK_HTTP_ADDR"], with("")), "so a key is needed")
	require.NoError(t, server.CheckExposure(env["LARK_HTTP_ADDR"], with("lk_admin_"+strings.Repeat("0", 64))))
	require.Contains(t, env["LARK_ADMIN_KEY"], "${LARK_TOKEN:?", "compose refuses to start without one")

	secrets := map[string]string{}
	for _, name := range []string{"gateway", "chunker", "encoder", "projector", "llm"} {
		for _, from := range deployment(t, name).Spec.Template.Spec.Containers[0].EnvFrom {
			if from.SecretRef.Name != "" {
				secrets[name] = from.SecretRef.Name
			}
		}
	}
	require.Equal(t, map[string]string{
		"gateway": "larkstream-gateway", "chunker": "larkstream-chunker", "encoder": "larkstream", "projector": "larkstream", "llm": "larkstream",
	}, secrets)
}

// manifest is what the tests read of a Deployment.
type manifest struct {
	Spec struct {
		Template struct {
			Spec struct {
				Automount  *bool `yaml:"automountServiceAccountToken"`
				Containers []struct {
					EnvFrom []struct {
						SecretRef struct {
							Name string `yaml:"name"`
						} `yaml:"secretRef"`
					} `yaml:"envFrom"`
					Security struct {
						Escalation *bool `yaml:"allowPrivilegeEscalation"`
						ReadOnly   bool  `yaml:"readOnlyRootFilesystem"`
					} `yaml:"securityContext"`
					Resources struct {
						Requests, Limits map[string]string
					} `yaml:"resources"`
				} `yaml:"containers"`
				Volumes []struct {
					EmptyDir *struct {
						SizeLimit string `yaml:"sizeLimit"`
					} `yaml:"emptyDir"`
				} `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

func deployment(t *testing.T, name string) manifest {
	t.Helper()
	var m manifest
	require.NoError(t, yaml.Unmarshal(read(t, "kubernetes/"+name+".yaml"), &m))
	require.Len(t, m.Spec.Template.Spec.Containers, 1, name)
	return m
}

func TestPodsAreBoundedAndHaveNoRightsOnTheCluster(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gateway", "chunker", "encoder", "projector", "llm"} {
		pod := deployment(t, name).Spec.Template.Spec
		require.NotNil(t, pod.Automount, name)
		require.False(t, *pod.Automount, name)
		c := pod.Containers[0]
		require.NotNil(t, c.Security.Escalation, name)
		require.False(t, *c.Security.Escalation, name)
		require.True(t, c.Security.ReadOnly, name)
		for _, kind := range []string{"cpu", "memory", "ephemeral-storage"} {
			require.NotEmpty(t, c.Resources.Requests[kind], "%s: %s", name, kind)
			require.NotEmpty(t, c.Resources.Limits[kind], "%s: %s", name, kind)
		}
		for _, v := range pod.Volumes {
			require.True(t, v.EmptyDir == nil || v.EmptyDir.SizeLimit != "", name)
		}
	}
}

// TestNetworkPoliciesBeginWithNothing: what is not said to be allowed is refused.
func TestNetworkPoliciesBeginWithNothing(t *testing.T) {
	t.Parallel()
	docs := documents(t, "network.yaml", read(t, "kubernetes/network.yaml"))
	first := docs[0]["spec"].(map[string]any)
	require.Equal(t, map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"}}, first)
	for _, doc := range docs {
		require.Equal(t, "NetworkPolicy", doc["kind"])
	}
}

// TestPrometheusNeedsNoKey: metrics are on the gateway's admin address.
func TestPrometheusNeedsNoKey(t *testing.T) {
	t.Parallel()
	var file struct {
		Jobs []struct {
			Authorization struct {
				File string `yaml:"credentials_file"`
			} `yaml:"authorization"`
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, "prometheus/prometheus.yml"), &file))
	require.Len(t, file.Jobs, 1)
	require.Contains(t, file.Jobs[0].Static[0].Targets, "gateway:8081", "the gateway's metrics are on its admin address")
	require.Empty(t, file.Jobs[0].Authorization.File)
}
