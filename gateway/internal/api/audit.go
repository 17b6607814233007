package api

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// auditPattern is a place in the audit log.
var auditPattern = regexp.MustCompile(`^[0-9a-f-]{36}$`)

type auditInput struct {
	Tenant string    `query:"tenant" doc:"Only what callers of this tenant did" maxLength:"63"`
	Who    string    `query:"who" doc:"Only what this caller did, such as key:4f963c6ef750" maxLength:"300"`
	Action string    `query:"action" doc:"Only this operation, by its operationId" maxLength:"64"`
	Since  time.Time `query:"since" doc:"Not older than this"`
	Until  time.Time `query:"until" doc:"Older than this"`
	Cursor string    `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int       `query:"limit" doc:"Entries per page" minimum:"1" maximum:"500" default:"100"`
}

type auditOutput struct{ Body client.AuditList }

func (a *API) registerAudit() {
	op := a.operation("list-audit", http.MethodGet, "/v1/audit", "Read the audit log", "Who changed what, when and from where, the newest first, in pages. Entries are kept for 400 days.")
	op.Tags = []string{"admin"}
	huma.Register(a.huma, op, a.listAudit)
}

func (a *API) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	after, err := openCursorOf("a", in.Cursor, auditPattern)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Admin.AuditLog(ctx, store.AuditQuery{
		Tenant: in.Tenant, Who: in.Who, Action: in.Action, Since: in.Since, Until: in.Until, After: after, Limit: in.Limit + 1,
	})
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &auditOutput{Body: client.AuditList{Entries: []client.AuditEntry{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.Next = makeCursor("a", found[in.Limit-1].ID)
	}
	for _, e := range found {
		out.Body.Entries = append(out.Body.Entries, client.AuditEntry{
			At: e.At, Tenant: e.Tenant, Who: e.Who, Action: e.Action, Target: e.Target, Source: e.Source, TraceID: e.TraceID,
		})
	}
	return out, nil
}

// entry is what the caller does with an operation, for the audit log.
func entry(ctx context.Context, action, target, remote string) store.Audit {
	p := auth.From(ctx)
	return store.Audit{Tenant: p.Tenant.Name, Who: p.ID, Action: action, Target: target, Source: service.Client(remote), TraceID: telemetry.TraceID(ctx)}
}

// audited notes each change that was made. What could not be noted is logged: the change has been made.
func (a *API) audited(ctx huma.Context, next func(huma.Context)) {
	next(ctx)
	op := ctx.Operation()
	if op.Method == http.MethodGet || ctx.Status() >= http.StatusBadRequest {
		return
	}
	u := ctx.URL()
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx.Context()), a.limits.RequestTimeout)
	defer cancel()
	e := entry(ctx.Context(), op.OperationID, u.Path, ctx.RemoteAddr())
	if err := a.deps.Admin.NoteAudit(bound, e); err != nil {
		a.deps.Log.ErrorContext(bound, "a change is not in the audit log", slog.String("who", e.Who), slog.String("action", e.Action), slog.String("target", e.Target), slog.Any("error", err))
	}
}
