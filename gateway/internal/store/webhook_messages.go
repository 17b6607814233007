package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/larkstream/larkstream/gateway/client"
)

// notice is something that has happened, for whoever wants to be told.
type notice struct {
	tenant, event, subject string
	data                   client.WebhookData
	hook                   *client.JobWebhook
}

// hook is a place that is told of an event.
type hook struct{ endpoint, url string }

// notices writes messages in the transaction of what they tell, so that neither can be without the other. The endpoints of a tenant are read once.
type notices struct {
	tx        *tx
	now       time.Time
	endpoints map[string][]Webhook // enabled ones of a tenant, without those of jobs
}

func (n *notices) send(ctx context.Context, what notice) error {
	places, err := n.places(ctx, what)
	if err != nil || len(places) == 0 {
		return err
	}
	body, err := json.Marshal(client.WebhookMessage{Type: what.event, Timestamp: n.now.UTC(), Data: what.data})
	if err != nil {
		return err
	}
	message, err := uuid.NewV7()
	if err != nil {
		return err
	}
	for _, place := range places {
		if _, err := n.deliver(ctx, place, "msg_"+message.String(), what, body); err != nil {
			return err
		}
	}
	return nil
}

// deliver writes a delivery that is due at once, and returns its id.
func (n *notices) deliver(ctx context.Context, to hook, message string, what notice, body []byte) (string, error) {
	raw, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	id := "dl_" + raw.String()
	_, err = n.tx.exec(ctx, `INSERT INTO webhook_deliveries (`+deliveryColumns+`) VALUES (`+marks(13)+`)`,
		id, to.endpoint, message, what.event, what.subject, to.url, string(body), client.DeliveryPending, 0, millis(n.now), millis(n.now), 0, "[]")
	return id, err
}

// places are those that want to be told.
func (n *notices) places(ctx context.Context, what notice) (to []hook, err error) {
	endpoints, ok := n.endpoints[what.tenant]
	if !ok {
		if endpoints, err = n.read(ctx, what.tenant); err != nil {
			return nil, err
		}
		if n.endpoints == nil {
			n.endpoints = make(map[string][]Webhook)
		}
		n.endpoints[what.tenant] = endpoints
	}
	for _, w := range endpoints {
		if wants(w.Events, what.event) {
			to = append(to, hook{endpoint: w.ID, url: w.URL})
		}
	}
	if h := what.hook; h != nil && (len(h.Events) == 0 || wants(h.Events, what.event)) {
		open, err := n.open(ctx, h.Endpoint)
		if err != nil {
			return nil, err
		}
		if open {
			to = append(to, hook{endpoint: h.Endpoint, url: h.URL})
		}
	}
	return to, nil
}

func (n *notices) read(ctx context.Context, tenant string) (found []Webhook, err error) {
	err = n.tx.each(ctx, func(rows *sql.Rows) error {
		w, err := scanWebhook(rows)
		found = append(found, w)
		return err
	}, `SELECT `+webhookColumns+` FROM webhook_endpoints WHERE tenant = ? AND NOT of_jobs AND disabled = '' ORDER BY endpoint_id`, tenant)
	return found, err
}

// open tells whether the endpoint of a job's URL is there and enabled.
func (n *notices) open(ctx context.Context, endpoint string) (bool, error) {
	var count int
	err := n.tx.row(ctx, `SELECT COUNT(*) FROM webhook_endpoints WHERE endpoint_id = ? AND disabled = ''`, endpoint).Scan(&count)
	return count > 0, err
}

func wants(patterns []string, event string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return client.MatchEvent(p, event) })
}

// jobNotice tells of the state in which a job has ended.
func jobNotice(j Job) notice {
	self := "/v1/jobs/" + j.ID
	return notice{
		tenant: j.Tenant, event: "job." + string(j.State), subject: j.ID, hook: j.Hook,
		data: client.WebhookData{ID: j.ID, State: string(j.State), Labels: j.Labels, Links: &client.WebhookLinks{Self: self, Outcomes: self + "/outcomes"}},
	}
}

// runNotice tells of the state that a run has come to.
func runNotice(r Run, state RunState, reason string) notice {
	self := "/v1/runs/" + r.ID
	return notice{
		tenant: r.Tenant, event: "run." + string(state), subject: r.ID,
		data: client.WebhookData{ID: r.ID, Name: r.Name, State: string(state), Reason: reason, Links: &client.WebhookLinks{Self: self, Items: self + "/items"}},
	}
}

// hookText is the column of a job's URL.
func hookText(h *client.JobWebhook) string {
	if h == nil {
		return ""
	}
	raw, err := json.Marshal(h)
	if err != nil {
		panic(err) // unreachable: texts have a form in JSON
	}
	return string(raw)
}

func hookOf(text string, h **client.JobWebhook) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), h)
}

func (s *SQL) noticesIn(tx *tx) *notices { return &notices{tx: tx, now: s.now()} }
