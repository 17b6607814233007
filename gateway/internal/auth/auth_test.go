package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/internal/web"
	"github.com/larkstream/larkstream/shared/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// makeKey stores a key of a tenant, which is made if need be.
func makeKey(t *testing.T, s *store.SQL, tenant string, expires time.Time, scopes ...string) auth.Key {
	t.Helper()
	_, err := s.CreateTenant(t.Context(), store.Tenant{Name: tenant})
	if !errors.Is(err, store.ErrTenantExists) {
		require.NoError(t, err)
	}
	key := auth.NewKey()
	_, err = s.CreateKey(t.Context(), store.Key{ID: key.ID, Tenant: tenant, Scopes: scopes, SecretHash: key.Hash(), Expires: expires})
	require.NoError(t, err)
	return key
}

func TestKeysAreWhatTheyWereMadeAs(t *testing.T) {
	t.Parallel()
	key := auth.NewKey()
	again, err := auth.ParseKey(key.String())
	require.NoError(t, err)
	require.Equal(t, key, again)
	require.Len(t, key.Secret, 64, "256 bits in hex")
	require.NotContains(t, key.Hash(), key.Secret)
	require.NotEqual(t, key, auth.NewKey())
	for _, text := range []string{"", "lk_", "lk_a_b", "lk__" + key.Secret, "lk_A_" + key.Secret, "lk_a_" + key.Secret[1:], "xk_a_" + key.Secret, key.String() + " "} {
		_, err := auth.ParseKey(text)
		require.ErrorIs(t, err, auth.ErrKeyForm, text)
	}
}

func TestWhoCallersAre(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const token = "0123456789abcdef"
	a, err := auth.New(auth.Config{Mode: auth.ModeKeys, Token: token}, s)
	require.NoError(t, err)
	reader := makeKey(t, s, "acme", time.Time{}, auth.ScopeJobsRead)
	expired := makeKey(t, s, "acme", time.Now().Add(-time.Second), auth.ScopeJobsRead)

	p, err := a.Authenticate(t.Context(), reader.String())
	require.NoError(t, err)
	require.Equal(t, "acme", p.Tenant.Name)
	require.Equal(t, "key:"+reader.ID, p.ID)
	require.True(t, p.May(auth.ScopeJobsRead))
	require.False(t, p.May(auth.ScopeAdmin))
	p, err = a.Authenticate(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, event.TenantDefault, p.Tenant.Name)
	require.Equal(t, auth.Scopes(), p.Scopes)

	other := reader
	other.Secret = auth.NewKey().Secret
	for _, text := range []string{"", "x", token + "0", expired.String(), auth.NewKey().String(), other.String(), "lk_" + reader.ID + "_"} {
		_, err := a.Authenticate(t.Context(), text)
		require.ErrorIs(t, err, auth.ErrUnknown, text)
	}

	open, err := auth.New(auth.Config{Mode: auth.ModeNone}, s)
	require.NoError(t, err)
	p, err = open.Authenticate(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, event.TenantDefault, p.Tenant.Name)
	require.Equal(t, auth.Scopes(), p.Scopes)
	_, err = auth.New(auth.Config{Mode: "password"}, s)
	require.ErrorContains(t, err, "none, keys or oidc")
}

func TestRevokedAndRotatedKeys(t *testing.T) {
	t.Parallel()
	s := setup(t)
	a, err := auth.New(auth.Config{Mode: auth.ModeKeys, Fresh: time.Hour}, s)
	require.NoError(t, err)
	works := func(k auth.Key) bool {
		a.Forget()
		_, err := a.Authenticate(t.Context(), k.String())
		return err == nil
	}
	old := makeKey(t, s, "acme", time.Time{}, auth.ScopeAdmin)
	fresh := auth.NewKey()
	rotated, err := s.RotateKey(t.Context(), old.ID, store.Key{ID: fresh.ID, SecretHash: fresh.Hash()}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, []string{auth.ScopeAdmin}, rotated.Scopes)
	require.True(t, works(old), "both work while they overlap")
	require.True(t, works(fresh))
	_, err = s.RotateKey(t.Context(), old.ID, store.Key{ID: "x"}, 0)
	require.ErrorIs(t, err, store.ErrKeyEnded, "it was rotated already")

	_, err = s.RevokeKey(t.Context(), old.ID)
	require.NoError(t, err)
	again, err := s.RevokeKey(t.Context(), old.ID)
	require.NoError(t, err)
	require.False(t, again.Revoked.IsZero())
	require.False(t, works(old))

	last := auth.NewKey()
	_, err = s.RotateKey(t.Context(), fresh.ID, store.Key{ID: last.ID, SecretHash: last.Hash()}, 0)
	require.NoError(t, err)
	require.False(t, works(fresh), "without an overlap the old key ends at once")
	require.True(t, works(last))
	_, err = s.RevokeKey(t.Context(), "nothing")
	require.ErrorIs(t, err, store.ErrNoKey)
}

// TestMemoryIsBounded: what is kept of keys does not grow with their number, nor with what strangers send.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := setup(t)
	counted := &counting{Store: s}
	a, err := auth.New(auth.Config{Mode: auth.ModeKeys, Remembered: 2, Fresh: time.Hour}, counted)
	require.NoError(t, err)
	key := makeKey(t, s, "acme", time.Time{}, auth.ScopeJobsRead)
	for range 5 {
		_, err := a.Authenticate(t.Context(), key.String())
		require.NoError(t, err)
	}
	require.Equal(t, 1, counted.keys, "a key is read once")
	for range 9 {
		_, err := a.Authenticate(t.Context(), makeKey(t, s, "acme", time.Time{}, auth.ScopeJobsRead).String())
		require.NoError(t, err)
		_, err = a.Authenticate(t.Context(), auth.NewKey().String())
		require.ErrorIs(t, err, auth.ErrUnknown)
	}
	require.LessOrEqual(t, a.Remembered(), 4, "two keys and two tenants")
}

type counting struct {
	auth.Store
	keys int
}

func (c *counting) Key(ctx context.Context, id string) (store.Key, error) {
	c.keys++
	return c.Store.Key(ctx, id)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	s := setup(t)
	key := makeKey(t, s, "acme", time.Time{}, auth.ScopeJobsRead)
	a, err := auth.New(auth.Config{Mode: auth.ModeKeys}, s)
	require.NoError(t, err)
	var caller auth.Principal
	h := a.Guard(slog.New(slog.DiscardHandler), web.WriteProblem)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { caller = auth.From(r.Context()) }))
	basic := func(user, password string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	good := key.String()
	for header, want := range map[string]int{
		"Bearer " + good: 200, "bearer " + good: 200, "BEARER  " + good: 200, basic("", good): 200, basic("anybody", good): 200,
		"": 401, good: 401, "Bearer": 401, "Bearer ": 401, "Bearer " + good[1:]: 401, "Bearer " + good + "0": 401, "Bearer " + strings.ToUpper(good): 401,
		"Token " + good: 401, basic(good, ""): 401, basic("x", "y"): 401, "Basic " + good: 401,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/jobs?key="+good, nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		require.Equal(t, want, rec.Code, header)
		if want == http.StatusOK {
			require.Equal(t, "acme", caller.Tenant.Name)
			continue
		}
		require.Equal(t, []string{`Bearer realm="larkstream"`, `Basic realm="larkstream", charset="UTF-8"`}, rec.Header().Values("WWW-Authenticate"))
		var p client.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Equal(t, "unauthorized", p.Code)
		require.NotContains(t, rec.Body.String(), key.Secret)
	}
}

// TestADatabaseThatIsAwayIsNoRefusal: the caller may try again.
func TestADatabaseThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	s := setup(t)
	key := makeKey(t, s, "acme", time.Time{}, auth.ScopeJobsRead)
	a, err := auth.New(auth.Config{Mode: auth.ModeKeys}, away{s})
	require.NoError(t, err)
	_, err = a.Authenticate(t.Context(), key.String())
	require.ErrorIs(t, err, auth.ErrUnavailable)
	rec := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+key.String())
	a.Guard(slog.New(slog.DiscardHandler), web.WriteProblem)(http.NotFoundHandler()).ServeHTTP(rec, r)
	require.Equal(t, http.StatusServiceUnavailable, rec.Code)
	require.NotEmpty(t, rec.Header().Get("Retry-After"))
}

type away struct{ auth.Store }

func (away) Key(context.Context, string) (store.Key, error) {
	return store.Key{}, errors.New("no connection")
}
