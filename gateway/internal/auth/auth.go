package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// Modes of authentication.
const (
	ModeNone = "none"
	ModeKeys = "keys"
	ModeOIDC = "oidc"
)

var (
	// ErrUnknown refuses a caller without saying why, so that he learns nothing of other keys.
	ErrUnknown = errors.New("the key or token is missing, not known, expired or revoked")
	// ErrUnavailable says that nobody can tell now who the caller is.
	ErrUnavailable = errors.New("callers cannot be checked now")
)

// Store keeps keys and tenants; *store.SQL is one.
type Store interface {
	// Key fails with store.ErrNoKey.
	Key(ctx context.Context, id string) (store.Key, error)
	// Tenant fails with store.ErrNoTenant.
	Tenant(ctx context.Context, name string) (store.Tenant, error)
}

var _ Store = (*store.SQL)(nil)

// Config of an Authenticator.
type Config struct {
	// Mode is one of ModeNone, ModeKeys and ModeOIDC, which takes keys too.
	Mode string
	// Token, unless empty, opens everything of tenant default beside the keys. It is not stored.
	Token string
	OIDC  OIDCConfig
	// Fresh is how long a key or a tenant is taken for what it was: a revoked key works no longer than that at the other gateways. Default 10 s.
	Fresh time.Duration
	// Remembered keys and tenants at most; default 4,096.
	Remembered int
}

const (
	defaultFresh      = 10 * time.Second
	defaultRemembered = 4096
	minToken          = 16
)

var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)

// CheckToken refuses tokens that can be guessed and tokens that no Authorization header can carry.
func CheckToken(token string) error {
	if len(token) < minToken {
		return fmt.Errorf("has %d characters, at least %d are needed; make one with: openssl rand -hex 32", len(token), minToken)
	}
	if !tokenPattern.MatchString(token) {
		return errors.New("has characters that no Authorization header can carry; make one with: openssl rand -hex 32")
	}
	return nil
}

// Authenticator tells who callers are. It is safe for concurrent use.
type Authenticator struct {
	cfg     Config
	store   Store
	keys    *memory[store.Key]
	tenants *memory[store.Tenant]
	oidc    *verifier
	now     func() time.Time
}

// New refuses a missing store and an unknown mode.
func New(cfg Config, s Store) (*Authenticator, error) {
	if s == nil {
		return nil, errors.New("making authenticator: a store is required")
	}
	if !slices.Contains([]string{ModeNone, ModeKeys, ModeOIDC}, cfg.Mode) {
		return nil, fmt.Errorf("making authenticator: auth %.40q is not none, keys or oidc", cfg.Mode)
	}
	if cfg.Fresh <= 0 {
		cfg.Fresh = defaultFresh
	}
	if cfg.Remembered <= 0 {
		cfg.Remembered = defaultRemembered
	}
	a := &Authenticator{cfg: cfg, store: s, now: time.Now, keys: newMemory[store.Key](cfg), tenants: newMemory[store.Tenant](cfg)}
	if cfg.Mode == ModeOIDC {
		if err := cfg.OIDC.Validate(); err != nil {
			return nil, err
		}
		a.oidc = newVerifier(cfg.OIDC)
	}
	return a, nil
}

// Authenticate tells who sends a token. It fails with ErrUnknown or ErrUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (Principal, error) {
	switch {
	case a.cfg.Mode == ModeNone:
		return a.principal(ctx, event.TenantDefault, "nobody", Scopes())
	case token == "":
		return Principal{}, ErrUnknown
	case a.cfg.Token != "" && equal(token, a.cfg.Token):
		return a.principal(ctx, event.TenantDefault, "token", Scopes())
	case LooksLikeKey(token):
		return a.byKey(ctx, token)
	case a.oidc != nil:
		claims, err := a.oidc.verify(ctx, token)
		if err != nil {
			return Principal{}, err
		}
		return a.principal(ctx, claims.tenant, "oidc:"+claims.subject, claims.scopes)
	}
	return Principal{}, ErrUnknown
}

func (a *Authenticator) byKey(ctx context.Context, token string) (Principal, error) {
	key, err := ParseKey(token)
	if err != nil {
		return Principal{}, ErrUnknown
	}
	stored, err := a.keys.get(ctx, key.ID, a.store.Key)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNoKey) {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// The comparison is made for unknown keys too, so that its time does not tell which ids exist.
	if !equal(key.Hash(), stored.SecretHash) || !known || !stored.Works(a.now()) {
		return Principal{}, ErrUnknown
	}
	return a.principal(ctx, stored.Tenant, "key:"+stored.ID, stored.Scopes)
}

func (a *Authenticator) principal(ctx context.Context, tenant, id string, scopes []string) (Principal, error) {
	t, err := a.tenants.get(ctx, tenant, a.store.Tenant)
	if errors.Is(err, store.ErrNoTenant) {
		return Principal{}, ErrUnknown
	}
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Principal{Tenant: t, ID: id, Scopes: scopes}, nil
}

// Forget makes changes of keys and tenants hold at once at this gateway.
func (a *Authenticator) Forget() {
	a.keys.clear()
	a.tenants.clear()
}

// equal compares in a time that does not depend on where the texts differ.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// memory keeps what was read from the store for a short time. What is not known is not kept: strangers could fill the memory with it.
type memory[V any] struct {
	fresh time.Duration
	most  int

	mu     sync.Mutex
	values map[string]remembered[V]
	epoch  int
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[V any](cfg Config) *memory[V] {
	return &memory[V]{fresh: cfg.Fresh, most: cfg.Remembered, values: make(map[string]remembered[V])}
}

func (m *memory[V]) get(ctx context.Context, name string, read func(context.Context, string) (V, error)) (V, error) {
	m.mu.Lock()
	now, epoch := time.Now(), m.epoch
	if found, ok := m.values[name]; ok && now.Before(found.until) {
		m.mu.Unlock()
		return found.value, nil
	}
	m.mu.Unlock()
	value, err := read(ctx, name)
	if err != nil {
		var none V
		return none, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch != epoch { // it may have changed while it was read
		return value, nil
	}
	if len(m.values) >= m.most {
		clear(m.values) // read again: rare, and simpler than to know which was used last
	}
	m.values[name] = remembered[V]{value, now.Add(m.fresh)}
	return value, nil
}

func (m *memory[V]) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	clear(m.values)
}
