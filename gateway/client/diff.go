package client

import (
	"context"
	"fmt"
)

// MaxDiffItems is how many items one page of a diff compares at most.
const MaxDiffItems = 200

// Kinds of differences between two runs.
const (
	// DiffChanged: both runs have answered about the item, and an answer differs.
	DiffChanged = "changed"
	// DiffLost and DiffGained: only the earlier, or only the later run has answered about the item.
	DiffLost   = "lost"
	DiffGained = "gained"
	// DiffOnlyBefore and DiffOnlyAfter: the other run has no item of this id.
	DiffOnlyBefore = "only_before"
	DiffOnlyAfter  = "only_after"
)

// FieldAnswer is the field of an answer in free text. Other fields are those of Tags.
const FieldAnswer = "answer"

// RunDiff is a page of what differs between two runs over items of the same ids. Counts are of this page: add them up.
type RunDiff struct {
	Before string      `json:"before" doc:"Id of the run of the path"`
	After  string      `json:"after" doc:"Id of the run that it is compared with"`
	Counts DiffCounts  `json:"counts" doc:"Items of this page; each is counted once"`
	Fields []FieldDiff `json:"fields" doc:"What both runs have answered about items of this page, by field"`
	Items  []ItemDiff  `json:"items" doc:"The items of this page that differ"`
	Next   *string     `json:"next,omitempty" doc:"Cursor of the next page; left out = there is none"`
}

// DiffCounts count items.
type DiffCounts struct {
	Same       int `json:"same" doc:"Every answer that both runs have is the same"`
	Changed    int `json:"changed"`
	Lost       int `json:"lost" doc:"Answered before, failed or cancelled after"`
	Gained     int `json:"gained" doc:"Failed or cancelled before, answered after"`
	Failed     int `json:"failed" doc:"Answered in neither run"`
	OnlyBefore int `json:"only_before"`
	OnlyAfter  int `json:"only_after"`
	Skipped    int `json:"skipped" doc:"Not compared: a run with changed_since has skipped the item"`
	Open       int `json:"open" doc:"Not compared: the item has not ended in both runs"`
	Gone       int `json:"gone" doc:"Not compared: the answers of a run were deleted"`
	Unlike     int `json:"unlike" doc:"Not compared: the runs have asked other questions, or about other windows"`
}

// Plus adds the counts of two pages.
func (c DiffCounts) Plus(o DiffCounts) DiffCounts {
	return DiffCounts{
		Same: c.Same + o.Same, Changed: c.Changed + o.Changed, Lost: c.Lost + o.Lost, Gained: c.Gained + o.Gained, Failed: c.Failed + o.Failed,
		OnlyBefore: c.OnlyBefore + o.OnlyBefore, OnlyAfter: c.OnlyAfter + o.OnlyAfter, Skipped: c.Skipped + o.Skipped, Open: c.Open + o.Open,
		Gone: c.Gone + o.Gone, Unlike: c.Unlike + o.Unlike,
	}
}

// Differing counts the items that differ.
func (c DiffCounts) Differing() int {
	return c.Changed + c.Lost + c.Gained + c.OnlyBefore + c.OnlyAfter
}

// NotCompared counts the items of which nothing can be said. Skipped items are not among them: they have not changed.
func (c DiffCounts) NotCompared() int { return c.Open + c.Gone + c.Unlike }

// FieldDiff counts the items of which both runs have a field.
type FieldDiff struct {
	Field    string `json:"field" doc:"A field of the tags, or answer for free text"`
	Question string `json:"question,omitempty" doc:"Of free text"`
	Compared int    `json:"compared" doc:"Items that were compared"`
	Changed  int    `json:"changed" doc:"Items in which it differs, in one window at least"`
}

// ItemDiff is one item that differs.
type ItemDiff struct {
	ID           string        `json:"id"`
	URI          string        `json:"uri"`
	Kind         string        `json:"kind" enum:"changed,lost,gained,only_before,only_after"`
	StateBefore  string        `json:"state_before,omitempty"`
	StateAfter   string        `json:"state_after,omitempty"`
	Code         string        `json:"code,omitempty" doc:"Why the item failed, of lost and gained"`
	AudioChanged bool          `json:"audio_changed,omitempty" doc:"The runs have heard files of different content"`
	Changes      []FieldChange `json:"changes,omitempty" doc:"Of changed: at most 32"`
}

// FieldChange is one field of an item that differs.
type FieldChange struct {
	Field    string `json:"field"`
	Question string `json:"question,omitempty"`
	Window   *int   `json:"window,omitempty" doc:"Left out = of the whole track, or of its only window"`
	Before   any    `json:"before" doc:"A number, text or list; null = not told. Text is cut after 500 bytes"`
	After    any    `json:"after"`
	Code     string `json:"code,omitempty" doc:"Why one of the two runs has no answer"`
}

// DiffRuns compares two runs page by page: before and after are ids or names, cursor is next of the page before.
func (c *Client) DiffRuns(ctx context.Context, before, after, cursor string, limit int) (page RunDiff, err error) {
	u := c.base.JoinPath("/v1/runs", before, "diff")
	u.RawQuery = query(map[string]string{"with": after, "cursor": cursor, "limit": number(limit)})
	if err := c.get(ctx, u, &page); err != nil {
		return RunDiff{}, fmt.Errorf("comparing run %s with %s: %w", before, after, err)
	}
	return page, nil
}
