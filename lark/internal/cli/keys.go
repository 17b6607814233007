package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) keysCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "keys", Short: "Create, list, revoke and rotate keys of a gateway",
		Long: `A key, lk_<id>_<secret>, says who sends a request and what he may do. Its secret is shown once; the gateway keeps a hash.
These commands need a key with the scope admin in LARK_TOKEN. The first one is LARK_ADMIN_KEY of the gateway.

Scopes: jobs:read, jobs:write, runs, admin. None contains another.`,
		Example: `  lark keys create --tenant acme --name ingest --scope jobs:read,jobs:write --expires 2160h
  lark keys rotate 4f963c6ef750 --overlap 24h
  lark keys revoke 4f963c6ef750`,
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.keysCreate(&server), a.keysList(&server), a.keysRevoke(&server), a.keysRotate(&server))
	return cmd
}

func (a *app) keysCreate(server *serverFlags) *cobra.Command {
	var key client.NewKey
	var expires time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create", Short: "Create a key and print it, this once", Args: cobra.NoArgs,
		Example: "  lark keys create --tenant acme --scope jobs:read,jobs:write\n  export LARK_TOKEN=$(lark keys create --scope jobs:read --json | jq -r .secret)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expires < 0 {
				return usage(errors.New("--expires must not be below 0"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			key.ExpiresInS = expires.Seconds()
			made, err := gw.CreateKey(cmd.Context(), key)
			if err != nil {
				return err
			}
			return a.printMade(made, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&key.Tenant, "tenant", "", "whose `tenant`'s key it is (default: that of your key)")
	f.StringVar(&key.Name, "name", "", "what you call it")
	f.StringSliceVar(&key.Scopes, "scope", []string{"jobs:read", "jobs:write"}, "what its holder may do: `scopes`, separated by commas")
	f.DurationVar(&expires, "expires", 0, "how long it works, such as 2160h; 0 is for ever")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// printMade shows a new key with its secret.
func (a *app) printMade(made client.MadeKey, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Out).Encode(made) //nolint:gosec // G117: a key is shown once, to whoever made it
	}
	a.printKey(made.Key)
	a.printf("\n    %s\n\nIt is shown this once. Send it as a bearer token, or give it to lark as LARK_TOKEN.\n", made.Secret)
	return nil
}

func (a *app) printKey(k client.Key) {
	until := "never expires"
	switch {
	case k.RevokedAt != nil:
		until = "revoked " + k.RevokedAt.Local().Format(time.DateTime)
	case k.ExpiresAt != nil:
		until = "expires " + k.ExpiresAt.Local().Format(time.DateTime)
	}
	a.printf("%-14s %-8s %-16s %-36s %s  %s\n", k.ID, k.State, ask.Printable(k.Tenant), strings.Join(k.Scopes, ","), until, ask.Printable(k.Name))
}

func (a *app) keysList(server *serverFlags) *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List keys, without their secrets", Args: cobra.NoArgs,
		Example: "  lark keys list --tenant acme\n  lark keys list --json | jq -r 'select(.state == \"active\") | .id'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			return eachOf(func(cursor string) ([]client.Key, *string, error) {
				page, err := gw.Keys(cmd.Context(), tenant, cursor)
				return page.Keys, page.Next, err
			}, showing(a, asJSON, a.printKey))
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only keys of this `tenant`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per key, one per line")
	return cmd
}

func (a *app) keysRevoke(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "revoke KEY...", Short: "Revoke keys, by their ids", Args: cobra.MinimumNArgs(1),
		Long:    "Revokes keys. One gateway refuses them at once, all others within ten seconds. Revoking again changes nothing.",
		Example: "  lark keys revoke 4f963c6ef750",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			for _, id := range args {
				k, err := gw.RevokeKey(cmd.Context(), id)
				if err != nil {
					return err
				}
				a.printKey(k)
			}
			return nil
		},
	}
}

func (a *app) keysRotate(server *serverFlags) *cobra.Command {
	var overlap time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Make a key in place of another, which works on for a while", Args: cobra.ExactArgs(1),
		Example: "  lark keys rotate 4f963c6ef750 --overlap 24h",
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return usage(errors.New("--overlap must not be below 0"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			made, err := gw.RotateKey(cmd.Context(), args[0], overlap)
			if err != nil {
				return err
			}
			return a.printMade(made, asJSON)
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old key works on; 0 ends it at once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
