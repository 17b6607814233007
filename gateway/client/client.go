package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// EnvToken is the variable of the environment that holds the token of a gateway, for programs that take it from there. The client does not read
// it itself.
const EnvToken = "LARK_TOKEN"

// maxBody bounds what is read of one answer but a stream.
const maxBody = 16 << 20

// Client speaks to one gateway. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	token string
}

// New makes a client of the gateway at baseURL, such as http://127.0.0.1:8080. A nil http.Client means
// http.DefaultClient; it should have no Timeout, which would end event streams: use contexts.
func New(baseURL string, hc *http.Client) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("reading gateway URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("reading gateway URL: %q is not http://host:port", baseURL)
	}
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{base: u, http: hc}, nil
}

// WithToken returns a client that sends the token of the gateway with every request; "" is none.
func (c *Client) WithToken(token string) *Client {
	with := *c
	with.token = token
	return &with
}

// Upload is a file to be sent with a submission. Reader is read once.
type Upload struct {
	Name   string
	Reader io.Reader
}

// SubmitOptions of one submission.
type SubmitOptions struct {
	// IdempotencyKey makes repeating the submission safe; empty = none.
	IdempotencyKey string
}

// Submit submits a job about an uploaded file, or, when upload is nil, about sub.AudioRef or
// sub.AudioURL. The file is streamed, not held in memory.
func (c *Client) Submit(ctx context.Context, sub Submission, upload *Upload, opts SubmitOptions) (Job, error) {
	body, contentType, err := submitBody(sub, upload)
	if err != nil {
		return Job{}, fmt.Errorf("submitting job: %w", err)
	}
	defer body.Close()
	// The transport waits for its reader of the body, also after ctx's end.
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	req, err := c.request(ctx, http.MethodPost, c.base.JoinPath("/v1/jobs"), body)
	if err != nil {
		return Job{}, fmt.Errorf("submitting job: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	if opts.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", opts.IdempotencyKey)
	}
	var job Job
	err = c.do(req, &job)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // rather than that the body was closed
	}
	if err != nil {
		return Job{}, fmt.Errorf("submitting job: %w", err)
	}
	return job, nil
}

// submitBody makes JSON, or a form that is written while it is read.
func submitBody(sub Submission, upload *Upload) (io.ReadCloser, string, error) {
	raw, err := json.Marshal(sub)
	if err != nil {
		return nil, "", err
	}
	if upload == nil {
		return io.NopCloser(bytes.NewReader(raw)), "application/json", nil
	}
	pr, pw := io.Pipe()
	form := multipart.NewWriter(pw)
	go func() { // ends when the form is written, or when the reader is closed
		pw.CloseWithError(writeForm(form, raw, *upload))
	}()
	return pr, form.FormDataContentType(), nil
}

func writeForm(form *multipart.Writer, request []byte, upload Upload) error {
	header := textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="request"`}, "Content-Type": {"application/json"},
	}
	part, err := form.CreatePart(header)
	if err != nil {
		return err
	}
	if _, err := part.Write(request); err != nil {
		return err
	}
	if part, err = form.CreateFormFile("audio", upload.Name); err != nil {
		return err
	}
	if _, err := io.Copy(part, upload.Reader); err != nil {
		return fmt.Errorf("reading %s: %w", upload.Name, err)
	}
	return form.Close()
}

// Get returns a job.
func (c *Client) Get(ctx context.Context, jobID string) (Job, error) {
	var job Job
	if err := c.get(ctx, c.jobURL(jobID), &job); err != nil {
		return Job{}, fmt.Errorf("reading job %s: %w", jobID, err)
	}
	return job, nil
}

// ListOptions select jobs; zero values mean all, from the newest, 20 a page.
type ListOptions struct {
	State string
	// Lane is interactive or bulk; Label is name=value.
	Lane, Label string
	// Since and Until bound the time of creation.
	Since, Until time.Time
	Cursor       string
	Limit        int
	// IdempotencyKey asks for the job that a submission with this key made, and no other. While such a submission is being handled, listing is a
	// Problem that is Retryable.
	IdempotencyKey string
}

// List returns a page of jobs.
func (c *Client) List(ctx context.Context, opts ListOptions) (JobList, error) {
	u := c.base.JoinPath("/v1/jobs")
	u.RawQuery = query(map[string]string{
		"state": opts.State, "lane": opts.Lane, "label": opts.Label, "since": moment(opts.Since), "until": moment(opts.Until), "cursor": opts.Cursor, "limit": number(opts.Limit),
		"idempotency_key": opts.IdempotencyKey,
	})
	var list JobList
	if err := c.get(ctx, u, &list); err != nil {
		return JobList{}, fmt.Errorf("listing jobs: %w", err)
	}
	return list, nil
}

// OutcomePage returns a page of a job's outcomes after cursor ("" = from the first); limit 0 means 100.
func (c *Client) OutcomePage(ctx context.Context, jobID, cursor string, limit int) (OutcomeList, error) {
	u := c.jobURL(jobID, "outcomes")
	u.RawQuery = query(map[string]string{"cursor": cursor, "limit": number(limit)})
	var list OutcomeList
	if err := c.get(ctx, u, &list); err != nil {
		return OutcomeList{}, fmt.Errorf("reading outcomes of job %s: %w", jobID, err)
	}
	return list, nil
}

// Outcomes returns all outcomes that a job has so far.
func (c *Client) Outcomes(ctx context.Context, jobID string) ([]Outcome, error) {
	var all []Outcome
	for cursor := ""; ; {
		page, err := c.OutcomePage(ctx, jobID, cursor, 500)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Outcomes...)
		if page.Next == nil || len(page.Outcomes) == 0 {
			return all, nil
		}
		cursor = *page.Next
	}
}

// Cancel asks for a job's end and returns the job as it then is.
func (c *Client) Cancel(ctx context.Context, jobID string) (Job, error) {
	req, err := c.request(ctx, http.MethodPost, c.jobURL(jobID, "cancel"), nil)
	if err != nil {
		return Job{}, fmt.Errorf("cancelling job %s: %w", jobID, err)
	}
	var job Job
	if err := c.do(req, &job); err != nil {
		return Job{}, fmt.Errorf("cancelling job %s: %w", jobID, err)
	}
	return job, nil
}

// Delete deletes a job that has ended, with its outcomes.
func (c *Client) Delete(ctx context.Context, jobID string) error {
	req, err := c.request(ctx, http.MethodDelete, c.jobURL(jobID), nil)
	if err == nil {
		err = c.do(req, nil)
	}
	if err != nil {
		return fmt.Errorf("deleting job %s: %w", jobID, err)
	}
	return nil
}

// Models returns the models that the gateway's deployment serves.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var list ModelList
	if err := c.get(ctx, c.base.JoinPath("/v1/models"), &list); err != nil {
		return nil, fmt.Errorf("listing models: %w", err)
	}
	return list.Models, nil
}

func (c *Client) jobURL(jobID string, rest ...string) *url.URL {
	return c.base.JoinPath(append([]string{"/v1/jobs", url.PathEscape(jobID)}, rest...)...)
}

func (c *Client) request(ctx context.Context, method string, u *url.URL, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *Client) get(ctx context.Context, u *url.URL, dst any) error {
	req, err := c.request(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	return c.do(req, dst)
}

// do sends a request and decodes its answer into dst, nil for an answer without a body; a problem comes back as *Problem.
func (c *Client) do(req *http.Request, dst any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if err := problemOf(resp); err != nil {
		return err
	}
	if dst == nil {
		return nil
	}
	body := &io.LimitedReader{R: resp.Body, N: maxBody}
	err = json.NewDecoder(body).Decode(dst)
	switch {
	case err != nil && body.N <= 0:
		return fmt.Errorf("decoding answer of %s: it is larger than %d bytes", req.URL.Path, maxBody)
	case err != nil:
		return fmt.Errorf("decoding answer of %s: %w", req.URL.Path, err)
	}
	return nil
}

// problemOf returns the error that an answer is, or nil.
func problemOf(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	p := &Problem{}
	if err == nil && json.Unmarshal(raw, p) == nil && p.Code != "" {
		return p
	}
	if p := spoken(resp.StatusCode, raw); err == nil && p != nil {
		return p
	}
	text := strings.TrimSpace(strings.ToValidUTF8(string(raw[:min(len(raw), 200)]), "?"))
	return &Problem{
		Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode, Code: "http_" + strconv.Itoa(resp.StatusCode), Detail: text,
		Retryable: resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests,
	}
}

// spoken is a problem in the form of OpenAI's API, which the gateway has on the paths of that API, or nil.
func spoken(status int, raw []byte) *Problem {
	var body struct {
		Error struct {
			Message string `json:"message"`
			Code    string `json:"code"`
			TraceID string `json:"trace_id"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &body) != nil || body.Error.Code == "" {
		return nil
	}
	return &Problem{
		Title: http.StatusText(status), Status: status, Code: body.Error.Code, Detail: body.Error.Message, TraceID: body.Error.TraceID,
		Retryable: status >= http.StatusInternalServerError || status == http.StatusTooManyRequests,
	}
}

// AsProblem returns the problem that an error of this package carries, if it does.
func AsProblem(err error) (*Problem, bool) {
	var p *Problem
	ok := errors.As(err, &p)
	return p, ok
}

func query(params map[string]string) string {
	v := url.Values{}
	for name, value := range params {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v.Encode()
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
