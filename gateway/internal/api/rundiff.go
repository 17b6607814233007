package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/rundiff"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

type diffInput struct {
	ID     string `path:"id" doc:"Id or name of the earlier run" maxLength:"100"`
	With   string `query:"with" doc:"Id or name of the later run" required:"true" minLength:"1" maxLength:"100"`
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Items that the page compares at most" minimum:"1" maximum:"200" default:"100"`
}

type diffOutput struct{ Body client.RunDiff }

func (a *API) registerDiff() {
	o := a.operation("diff-run", http.MethodGet, "/v1/runs/{id}/diff", "Compare two runs",
		"What differs in what two runs have answered about items of the same ids, field by field, in pages: first the items of the earlier run, in their order, then those that only the later "+
			"run has. Counts are of the page. Answers of the whole track are compared, or else those of each window.")
	o.Tags = []string{"runs"}
	huma.Register(a.huma, o, a.diffRun)
}

// Kinds of cursors of a diff: the walk over the earlier run, then that over the later one.
const (
	walkBefore = "db"
	walkAfter  = "da"
)

// diffRun compares a page. Two walks by number with look-ups by id compare runs of any size in constant memory and need no order of the ids, which databases
// sort in ways of their own.
func (a *API) diffRun(ctx context.Context, in *diffInput) (*diffOutput, error) {
	before, err := a.run(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after, err := a.run(ctx, in.With)
	if err != nil {
		return nil, err
	}
	kind := walkBefore
	from, err := openNumber(walkBefore, in.Cursor)
	if err != nil {
		kind = walkAfter
		if from, err = openNumber(walkAfter, in.Cursor); err != nil {
			return nil, err
		}
	}
	page := &rundiff.Page{Fields: []client.FieldDiff{}, Items: []client.ItemDiff{}}
	var last int
	if kind == walkBefore {
		last, err = a.compareItems(ctx, page, before.ID, after.ID, from, in.Limit)
	} else {
		last, err = a.newItems(ctx, page, before.ID, after.ID, from, in.Limit)
	}
	if err != nil {
		return nil, a.failRun(ctx, err)
	}
	body := client.RunDiff{Before: before.ID, After: after.ID, Counts: page.Counts, Fields: page.Fields, Items: page.Items}
	switch {
	case last > 0:
		body.Next = makeCursor(kind, strconv.Itoa(last))
	case kind == walkBefore:
		body.Next = makeCursor(walkAfter, "0")
	}
	return &diffOutput{Body: body}, nil
}

// compareItems compares the items of the earlier run behind a number with those of the later run. last is the number of the last one, 0 if there are no more.
func (a *API) compareItems(ctx context.Context, page *rundiff.Page, before, after string, from, limit int) (last int, err error) {
	items, last, err := a.itemsBehind(ctx, before, from, limit)
	if err != nil {
		return 0, err
	}
	later, err := a.deps.Runs.ItemsOf(ctx, after, idsOf(items))
	if err != nil {
		return 0, err
	}
	both := make([]store.Item, 0, 2*len(items))
	for _, it := range items {
		if other, ok := later[it.ID]; ok {
			both = append(both, it, other)
		}
	}
	outcomes, err := a.outcomesOf(ctx, true, both)
	if err != nil {
		return 0, err
	}
	for _, it := range items {
		other, ok := later[it.ID]
		if !ok {
			page.OnlyBefore(it)
			continue
		}
		page.Compare(rundiff.Side{Item: it, Outcomes: outcomes[it.JobID]}, rundiff.Side{Item: other, Outcomes: outcomes[other.JobID]})
	}
	return last, nil
}

// newItems looks for items of the later run that the earlier one does not have.
func (a *API) newItems(ctx context.Context, page *rundiff.Page, before, after string, from, limit int) (last int, err error) {
	items, last, err := a.itemsBehind(ctx, after, from, limit)
	if err != nil {
		return 0, err
	}
	known, err := a.deps.Runs.ItemsOf(ctx, before, idsOf(items))
	if err != nil {
		return 0, err
	}
	for _, it := range items {
		if _, ok := known[it.ID]; !ok {
			page.OnlyAfter(it)
		}
	}
	return last, nil
}

// itemsBehind are the items of a run behind a number, and the number of the last of them if there are more.
func (a *API) itemsBehind(ctx context.Context, run string, from, limit int) (items []store.Item, last int, err error) {
	items, err = a.deps.Runs.RunItems(ctx, run, "", from, limit+1)
	if err == nil && len(items) > limit {
		items = items[:limit]
		last = items[limit-1].N
	}
	return items, last, err
}

func idsOf(items []store.Item) []string {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.ID
	}
	return ids
}
