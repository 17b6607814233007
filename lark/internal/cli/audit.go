package cli

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) auditCommand() *cobra.Command {
	var server serverFlags
	var opts client.AuditOptions
	var since, until string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who changed what at a gateway, the newest first", Args: cobra.NoArgs,
		Long: `Shows the audit log: who submitted, cancelled and deleted jobs, made and revoked keys, and sent dead letters back, when, and from where.
Reads and refusals are not in it. It needs a key with the scope admin in LARK_TOKEN.`,
		Example: "  lark audit --since 24h\n  lark audit --tenant acme --action delete-job --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var faults [2]error
			opts.Since, faults[0] = momentOf("--since", since, time.Now())
			opts.Until, faults[1] = momentOf("--until", until, time.Now())
			if err := errors.Join(faults[:]...); err != nil {
				return usage(err)
			}
			if limit < 1 {
				return usage(errors.New("--limit must be above 0"))
			}
			gw, err := a.gateway(cmd, &server)
			if err != nil {
				return err
			}
			for left := limit; left > 0; {
				opts.Limit = min(left, maxPage)
				page, err := gw.Audit(cmd.Context(), opts)
				if err != nil {
					return err
				}
				for _, e := range page.Entries {
					if err := a.printAudit(e, asJSON); err != nil {
						return err
					}
				}
				if left -= len(page.Entries); page.Next == nil {
					return nil
				}
				opts.Cursor = *page.Next
			}
			return nil
		},
	}
	server.register(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&opts.Tenant, "tenant", "", "only what callers of this `tenant` did")
	f.StringVar(&opts.Who, "who", "", "only what this `caller` did, such as key:4f963c6ef750")
	f.StringVar(&opts.Action, "action", "", "only this `operation`, such as delete-job")
	f.StringVar(&since, "since", "", "only since this `time` (RFC 3339), or for so long, such as 2h")
	f.StringVar(&until, "until", "", "only before this `time`, or longer ago, such as 30m")
	f.IntVar(&limit, "limit", 100, "how many at most")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per entry, one per line")
	return cmd
}

func (a *app) printAudit(e client.AuditEntry, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Out).Encode(e)
	}
	a.printf("%s  %-16s %-24s %-20s %s  %s\n", e.At.Local().Format(time.DateTime), ask.Printable(e.Tenant), ask.Printable(e.Who), ask.Printable(e.Action), ask.Printable(e.Target), e.Source)
	return nil
}
