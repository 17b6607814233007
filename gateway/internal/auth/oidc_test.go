package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// issuer is an OpenID provider on this machine.
type issuer struct {
	t   *testing.T
	srv *httptest.Server
	key *ecdsa.PrivateKey
	off atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	i := &issuer{t: t, key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, map[string]any{"issuer": i.srv.URL, "jwks_uri": i.srv.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	i.srv = httptest.NewServer(mux)
	t.Cleanup(i.srv.Close)
	return i
}

func (i *issuer) answer(w http.ResponseWriter, v any) {
	if i.off.Load() {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// token signs claims, over those of a good token.
func (i *issuer) token(key *ecdsa.PrivateKey, over map[string]any) string {
	i.t.Helper()
	claims := map[string]any{
		"iss": i.srv.URL, "aud": "larkstream", "sub": "ada", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"https://lark/tenant": "acme", "scp": "openid jobs:read jobs:write",
	}
	for name, v := range over {
		claims[name] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	require.NoError(i.t, err)
	raw, err := json.Marshal(claims)
	require.NoError(i.t, err)
	signed, err := signer.Sign(raw)
	require.NoError(i.t, err)
	text, err := signed.CompactSerialize()
	require.NoError(i.t, err)
	return text
}

func (i *issuer) authenticator(s *store.SQL) *auth.Authenticator {
	i.t.Helper()
	a, err := auth.New(auth.Config{Mode: auth.ModeOIDC, OIDC: auth.OIDCConfig{
		Issuer: i.srv.URL, Audience: "larkstream", TenantClaim: "https://lark/tenant", ScopeClaim: "scp", HTTP: i.srv.Client(),
	}}, s)
	require.NoError(i.t, err)
	return a
}

func TestTokensOfAProvider(t *testing.T) {
	t.Parallel()
	i, s := newIssuer(t), setup(t)
	key := makeKey(t, s, "acme", time.Time{}, auth.ScopeAdmin)
	a := i.authenticator(s)
	p, err := a.Authenticate(t.Context(), i.token(i.key, nil))
	require.NoError(t, err)
	require.Equal(t, "acme", p.Tenant.Name)
	require.Equal(t, "oidc:ada", p.ID)
	require.Equal(t, []string{auth.ScopeJobsRead, auth.ScopeJobsWrite}, p.Scopes)
	p, err = a.Authenticate(t.Context(), i.token(i.key, map[string]any{"scp": []string{"admin", "email"}}))
	require.NoError(t, err)
	require.Equal(t, []string{auth.ScopeAdmin}, p.Scopes, "a list is read too")
	_, err = a.Authenticate(t.Context(), key.String())
	require.NoError(t, err, "keys work beside tokens")

	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for why, token := range map[string]string{
		"signed by another": i.token(stranger, nil),
		"other audience":    i.token(i.key, map[string]any{"aud": "mail"}),
		"other issuer":      i.token(i.key, map[string]any{"iss": "https://else.example"}),
		"expired":           i.token(i.key, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"not valid yet":     i.token(i.key, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"no tenant":         i.token(i.key, map[string]any{"https://lark/tenant": nil}),
		"unknown tenant":    i.token(i.key, map[string]any{"https://lark/tenant": "nobody"}),
		"tenant of no form": i.token(i.key, map[string]any{"https://lark/tenant": "../acme"}),
		"no JWT":            "a.b.c",
		"no token":          "",
		"unsigned":          "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
	} {
		_, err := a.Authenticate(t.Context(), token)
		require.ErrorIs(t, err, auth.ErrUnknown, why)
	}
}

// TestAProviderThatIsAway: the gateway says so, and goes on with keys.
func TestAProviderThatIsAway(t *testing.T) {
	t.Parallel()
	i, s := newIssuer(t), setup(t)
	key := makeKey(t, s, "acme", time.Time{}, auth.ScopeAdmin)
	i.off.Store(true)
	a := i.authenticator(s)
	_, err := a.Authenticate(t.Context(), i.token(i.key, nil))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = a.Authenticate(t.Context(), key.String())
	require.NoError(t, err)
}
