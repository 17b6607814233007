package vllm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	maxReply    = 4 << 20 // bytes of an answer that is no stream
	maxMessage  = 300     // bytes of a server's message that are passed on
	tries       = 5
	firstWait   = 250 * time.Millisecond // before the second try; doubles
	maxWait     = 30 * time.Second
)

// client speaks to one server.
type client struct {
	base *url.URL
	key  string
	http *http.Client
}

// baseURL checks and reads the URL of a server.
func baseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("vllm_url: %.200q is no URL such as http://gpu-1:8000, without user, query and fragment", text)
	}
	return u, nil
}

func newClient(cfg Config) (*client, error) {
	base, err := baseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: cfg.InFlight, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	return &client{base: base, key: cfg.APIKey, http: &http.Client{
		Transport: transport,
		// Prompt and key go to the server that was named and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// do sends a request and gives the answer if it is 200 OK, else a refusal. Errors of the way to the server are temporary.
func (c *client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking vLLM: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &temporary{err: fmt.Errorf("asking vLLM: %w", err)}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fmt.Errorf("asking vLLM: %w", readRefusal(resp))
}

// complete asks for one answer and calls emit with the text of each event.
func (c *client) complete(ctx context.Context, body []byte, emit func(text string)) (completion, error) {
	resp, err := c.do(ctx, http.MethodPost, "v1/completions", body)
	if err != nil {
		return completion{}, err
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return completion{}, fmt.Errorf("asking vLLM: the answer is %.60q, no text/event-stream: is %s a vLLM server?", resp.Header.Get("Content-Type"), c.base.Host)
	}
	done, err := readCompletion(resp.Body, emit)
	if err == nil {
		return done, nil
	}
	if ctx.Err() != nil {
		return completion{}, context.Cause(ctx)
	}
	err = fmt.Errorf("reading vLLM's answer: %w", err)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(net.Error)) {
		err = &temporary{err: err}
	}
	return completion{}, err
}

// get reads a small answer.
func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, fmt.Errorf("reading vLLM's /%s: %w", path, err)
	}
	if len(raw) > maxReply {
		return nil, fmt.Errorf("reading vLLM's /%s: it is longer than %d bytes", path, maxReply)
	}
	return raw, nil
}

// refusal is a server's answer other than 200 OK, or an error inside a stream.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("the server says %d %s: %q", r.status, http.StatusText(r.status), r.message)
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return text + "; set vllm_api_key to the server's --api-key"
	case http.StatusNotFound:
		return text + "; compare vllm_url and vllm_model with the server's --served-model-name"
	}
	return text
}

// ofRequest tells that the fault lies in what was asked and will be refused again.
func (r *refusal) ofRequest() bool {
	return r.status == http.StatusBadRequest || r.status == http.StatusRequestEntityTooLarge || r.status == http.StatusUnprocessableEntity
}

// serverFault is what a server says of an error: since 0.10 inside "error", before at the top.
type serverFault struct {
	Message string          `json:"message"`
	Code    json.RawMessage `json:"code"`
}

func (f *serverFault) refusal() *refusal {
	status, err := strconv.Atoi(string(f.Code))
	if err != nil || status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	return &refusal{status: status, message: f.Message[:min(len(f.Message), maxMessage)]}
}

func readRefusal(resp *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what there is of it
	var body struct {
		Error serverFault `json:"error"`
		serverFault
	}
	message := string(raw)
	if json.Unmarshal(raw, &body) == nil {
		message = cmp.Or(body.Error.Message, body.Message, message)
	}
	r := &refusal{status: resp.StatusCode, message: message[:min(len(message), maxMessage)]}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return &temporary{err: r, after: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return r
}

// retryAfter reads the header Retry-After, seconds or a date; 0 where it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return min(time.Duration(max(seconds, 0))*time.Second, maxWait)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxWait)
	}
	return 0
}

// temporary is an error after which the same may be asked again, not before after has passed.
type temporary struct {
	err   error
	after time.Duration
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// Unavailable tells the stage that the server is down or has no room, and nothing is wrong with what was asked.
func (t *temporary) Unavailable() bool { return true }

// final is err with the leave to ask again taken away.
func final(err error) error {
	var t *temporary
	if errors.As(err, &t) {
		return t.err
	}
	return err
}

// retry repeats what fails for a time, with growing and jittered waits. When ctx ends, the last error is given.
func retry[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	for n := 0; ; n++ {
		v, err := attempt()
		var t *temporary
		if err == nil || !errors.As(err, &t) || n+1 == tries {
			return v, err
		}
		wait := firstWait << n
		if sleep(ctx, max(wait/2+rand.N(wait), t.after+rand.N(wait))) != nil { //nolint:gosec // jitter needs no secrecy
			return v, err
		}
	}
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
