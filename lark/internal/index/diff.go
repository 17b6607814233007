package index

import (
	"context"
	"slices"

	"github.com/larkstream/larkstream/gateway/client"
)

// Diff is what differs between two runs, as a whole.
type Diff struct {
	Before string            `json:"before"`
	After  string            `json:"after"`
	Counts client.DiffCounts `json:"counts"`
	// Fields have the most changed first.
	Fields []FieldDiff `json:"fields"`
	// Items are the first ones of each kind but changed ones, which are examples of their fields.
	Items []client.ItemDiff `json:"items"`
}

// FieldDiff is a field with the first items in which it differs.
type FieldDiff struct {
	client.FieldDiff
	Examples []FieldExample `json:"examples"`
}

// FieldExample is a field of an item that differs.
type FieldExample struct {
	ID           string `json:"id"`
	URI          string `json:"uri"`
	AudioChanged bool   `json:"audio_changed,omitempty"`
	client.FieldChange
}

// DiffRuns compares two runs and keeps so many examples of each field and of each kind of difference. Its memory does not grow with the runs. progress is
// told how many items have been looked at.
func DiffRuns(ctx context.Context, gw *client.Client, before, after string, examples int, progress func(items int)) (Diff, error) {
	d := Diff{Fields: []FieldDiff{}, Items: []client.ItemDiff{}}
	kinds := make(map[string]int)
	looked, cursor := 0, ""
	for {
		page, err := gw.DiffRuns(ctx, before, after, cursor, client.MaxDiffItems)
		if err != nil {
			return Diff{}, err
		}
		d.Before, d.After, d.Counts = page.Before, page.After, d.Counts.Plus(page.Counts)
		for _, f := range page.Fields {
			k := d.field(f.Field, f.Question)
			k.Compared, k.Changed = k.Compared+f.Compared, k.Changed+f.Changed
		}
		for _, it := range page.Items {
			if it.Kind == client.DiffChanged {
				d.example(it, examples)
			} else if kinds[it.Kind]++; kinds[it.Kind] <= examples {
				d.Items = append(d.Items, it)
			}
		}
		if looked += client.MaxDiffItems; progress != nil {
			progress(looked)
		}
		if page.Next == nil {
			break
		}
		// The runs by their ids: a newer run may get the name meanwhile.
		before, after, cursor = page.Before, page.After, *page.Next
	}
	slices.SortStableFunc(d.Fields, func(x, y FieldDiff) int { return y.Changed - x.Changed })
	return d, nil
}

func (d *Diff) field(name, question string) *FieldDiff {
	at := slices.IndexFunc(d.Fields, func(f FieldDiff) bool { return f.Field == name && f.Question == question })
	if at < 0 {
		at = len(d.Fields)
		d.Fields = append(d.Fields, FieldDiff{FieldDiff: client.FieldDiff{Field: name, Question: question}, Examples: []FieldExample{}})
	}
	return &d.Fields[at]
}

// example keeps one change of each field of an item, as long as the field has too few examples.
func (d *Diff) example(it client.ItemDiff, most int) {
	for _, c := range it.Changes {
		f := d.field(c.Field, c.Question)
		if n := len(f.Examples); n < most && (n == 0 || f.Examples[n-1].ID != it.ID) {
			f.Examples = append(f.Examples, FieldExample{ID: it.ID, URI: it.URI, AudioChanged: it.AudioChanged, FieldChange: c})
		}
	}
}
