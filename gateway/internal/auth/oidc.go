package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/larkstream/larkstream/shared/event"
)

// OIDCConfig says whose tokens are taken and what is read from them.
type OIDCConfig struct {
	// Issuer is the URL of the provider; its keys are found by OpenID Connect Discovery.
	Issuer string
	// Audience must be among the token's.
	Audience string
	// TenantClaim names the claim that holds the tenant, and ScopeClaim the claim that holds the scopes: a text with spaces or a list.
	TenantClaim, ScopeClaim string
	// HTTP reaches the provider; nil takes a client of its own.
	HTTP *http.Client
}

const (
	// oidcTimeout bounds one request to the provider.
	oidcTimeout = 10 * time.Second
	// oidcRetry is the least time between two tries to discover a provider that does not answer.
	oidcRetry = 5 * time.Second
	// maxJWT bounds the tokens that are looked at, in bytes.
	maxJWT = 16 << 10
)

// Validate reports what is missing.
func (c OIDCConfig) Validate() error {
	var faults []error
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		faults = append(faults, fmt.Errorf("oidc.issuer: %.100q is no URL such as https://login.example", c.Issuer))
	}
	if c.Audience == "" {
		faults = append(faults, errors.New("oidc.audience: is empty; name the audience of the tokens, or tokens for other services would be taken"))
	}
	if c.TenantClaim == "" || c.ScopeClaim == "" {
		faults = append(faults, errors.New("oidc.tenant_claim and oidc.scope_claim: must not be empty"))
	}
	return errors.Join(faults...)
}

// claims of a verified token.
type claims struct {
	subject, tenant string
	scopes          []string
}

// verifier checks tokens. The provider is discovered with the first token, so that the gateway starts while the provider is away.
type verifier struct {
	cfg OIDCConfig

	mu    sync.Mutex
	found *oidc.IDTokenVerifier
	next  time.Time // no discovery before
	last  error
}

func newVerifier(cfg OIDCConfig) *verifier {
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: oidcTimeout}
	}
	return &verifier{cfg: cfg}
}

// discover returns the verifier of tokens. Its keys are fetched on a context without an end, because they outlive the request.
func (v *verifier) discover(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.found != nil {
		return v.found, nil
	}
	if time.Now().Before(v.next) {
		return nil, v.last
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), v.cfg.HTTP), v.cfg.Issuer)
	if err != nil {
		v.next, v.last = time.Now().Add(oidcRetry), fmt.Errorf("%w: the OpenID provider %s does not answer: %w", ErrUnavailable, v.cfg.Issuer, err)
		return nil, v.last
	}
	v.found = provider.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), v.cfg.HTTP), &oidc.Config{ClientID: v.cfg.Audience})
	return v.found, nil
}

// verify checks signature, issuer, audience and times of a token and reads who its bearer is.
func (v *verifier) verify(ctx context.Context, token string) (claims, error) {
	if len(token) > maxJWT || strings.Count(token, ".") != 2 {
		return claims{}, ErrUnknown
	}
	checker, err := v.discover(ctx)
	if err != nil {
		return claims{}, err
	}
	checked, err := checker.Verify(ctx, token)
	if err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	var all map[string]any
	if err := checked.Claims(&all); err != nil {
		return claims{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	tenant, _ := all[v.cfg.TenantClaim].(string)
	if !event.ValidTenant(tenant) {
		return claims{}, fmt.Errorf("%w: claim %s of the token names no tenant", ErrUnknown, v.cfg.TenantClaim)
	}
	return claims{subject: checked.Subject, tenant: tenant, scopes: scopesOf(all[v.cfg.ScopeClaim])}, nil
}

// scopesOf reads the scopes that we know of a claim; a provider's tokens have others too.
func scopesOf(claim any) []string {
	var named []string
	switch c := claim.(type) {
	case string:
		named = strings.Fields(c)
	case []any:
		for _, one := range c {
			if s, ok := one.(string); ok {
				named = append(named, s)
			}
		}
	}
	return slices.DeleteFunc(named, func(s string) bool { return !slices.Contains(Scopes(), s) })
}
