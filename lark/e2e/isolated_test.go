package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// withKeys makes a gateway ask for keys whatever the suite does, and returns the environment and the administrator's key.
func withKeys() (env []string, admin string) {
	admin = "lk_e2e_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return []string{"LARK_GATEWAY_AUTH=keys", "LARK_ADMIN_KEY=" + admin, client.EnvToken + "=" + admin}, admin
}

// tenant makes a tenant and returns the installation as one of its users sees it.
func (s *stack) tenant(t *testing.T, wanted client.NewTenant) *stack {
	t.Helper()
	_, err := s.CreateTenant(t.Context(), wanted)
	require.NoError(t, err)
	key, err := s.CreateKey(t.Context(), client.NewKey{Tenant: wanted.Name, Scopes: []string{"jobs:read", "jobs:write", "runs"}})
	require.NoError(t, err)
	theirs := *s
	theirs.Client = s.WithToken(key.Secret)
	return &theirs
}

// TestIsolatedTenants asks the same about the same track as four tenants: those who share have it encoded and answered once, an isolated tenant has it
// done for itself, and leaves nothing to others. No tenant is told of a hit that another one has paid for.
func TestIsolatedTenants(t *testing.T) {
	env, admin := withKeys()
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), env...)})
	s.Client = s.WithToken(admin)
	alone := s.tenant(t, client.NewTenant{Name: "alone", Isolated: true})
	hermit := s.tenant(t, client.NewTenant{Name: "hermit", Isolated: true})
	open, other := s.tenant(t, client.NewTenant{Name: "open"}), s.tenant(t, client.NewTenant{Name: "other"})
	track := melody(seedOf(t), 2)
	runs := 0
	for _, step := range []struct {
		name     string
		who      *stack
		question string
		runs     int // of the encoder
		cache    string
		answer   string
	}{
		{"an isolated tenant begins", alone, "What is the tempo?", 1, "miss", "miss"},
		{"and left nothing to others", open, "What is the tempo?", 1, "miss", "miss"},
		{"who share, and are not told", other, "What is the tempo?", 0, "miss", "miss"},
		{"an isolated tenant uses nothing of others", hermit, "What is the tempo?", 1, "miss", "miss"},
		{"but what is its own", alone, "Which key is it in?", 0, "hit", "miss"},
		{"answers too", alone, "What is the tempo?", 0, "hit", "hit"},
		{"and so do those who share", other, "What is the tempo?", 0, "hit", "hit"},
	} {
		job := step.who.submit(t, track, client.Submission{Questions: []string{step.question}})
		job, outcomes := step.who.finish(t, job.ID)
		require.Equal(t, client.StateSucceeded, job.State, step.name)
		runs += step.runs
		require.Equal(t, runs, s.encoderRuns(t), step.name)
		require.Equal(t, []string{step.cache, step.answer}, []string{outcomes[0].Cache, outcomes[0].AnswerCache}, step.name)
	}
}
