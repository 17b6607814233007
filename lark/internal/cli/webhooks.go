package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) webhooksCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "webhooks", Short: "Be told over HTTP when jobs and runs end",
		Long: `A webhook is a URL that the gateway posts a signed message to when a job or a run of your tenant ends (Standard Webhooks 1.0.0).
A message is sent at least once, with the same Webhook-Id each time, and again over about three days until the URL answers 2xx.
Changing webhooks needs a key with the scope jobs:write, reading them one with jobs:read.`,
		Example: `  lark webhooks create https://music.example/hooks --events job.failed,job.partial
  lark webhooks test we_01899f5c-...
  lark webhooks deliveries we_01899f5c-... --state failed
  lark webhooks replay we_01899f5c-... --since 24h`,
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.webhooksCreate(&server), a.webhooksList(&server), a.webhooksChange(&server), a.webhooksDelete(&server), a.webhooksSecrets(&server),
		a.webhooksRotate(&server), a.webhooksTest(&server), a.webhooksDeliveries(&server), a.webhooksReplay(&server))
	return cmd
}

func (a *app) printWebhook(w client.Webhook) {
	state := "enabled"
	switch {
	case !w.Enabled:
		state = "disabled"
	case w.PausedUntil != nil && w.PausedUntil.After(time.Now()):
		state = "paused"
	}
	a.printf("%s  %-8s %4d pending  %s  %s  %s\n", w.ID, state, w.Pending, ask.Printable(w.URL), strings.Join(w.Events, ","), ask.Printable(w.Description))
	switch {
	case !w.Enabled:
		a.printf("    %s\n", ask.Printable(w.DisabledReason))
	case w.FailingSince != nil:
		a.printf("    %d deliveries in a row have failed since %s\n", w.Failures, w.FailingSince.Local().Format(time.DateTime))
	}
}

func (a *app) webhooksCreate(server *serverFlags) *cobra.Command {
	var w client.NewWebhook
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create URL", Short: "Create a webhook and print its secret", Args: cobra.ExactArgs(1),
		Example: "  lark webhooks create https://music.example/hooks\n  lark webhooks create https://music.example/hooks --events run.* --json | jq -r .secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			w.URL = args[0]
			made, err := gw.CreateWebhook(cmd.Context(), w)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(made)
			}
			a.printWebhook(made.Webhook)
			a.printf("\n    secret      %s\n    public key  %s\n\nGive the receiver one of them: the secret checks v1 signatures, the public key checks v1a signatures.\n", made.Secret, made.PublicKey)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&w.Events, "events", nil, "`events` that are sent, separated by commas: "+strings.Join(client.WebhookEvents(), ", ")+", job.*, run.* or * (default: all)")
	f.StringVar(&w.Description, "description", "", "what you call it")
	f.StringVar(&w.Secret, "secret", "", "whsec_ and 24 to 64 bytes in base64 (default: one is made)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) webhooksList(server *serverFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List webhooks and how they stand", Args: cobra.NoArgs,
		Example: "  lark webhooks list\n  lark webhooks list --json | jq -r 'select(.enabled | not) | .id'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			return eachOf(func(cursor string) ([]client.Webhook, *string, error) {
				page, err := gw.Webhooks(cmd.Context(), cursor)
				return page.Webhooks, page.Next, err
			}, showing(a, asJSON, a.printWebhook))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per webhook, one per line")
	return cmd
}

func (a *app) webhooksChange(server *serverFlags) *cobra.Command {
	var url, description string
	var change client.WebhookChange
	var enable, disable bool
	cmd := &cobra.Command{
		Use: "change WEBHOOK", Short: "Change, enable or disable a webhook", Args: cobra.ExactArgs(1),
		Long:    "Changes what is given and leaves the rest. A disabled webhook gives up what is pending and is told of nothing; replay the former once it is enabled.",
		Example: "  lark webhooks change we_01899f5c-... --events job.failed\n  lark webhooks change we_01899f5c-... --enable",
		RunE: func(cmd *cobra.Command, args []string) error {
			if enable && disable {
				return usage(errors.New("--enable and --disable exclude each other"))
			}
			if cmd.Flags().Changed("url") {
				change.URL = &url
			}
			if cmd.Flags().Changed("description") {
				change.Description = &description
			}
			if enable || disable {
				change.Enabled = &enable
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			w, err := gw.ChangeWebhook(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			a.printWebhook(w)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&url, "url", "", "new `URL`")
	f.StringSliceVar(&change.Events, "events", nil, "all `events` that are sent, separated by commas")
	f.StringVar(&description, "description", "", "what you call it")
	f.BoolVar(&enable, "enable", false, "send again, at once")
	f.BoolVar(&disable, "disable", false, "send nothing")
	return cmd
}

func (a *app) webhooksDelete(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "delete WEBHOOK...", Short: "Delete webhooks with their deliveries", Args: cobra.MinimumNArgs(1),
		Example: "  lark webhooks delete we_01899f5c-...",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := gw.DeleteWebhook(cmd.Context(), id); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) printSecrets(s client.WebhookSecrets) {
	for _, secret := range s.Secrets {
		until := "current"
		if secret.Until != nil {
			until = "until " + secret.Until.Local().Format(time.DateTime)
		}
		a.printf("%s  %s  %s\n", secret.Secret, secret.PublicKey, until)
	}
}

func (a *app) webhooksSecrets(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "secrets WEBHOOK", Short: "Show the secrets and public keys of a webhook", Args: cobra.ExactArgs(1),
		Example: "  lark webhooks secrets we_01899f5c-...",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			s, err := gw.WebhookSecrets(cmd.Context(), args[0])
			if err == nil {
				a.printSecrets(s)
			}
			return err
		},
	}
}

func (a *app) webhooksRotate(server *serverFlags) *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{
		Use: "rotate WEBHOOK", Short: "Give a webhook a new secret; the old one signs too for a while", Args: cobra.ExactArgs(1),
		Example: "  lark webhooks rotate we_01899f5c-... --overlap 24h",
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return usage(errors.New("--overlap must not be below 0"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			s, err := gw.RotateWebhook(cmd.Context(), args[0], overlap)
			if err == nil {
				a.printSecrets(s)
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long messages are signed with the old secret too; 0 ends it at once")
	return cmd
}

// testPoll is how often a test of a webhook looks whether it was delivered.
const testPoll = 500 * time.Millisecond

func (a *app) webhooksTest(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "test WEBHOOK", Short: "Send a test event and tell how the first attempt went", Args: cobra.ExactArgs(1),
		Example: "  lark webhooks test we_01899f5c-...",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			d, err := gw.TestWebhook(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			ticker := time.NewTicker(testPoll)
			defer ticker.Stop()
			for {
				page, err := gw.Deliveries(cmd.Context(), args[0], "", "")
				if err != nil {
					return err
				}
				for _, found := range page.Deliveries {
					if found.ID != d.ID || len(found.Log) == 0 {
						continue
					}
					a.printDelivery(found)
					if reason := found.Log[0].Error; reason != "" {
						return fmt.Errorf("the test event was not taken: %s", reason)
					}
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-ticker.C:
				}
			}
		},
	}
}

func (a *app) printDelivery(d client.Delivery) {
	last := ""
	if n := len(d.Log); n > 0 {
		at := d.Log[n-1]
		last = at.Error
		if last == "" {
			last = fmt.Sprintf("answered %d in %d ms", at.Status, at.TookMS)
		}
	}
	if d.NextAt != nil && d.NextAt.After(time.Now()) {
		last += ", next " + d.NextAt.Local().Format(time.DateTime)
	}
	a.printf("%s  %s  %-9s %2d attempts  %-13s %s  %s\n", d.ID, d.CreatedAt.Local().Format(time.DateTime), d.State, d.Attempts, d.Event, ask.Printable(d.Subject), ask.Printable(last))
}

func (a *app) webhooksDeliveries(server *serverFlags) *cobra.Command {
	var state string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "deliveries WEBHOOK", Short: "List deliveries, newest first, and how they went", Args: cobra.ExactArgs(1),
		Example: "  lark webhooks deliveries we_01899f5c-... --state failed\n  lark webhooks deliveries we_01899f5c-... --json | jq .log",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			shown, show := 0, showing(a, asJSON, a.printDelivery)
			return eachOf(func(cursor string) ([]client.Delivery, *string, error) {
				page, err := gw.Deliveries(cmd.Context(), args[0], state, cursor)
				return page.Deliveries, page.Next, err
			}, func(d client.Delivery) error {
				if shown++; limit > 0 && shown > limit {
					return errEnough
				}
				return show(d)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "only deliveries in this `state`: pending, delivered or failed")
	f.IntVar(&limit, "limit", 50, "how many; 0 is all")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per delivery, one per line")
	return cmd
}

func (a *app) webhooksReplay(server *serverFlags) *cobra.Command {
	var ids []string
	var since time.Duration
	var all bool
	cmd := &cobra.Command{
		Use: "replay WEBHOOK", Short: "Deliver once more what has failed, or what you name", Args: cobra.ExactArgs(1),
		Long:    "Messages keep their ids, so that a receiver that has had one knows it.",
		Example: "  lark webhooks replay we_01899f5c-... --since 24h\n  lark webhooks replay we_01899f5c-... --id dl_01899f60-...",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(ids) > 0) == (since > 0) {
				return usage(errors.New("say which deliveries: either --id or --since"))
			}
			replay := client.WebhookReplay{IDs: ids, All: all}
			if since > 0 {
				at := time.Now().Add(-since)
				replay.Since = &at
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			n, err := gw.ReplayWebhook(cmd.Context(), args[0], replay)
			if err == nil {
				a.printf("%d deliveries are made once more\n", n)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&ids, "id", nil, "`ids` of deliveries or messages, separated by commas")
	f.DurationVar(&since, "since", 0, "what has failed of the deliveries created in the last `time`, such as 24h")
	f.BoolVar(&all, "all", false, "with --since: what was delivered too")
	return cmd
}
