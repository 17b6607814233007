package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// Surveyor looks at the items of a run before it is made.
type Surveyor interface {
	Look(ctx context.Context, tenant string, spec store.RunSpec, items []store.Item, read bool, until time.Time) ([]client.PlannedItem, error)
}

type planRunInput struct{ Body client.PlanRequest }

type planRunOutput struct{ Body client.PlanReply }

type ratesInput struct {
	ResponseSchema string `query:"response_schema" doc:"Form of the answers; left out = free text" enum:"tags"`
}

type ratesOutput struct{ Body client.Rates }

func (a *API) registerPlan() {
	look := a.operation("plan-run", http.MethodPost, "/v1/runs/plan", "Look at items before a run",
		"Tells of each item what a run would meet, where it lies: length, format, faults, and what is known of it already. No run is made, no model works, nothing is spent. "+
			"The reply may hold fewer items than the request: ask again for the others.")
	look.Tags = []string{"runs"}
	look.MaxBodyBytes = 4 << 20
	look.Middlewares = huma.Middlewares{a.allowed, a.limited, a.audited, a.patient}
	huma.Register(a.huma, look, a.planRun)
	rates := a.operation("get-rates", http.MethodGet, "/v1/rates", "Get rates and prices", "What work has taken here of late, measured over the newest succeeded jobs of the caller, and what it costs.")
	rates.Tags = []string{"runs"}
	huma.Register(a.huma, rates, a.getRates)
}

// patient gives a request the time of one that submits: the files of an item may be large, and its place slow.
func (a *API) patient(ctx huma.Context, next func(huma.Context)) {
	bound, cancel := context.WithTimeout(ctx.Context(), a.limits.UploadTimeout)
	defer cancel()
	next(huma.WithContext(ctx, bound))
}

func (a *API) planRun(ctx context.Context, in *planRunInput) (*planRunOutput, error) {
	run, err := a.newRun(ctx, in.Body.Asked)
	if err != nil {
		return nil, err
	}
	items, err := itemsOf(in.Body.Items)
	if err != nil {
		return nil, err
	}
	looks, err := a.deps.Survey.Look(ctx, run.Tenant, run.Spec, items, in.Body.Read, time.Now().Add(a.limits.RequestTimeout/3))
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	return &planRunOutput{Body: client.PlanReply{Items: looks}}, nil
}

// itemsOf checks the items of a request.
func itemsOf(given []client.NewItem) ([]store.Item, error) {
	items := make([]store.Item, len(given))
	for i, it := range given {
		if err := checkItem(it); err != nil {
			p := invalid(codeItemInvalid, "item %d: %s", i, err)
			p.Errors = []client.FieldError{{Message: err.Error(), Location: "items[" + strconv.Itoa(i) + "]"}}
			return nil, p
		}
		items[i] = store.Item{ID: it.ID, URI: it.URI, SHA256: it.SHA256, Fields: it.Fields}
	}
	return items, nil
}

func (a *API) getRates(ctx context.Context, in *ratesInput) (*ratesOutput, error) {
	out := &ratesOutput{}
	if len(a.deps.Models) > 0 {
		out.Body.Model, out.Body.ModelDigest = a.deps.Models[0].ID, a.deps.Models[0].Digest
	}
	r, err := a.deps.Runs.MeasuredRates(ctx, tenantOf(ctx), out.Body.ModelDigest, in.ResponseSchema)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	b := &out.Body
	b.Windows, b.Answers, b.EncoderS, b.DecoderS, b.PromptTokens, b.OutputTokens = r.Windows, r.Answers, r.EncoderS, r.DecoderS, r.PromptTokens, r.OutputTokens
	if p := a.deps.Prices; p.Currency != "" {
		b.Prices = &client.UnitPrices{Currency: p.Currency, AudioSecond: p.AudioSecond, EncoderSecond: p.EncoderSecond, PromptToken: p.PromptToken, OutputToken: p.OutputToken}
	}
	return out, nil
}
