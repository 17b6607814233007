package client

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// States of a run. The last four are terminal.
const (
	RunLoading    = "loading"
	RunRunning    = "running"
	RunPaused     = "paused"
	RunCancelling = "cancelling"
	RunSucceeded  = "succeeded"
	RunPartial    = "partial"
	RunFailed     = "failed"
	RunCancelled  = "cancelled"
)

// RunTerminal tells whether a run in this state has ended.
func RunTerminal(state string) bool {
	return state == RunSucceeded || state == RunPartial || state == RunFailed || state == RunCancelled
}

// MaxRunItems is how many items one request may add to a run.
const MaxRunItems = 1000

// RunSubmission is what a run asks of each of its items.
type RunSubmission struct {
	Name      string   `json:"name,omitempty" doc:"By which the run can be named; the newest of several counts" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._ -]*$"`
	Questions []string `json:"questions,omitempty" doc:"Questions about each track; with a response_schema, none means its own question"`
	Options
	Plan         string  `json:"plan,omitempty" doc:"Which windows of each track are heard: auto = one, all = every one" enum:"auto,all" default:"auto"`
	Decode       *Decode `json:"decode,omitempty"`
	MaxFailures  float64 `json:"max_failures,omitempty" doc:"The run pauses when more than this share of its ended items has failed, 20 ended ones at least; 0 = never" minimum:"0" maximum:"1"`
	MaxAudioS    float64 `json:"max_audio_s,omitempty" doc:"The run pauses when its items have had more seconds of audio; 0 = never" minimum:"0"`
	MaxCost      float64 `json:"max_cost,omitempty" doc:"The run starts no more items when what it has spent, and is expected to spend on items in hand, reaches this amount by the operator's prices, and pauses; 0 = never" minimum:"0"`
	ChangedSince string  `json:"changed_since,omitempty" doc:"Id of a run whose succeeded items are skipped while place and content are the same" maxLength:"64"`
	ModelDigest  string  `json:"model_digest,omitempty" doc:"Digest of the model that must answer; left out = whichever is deployed" maxLength:"64"`
}

// Run is a set of items and what has become of them.
type Run struct {
	ID        string        `json:"id"`
	State     string        `json:"state" enum:"loading,running,paused,cancelling,succeeded,partial,failed,cancelled"`
	Reason    string        `json:"reason,omitempty" doc:"Why the run has paused itself, or waits"`
	CreatedAt time.Time     `json:"created_at"`
	StartedAt *time.Time    `json:"started_at,omitempty"`
	EndedAt   *time.Time    `json:"ended_at,omitempty"`
	Asked     RunSubmission `json:"asked"`
	Items     int           `json:"items"`
	Counts    RunCounts     `json:"counts"`
	// Failures are left out of lists.
	Failures map[string]int `json:"failures,omitempty" doc:"Items that have not succeeded, by code; not in lists"`
	Work     RunWork        `json:"work"`
	Cost     Cost           `json:"cost" doc:"Of the items that have ended, with earlier attempts"`
}

// RunCounts are the items of a run by state.
type RunCounts struct {
	Pending   int `json:"pending"`
	Running   int `json:"running"`
	Succeeded int `json:"succeeded"`
	Partial   int `json:"partial"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
	Skipped   int `json:"skipped"`
}

// Ended counts the items that have ended.
func (c RunCounts) Ended() int {
	return c.Succeeded + c.Partial + c.Failed + c.Cancelled + c.Skipped
}

// RunWork is what the ended items of a run have had.
type RunWork struct {
	AudioS  float64 `json:"audio_s" doc:"Seconds of audio of the tracks"`
	Windows int     `json:"windows"`
	Encoded int     `json:"encoded" doc:"Windows of which no embedding was known"`
	Answers int     `json:"answers"`
	Known   int     `json:"answers_known" doc:"Answers that were kept from before and not decoded"`
}

// RunItem is one track of a run.
type RunItem struct {
	Number    int               `json:"number" doc:"From 1, in the order in which items were added"`
	ID        string            `json:"id" doc:"The manifest's own id"`
	URI       string            `json:"uri"`
	Fields    map[string]string `json:"fields,omitempty" doc:"What the manifest says of the item"`
	State     string            `json:"state" enum:"pending,running,succeeded,partial,failed,cancelled,skipped"`
	Code      string            `json:"code,omitempty" doc:"Why the item has not succeeded, or was skipped"`
	Message   string            `json:"message,omitempty"`
	Attempts  int               `json:"attempts"`
	JobID     string            `json:"job_id,omitempty"`
	SHA256    string            `json:"sha256,omitempty"`
	Bytes     int64             `json:"bytes,omitempty"`
	DurationS float64           `json:"duration_s,omitempty"`
	Windows   int               `json:"windows,omitempty"`
	EndedAt   *time.Time        `json:"ended_at,omitempty"`
	Outcomes  []Outcome         `json:"outcomes,omitempty" doc:"Only where asked for"`
}

// NewItem is an item to be added to a run.
type NewItem struct {
	ID     string            `json:"id" doc:"The manifest's own id; an id that the run has already changes nothing" minLength:"1" maxLength:"512"`
	URI    string            `json:"uri" doc:"file, s3, gs or https URI in a place that the operator allows (sources)" minLength:"1" maxLength:"2048"`
	SHA256 string            `json:"sha256,omitempty" doc:"SHA-256 (hex) of the file, if the manifest knows it: the file is then not read to find out" pattern:"^[0-9a-f]{64}$"`
	Fields map[string]string `json:"fields,omitempty" doc:"What else the manifest says, given back with the results: at most 32 fields of 64 and 512 bytes"`
}

// ItemList is the body of a request that adds items, at most MaxRunItems.
type ItemList struct {
	Items []NewItem `json:"items" minItems:"1" maxItems:"1000"`
}

// AddedItems tells how many items of a request were new.
type AddedItems struct {
	Added int `json:"added"`
	Known int `json:"known" doc:"Items whose ids the run had already"`
}

// RunList is a page of runs.
type RunList struct {
	Runs []Run   `json:"runs"`
	Next *string `json:"next,omitempty" doc:"Cursor of the next page; left out = there is none"`
}

// RunItemList is a page of items.
type RunItemList struct {
	Items []RunItem `json:"items"`
	Next  *string   `json:"next,omitempty" doc:"Cursor of the next page; left out = there is none"`
}

// RetryResult tells what a retry has taken up.
type RetryResult struct {
	Run     Run `json:"run"`
	Retried int `json:"retried" doc:"Items that are pending again"`
}

// CreateRun makes a run without items.
func (c *Client) CreateRun(ctx context.Context, sub RunSubmission) (run Run, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/runs"), sub, &run); err != nil {
		return Run{}, fmt.Errorf("creating run: %w", err)
	}
	return run, nil
}

// AddItems adds at most MaxRunItems items to a run that has not started.
func (c *Client) AddItems(ctx context.Context, run string, items []NewItem) (added AddedItems, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/runs", run, "items"), ItemList{Items: items}, &added); err != nil {
		return AddedItems{}, fmt.Errorf("adding items to run %s: %w", run, err)
	}
	return added, nil
}

// MoveRun starts, pauses, resumes or cancels a run: verb is one of those words.
func (c *Client) MoveRun(ctx context.Context, run, verb string) (moved Run, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/runs", run, verb), nil, &moved); err != nil {
		return Run{}, fmt.Errorf("asking to %s run %s: %w", verb, run, err)
	}
	return moved, nil
}

// RetryRun takes up the items that have failed in whole or in part once more: those of one code, or all with "".
func (c *Client) RetryRun(ctx context.Context, run, code string) (result RetryResult, err error) {
	u := c.base.JoinPath("/v1/runs", run, "retry")
	u.RawQuery = query(map[string]string{"code": code})
	if err := c.post(ctx, u, nil, &result); err != nil {
		return RetryResult{}, fmt.Errorf("retrying run %s: %w", run, err)
	}
	return result, nil
}

// Run reads a run by its id or name.
func (c *Client) Run(ctx context.Context, run string) (found Run, err error) {
	if err := c.get(ctx, c.base.JoinPath("/v1/runs", run), &found); err != nil {
		return Run{}, fmt.Errorf("reading run %s: %w", run, err)
	}
	return found, nil
}

// Runs returns a page of runs, newest first.
func (c *Client) Runs(ctx context.Context, cursor string, limit int) (list RunList, err error) {
	u := c.base.JoinPath("/v1/runs")
	u.RawQuery = query(map[string]string{"cursor": cursor, "limit": number(limit)})
	if err := c.get(ctx, u, &list); err != nil {
		return RunList{}, fmt.Errorf("listing runs: %w", err)
	}
	return list, nil
}

// ItemOptions select items of a run.
type ItemOptions struct {
	// State "" is any.
	State, Cursor string
	Limit         int
	Outcomes      bool
}

// RunItems returns a page of a run's items.
func (c *Client) RunItems(ctx context.Context, run string, opts ItemOptions) (list RunItemList, err error) {
	u := c.base.JoinPath("/v1/runs", run, "items")
	asked := map[string]string{"state": opts.State, "cursor": opts.Cursor, "limit": number(opts.Limit)}
	if opts.Outcomes {
		asked["outcomes"] = strconv.FormatBool(true)
	}
	u.RawQuery = query(asked)
	if err := c.get(ctx, u, &list); err != nil {
		return RunItemList{}, fmt.Errorf("reading items of run %s: %w", run, err)
	}
	return list, nil
}
