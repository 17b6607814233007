package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) tenantsCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "tenants", Short: "Create and list tenants of a gateway, show and set their limits",
		Long: `Jobs, keys and audio belong to a tenant and are hidden from all others. These commands need a key with the scope admin in LARK_TOKEN.`,
		Example: `  lark tenants create acme --open-jobs 1000 --audio-s-per-day 360000
  lark tenants limits acme --requests-per-s 50`,
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.tenantsCreate(&server), a.tenantsList(&server), a.tenantsLimits(&server))
	return cmd
}

// keepIsolated is the help of --isolated.
const keepIsolated = "share no embedding and no answer with other tenants; holds for jobs submitted from then on"

// limitFlags are the limits of a tenant.
func limitFlags(f *pflag.FlagSet, l *client.TenantLimits) {
	f.Float64Var(&l.RequestsPerS, "requests-per-s", 0, "requests a second at each gateway; 0 is no limit")
	f.Float64Var(&l.AudioSPerDay, "audio-s-per-day", 0, "seconds of audio that jobs hear in a day (UTC); 0 is no limit")
	f.Int64Var(&l.UploadBytesPerDay, "upload-bytes-per-day", 0, "bytes of audio taken in in a day (UTC); 0 is no limit")
	f.IntVar(&l.WindowsInFlight, "windows-in-flight", 0, "windows of open jobs that have not ended; a job with more may run alone; 0 is no limit")
	f.IntVar(&l.OpenJobs, "open-jobs", 0, "jobs that have not ended; 0 is no limit")
	f.Float64Var(&l.Weight, "weight", 0, "share of each lane beside other tenants' while jobs wait; 0 is 1")
	f.Var((*retention)(&l.RetentionS), "retention", "time after which an ended job is deleted with its outcomes, such as 720h; 0 is the gateway's own")
}

// retention is a flag of a duration, kept in seconds.
type retention float64

// String implements pflag.Value.
func (r *retention) String() string {
	return time.Duration(float64(*r) * float64(time.Second)).String()
}

// Type implements pflag.Value.
func (r *retention) Type() string { return "duration" }

// Set implements pflag.Value.
func (r *retention) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%.40q is no duration such as 720h or 0", text)
	}
	*r = retention(d.Seconds())
	return nil
}

func (a *app) tenantsCreate(server *serverFlags) *cobra.Command {
	var tenant client.NewTenant
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a tenant", Args: cobra.ExactArgs(1),
		Example: "  lark tenants create acme\n  lark tenants create trial --open-jobs 10",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			tenant.Name = args[0]
			made, err := gw.CreateTenant(cmd.Context(), tenant)
			if err != nil {
				return err
			}
			return a.printTenant(made, asJSON)
		},
	}
	cmd.Flags().BoolVar(&tenant.Isolated, "isolated", false, keepIsolated)
	limitFlags(cmd.Flags(), &tenant.Limits)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) printTenant(t client.Tenant, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Out).Encode(t)
	}
	isolated := ""
	if t.Isolated {
		isolated = "  isolated"
	}
	created := "there from the start"
	if !t.CreatedAt.IsZero() {
		created = t.CreatedAt.Local().Format(time.DateTime)
	}
	a.printf("%-20s %-20s%s%s\n", ask.Printable(t.Name), created, isolated, limitsText(t.Limits))
	return nil
}

// limitsText names the limits that are set.
func limitsText(l client.TenantLimits) string {
	var text strings.Builder
	for _, one := range []struct {
		name  string
		value float64
	}{
		{"requests/s", l.RequestsPerS},
		{"audio s/day", l.AudioSPerDay},
		{"upload bytes/day", float64(l.UploadBytesPerDay)},
		{"windows in flight", float64(l.WindowsInFlight)},
		{"open jobs", float64(l.OpenJobs)},
		{"times the share of others", l.Weight},
		{"h of retention", l.RetentionS / 3600},
	} {
		if one.value > 0 {
			fmt.Fprintf(&text, "  %s %s", strconv.FormatFloat(one.value, 'f', -1, 64), one.name)
		}
	}
	if text.Len() == 0 {
		return "  no limits"
	}
	return text.String()
}

func (a *app) tenantsList(server *serverFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List tenants by name", Args: cobra.NoArgs,
		Example: "  lark tenants list --json | jq -r .name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			return eachOf(func(cursor string) ([]client.Tenant, *string, error) {
				page, err := gw.Tenants(cmd.Context(), cursor)
				return page.Tenants, page.Next, err
			}, func(t client.Tenant) error { return a.printTenant(t, asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per tenant, one per line")
	return cmd
}

func (a *app) tenantsLimits(server *serverFlags) *cobra.Command {
	var wanted client.TenantLimits
	var isolated, asJSON bool
	cmd := &cobra.Command{
		Use: "limits NAME", Short: "Show a tenant's limits, or set the limits that are given", Args: cobra.ExactArgs(1),
		Long:    "Without limits, shows the tenant. With some, sets those and leaves the others. All gateways obey limits within ten seconds.",
		Example: "  lark tenants limits acme\n  lark tenants limits acme --open-jobs 500 --requests-per-s 0\n  lark tenants limits acme --weight 3 --retention 720h",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			t, err := gw.Tenant(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var change client.TenantChange
			if f := cmd.Flags().Lookup("isolated"); f.Changed {
				change.Isolated = &isolated
			}
			if limits, changed := changedLimits(cmd.Flags(), t.Limits, wanted); changed {
				change.Limits = &limits
			}
			if change != (client.TenantChange{}) {
				if t, err = gw.ChangeTenant(cmd.Context(), args[0], change); err != nil {
					return err
				}
			}
			return a.printTenant(t, asJSON)
		},
	}
	cmd.Flags().BoolVar(&isolated, "isolated", false, keepIsolated)
	limitFlags(cmd.Flags(), &wanted)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// changedLimits are the limits with what the flags set.
func changedLimits(f *pflag.FlagSet, now, wanted client.TenantLimits) (limits client.TenantLimits, changed bool) {
	limits = now
	for name, set := range map[string]func(){
		"requests-per-s": func() { limits.RequestsPerS = wanted.RequestsPerS }, "audio-s-per-day": func() { limits.AudioSPerDay = wanted.AudioSPerDay },
		"upload-bytes-per-day": func() { limits.UploadBytesPerDay = wanted.UploadBytesPerDay },
		"windows-in-flight":    func() { limits.WindowsInFlight = wanted.WindowsInFlight }, "open-jobs": func() { limits.OpenJobs = wanted.OpenJobs },
		"weight": func() { limits.Weight = wanted.Weight }, "retention": func() { limits.RetentionS = wanted.RetentionS },
	} {
		if f.Changed(name) {
			set()
			changed = true
		}
	}
	return limits, changed
}
