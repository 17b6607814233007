package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// States of a dead letter.
const (
	DeadBuried   = "buried"
	DeadRedriven = "redriven"
	DeadPurged   = "purged"
)

// DeadFilter selects dead letters; zero values mean all.
type DeadFilter struct {
	Reason string    `json:"reason,omitempty" doc:"Code of the reason, such as engine_error" maxLength:"100"`
	Stage  string    `json:"stage,omitempty" doc:"Stage that gave the record up" enum:"chunker,encoder,projector,llm,recorder"`
	Job    string    `json:"job,omitempty" doc:"Job id" maxLength:"64"`
	Since  time.Time `json:"since,omitzero" doc:"Not older than this"`
	Until  time.Time `json:"until,omitzero" doc:"Older than this"`
}

// DeadLetter is a record that a stage has given up.
type DeadLetter struct {
	ID    string    `json:"id" doc:"Place on the topic: partition-offset"`
	State string    `json:"state" enum:"buried,redriven,purged"`
	At    time.Time `json:"at" doc:"When it was given up"`
	Stage string    `json:"stage"`
	// Reason is a code of event.
	Reason          string    `json:"reason"`
	Error           string    `json:"error,omitempty" doc:"Error of the last attempt"`
	FirstError      string    `json:"first_error,omitempty"`
	JobID           string    `json:"job_id,omitempty"`
	Type            string    `json:"type,omitempty" doc:"ce_type of the record"`
	OriginTopic     string    `json:"origin_topic"`
	OriginPartition string    `json:"origin_partition,omitempty"`
	OriginOffset    string    `json:"origin_offset,omitempty"`
	Attempts        string    `json:"attempts,omitempty"`
	Redriven        int       `json:"redriven" doc:"How often the record was sent back to its topic before"`
	Truncated       bool      `json:"truncated,omitempty" doc:"Its value was too large for the topic: it cannot be sent back"`
	Bytes           int       `json:"bytes" doc:"Size of the value"`
	ActedBy         string    `json:"acted_by,omitempty" doc:"Address of the client that sent it back or purged it"`
	ActedAt         time.Time `json:"acted_at,omitzero"`
	// Payload is the value as JSON, for one letter only.
	Payload      any    `json:"payload,omitempty" doc:"The record; not in lists"`
	PayloadError string `json:"payload_error,omitempty" doc:"Why the record cannot be read; not in lists"`
}

// DeadList is a page of dead letters, the oldest first.
type DeadList struct {
	Letters []DeadLetter `json:"letters"`
	Next    *string      `json:"next,omitempty" doc:"Cursor of the next page; a page may have none and yet a next"`
}

// DeadOrder says what to do with which dead letters.
type DeadOrder struct {
	IDs []string `json:"ids,omitempty" doc:"These letters alone" maxItems:"1000"`
	DeadFilter
	Everything bool    `json:"everything,omitempty" doc:"Needed where neither ids nor a filter is given"`
	DryRun     bool    `json:"dry_run,omitempty" doc:"Tell what would be done and do nothing"`
	Rate       float64 `json:"rate,omitempty" doc:"Letters a second at most; 0 = 50" minimum:"0" maximum:"1000"`
	Limit      int     `json:"limit,omitempty" doc:"Letters at most in this request; 0 = 500" minimum:"0" maximum:"1000"`
	Cursor     string  `json:"cursor,omitempty" doc:"next of the answer before" maxLength:"200"`
}

// DeadRefusal is a letter that was left as it is.
type DeadRefusal struct {
	ID     string `json:"id"`
	JobID  string `json:"job_id,omitempty"`
	Code   string `json:"code" doc:"truncated, not_redrivable, redriven_too_often, unknown_job, not_allowed"`
	Detail string `json:"detail"`
}

// DeadResult is what was done.
type DeadResult struct {
	Done    int           `json:"done" doc:"Letters that were sent back or purged, or would be"`
	IDs     []string      `json:"ids" doc:"These letters"`
	Refused []DeadRefusal `json:"refused"`
	DryRun  bool          `json:"dry_run"`
	Next    *string       `json:"next,omitempty" doc:"Cursor to go on with; absent when all is done"`
}

// SupersededOutcome is an outcome that an answer replaced.
type SupersededOutcome struct {
	Outcome      Outcome   `json:"outcome"`
	Seq          int       `json:"seq" doc:"Number of the outcome in its job"`
	SupersededBy int       `json:"superseded_by" doc:"Number of the outcome in its place; 0 where a new plan of the job replaced it"`
	SupersededAt time.Time `json:"superseded_at"`
}

// SupersededList lists the outcomes of a job that were replaced.
type SupersededList struct {
	Superseded []SupersededOutcome `json:"superseded"`
}

// DeadLetters returns a page of dead letters. all includes those that were sent back or purged.
func (c *Client) DeadLetters(ctx context.Context, f DeadFilter, all bool, cursor string, limit int) (DeadList, error) {
	u := c.base.JoinPath("/v1/dead")
	params := map[string]string{
		"reason": f.Reason, "stage": f.Stage, "job": f.Job, "since": moment(f.Since), "until": moment(f.Until), "cursor": cursor, "limit": number(limit),
	}
	if all {
		params["all"] = strconv.FormatBool(all)
	}
	u.RawQuery = query(params)
	var list DeadList
	if err := c.get(ctx, u, &list); err != nil {
		return DeadList{}, fmt.Errorf("listing dead letters: %w", err)
	}
	return list, nil
}

// DeadLetter returns one dead letter with its payload.
func (c *Client) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	var letter DeadLetter
	if err := c.get(ctx, c.base.JoinPath("/v1/dead", url.PathEscape(id)), &letter); err != nil {
		return DeadLetter{}, fmt.Errorf("reading dead letter %s: %w", id, err)
	}
	return letter, nil
}

// Redrive sends dead letters back to the topics that they came from.
func (c *Client) Redrive(ctx context.Context, order DeadOrder) (DeadResult, error) {
	return c.dead(ctx, "redrive", order)
}

// Purge hides dead letters and deletes them as far as the log allows.
func (c *Client) Purge(ctx context.Context, order DeadOrder) (DeadResult, error) {
	return c.dead(ctx, "purge", order)
}

func (c *Client) dead(ctx context.Context, verb string, order DeadOrder) (DeadResult, error) {
	var result DeadResult
	if err := c.post(ctx, c.base.JoinPath("/v1/dead", verb), order, &result); err != nil {
		return DeadResult{}, fmt.Errorf("%s of dead letters: %w", verb, err)
	}
	return result, nil
}

// AllowSupersede lets answers replace the job's outcomes that were given up.
func (c *Client) AllowSupersede(ctx context.Context, jobID string) (Job, error) {
	var job Job
	if err := c.post(ctx, c.jobURL(jobID, "supersede"), nil, &job); err != nil {
		return Job{}, fmt.Errorf("allowing job %s to be redone: %w", jobID, err)
	}
	return job, nil
}

// Superseded returns the job's outcomes that were replaced, the oldest first.
func (c *Client) Superseded(ctx context.Context, jobID string) ([]SupersededOutcome, error) {
	var list SupersededList
	if err := c.get(ctx, c.jobURL(jobID, "superseded"), &list); err != nil {
		return nil, fmt.Errorf("reading replaced outcomes of job %s: %w", jobID, err)
	}
	return list.Superseded, nil
}

func (c *Client) post(ctx context.Context, u *url.URL, body, dst any) error {
	return c.send(ctx, http.MethodPost, u, body, dst)
}

func (c *Client) send(ctx context.Context, method string, u *url.URL, body, dst any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := c.request(ctx, method, u, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.do(req, dst)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
