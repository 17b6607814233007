package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
)

// mode is the configured mode, or what follows from the secrets that are set.
func (c *Config) mode() string {
	switch {
	case c.Auth != "":
		return c.Auth
	case c.AdminKey != "" || c.token() != "":
		return auth.ModeKeys
	}
	return auth.ModeNone
}

// token is the secret that opens everything; a key is none.
func (c *Config) token() string {
	if token := c.Token.Reveal(); !auth.LooksLikeKey(token) {
		return token
	}
	return ""
}

func (c *Config) oidc() auth.OIDCConfig {
	return auth.OIDCConfig{Issuer: c.OIDC.Issuer, Audience: c.OIDC.Audience, TenantClaim: c.OIDC.TenantClaim, ScopeClaim: c.OIDC.ScopeClaim}
}

// checkAuth reports what is wrong with who may do what.
func (c *Config) checkAuth() error {
	if !slices.Contains([]string{auth.ModeNone, auth.ModeKeys, auth.ModeOIDC}, c.mode()) {
		return fmt.Errorf("auth: %.40q is not none, keys or oidc", c.Auth)
	}
	var faults []error
	if key := c.AdminKey.Reveal(); key != "" {
		if _, err := auth.ParseKey(key); err != nil {
			faults = append(faults, fmt.Errorf("admin_key: LARK_ADMIN_KEY %w", err))
		}
	}
	if token := c.token(); token != "" {
		if err := auth.CheckToken(token); err != nil {
			faults = append(faults, fmt.Errorf("token: LARK_TOKEN %w", err))
		}
	}
	if c.mode() == auth.ModeNone && (c.AdminKey != "" || c.token() != "") {
		faults = append(faults, errors.New("auth: none takes every request, but LARK_ADMIN_KEY or LARK_TOKEN sets a secret; set auth to keys, or unset the secret"))
	}
	if c.mode() == auth.ModeOIDC {
		faults = append(faults, c.oidc().Validate())
	}
	if c.mode() == auth.ModeNone && !c.InsecureNoAuth && !loopback(c.HTTPAddr) {
		faults = append(faults, fmt.Errorf("auth: whoever reaches %s could submit jobs and read every answer, because auth is none; set auth to keys (LARK_GATEWAY_AUTH=keys, "+
			"with LARK_ADMIN_KEY=lk_admin_$(openssl rand -hex 32) for the first key), or listen on 127.0.0.1, or set insecure_no_auth behind a proxy that authenticates callers", c.HTTPAddr))
	}
	return errors.Join(faults...)
}

// CheckExposure refuses an address at which a gateway with this environment would refuse to listen, because nobody would check its callers.
func CheckExposure(addr string, getenv func(string) string) error {
	c := Config{
		Auth: getenv(envPrefix + "AUTH"), AdminKey: config.Secret(getenv("LARK_ADMIN_KEY")), Token: config.Secret(getenv(client.EnvToken)),
		OIDC: OIDCConfig{Issuer: getenv(envPrefix + "OIDC_ISSUER"), Audience: getenv(envPrefix + "OIDC_AUDIENCE"), TenantClaim: "tenant", ScopeClaim: "scope"},
	}
	c.HTTPAddr = addr
	c.InsecureNoAuth, _ = strconv.ParseBool(getenv(envPrefix + "INSECURE_NO_AUTH")) // the gateway refuses another text
	return c.checkAuth()
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return true // another check refuses what is no address
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// authenticator tells who callers are. The first key is there when it returns.
func (g *gateway) authenticator(ctx context.Context) (*auth.Authenticator, error) {
	a, err := auth.New(auth.Config{Mode: g.cfg.mode(), Token: g.cfg.token(), OIDC: g.cfg.oidc()}, g.jobs)
	if err != nil {
		return nil, err
	}
	if g.cfg.mode() == auth.ModeNone {
		return a, nil
	}
	return a, firstKey(ctx, g.jobs, g.cfg.AdminKey.Reveal(), g.cfg.token() != "", os.Stderr)
}

// firstKey sees to it that somebody can make keys: it stores the admin's key of the configuration, or makes one if there is neither a key nor a token, and
// prints it to out. A key that was revoked stays revoked.
func firstKey(ctx context.Context, jobs *store.SQL, text string, hasToken bool, out io.Writer) error {
	key := auth.NewKey()
	if text != "" {
		var err error
		if key, err = auth.ParseKey(text); err != nil {
			return fmt.Errorf("admin_key: LARK_ADMIN_KEY %w", err)
		}
	}
	stored := store.Key{ID: key.ID, Tenant: event.TenantDefault, Name: "admin", Scopes: auth.Scopes(), SecretHash: key.Hash()}
	if text == "" {
		if hasToken {
			return nil
		}
		written, err := jobs.FirstKey(ctx, stored)
		if err == nil && written {
			_, err = fmt.Fprintf(out, "The first key of this gateway, with every scope. It is shown this once; keep it as a secret, and give it to lark as LARK_TOKEN:\n\n    %s\n\n", key)
		}
		return err
	}
	_, err := jobs.CreateKey(ctx, stored)
	if !errors.Is(err, store.ErrKeyExists) {
		return err
	}
	before, err := jobs.Key(ctx, key.ID)
	if err == nil && before.SecretHash != stored.SecretHash {
		err = fmt.Errorf("admin_key: there is a key %s with another secret; give LARK_ADMIN_KEY another id, such as admin2", key.ID)
	}
	return err
}
