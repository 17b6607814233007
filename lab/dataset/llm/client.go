package llm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Config names the model and bounds what it is asked.
type Config struct {
	// URL is the base of the API, such as http://127.0.0.1:8000/v1; Model is the model's name there; Key is sent as a bearer token, empty = none.
	URL, Model, Key string
	Temperature     float64
	// MaxTokens bounds a reply.
	MaxTokens int
	// PerMinute is how many requests are begun in a minute; 0 = as many as there are.
	PerMinute int
	// Tries is how often a request is sent that fails for a reason that may pass, or whose reply cannot be read. 0 = 5.
	Tries int
	// Client of HTTP; nil = one with a timeout of five minutes.
	Client *http.Client
}

// Client is safe for concurrent use.
type Client struct {
	cfg  Config
	path string

	mu   sync.Mutex
	next time.Time
}

const (
	defaultTries = 5
	maxReply     = 4 << 20
	timeout      = 5 * time.Minute
	firstPause   = time.Second
	mostPause    = time.Minute
)

// New checks the configuration; it does not speak to the model yet.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%q is no URL of a language model: write the base of its API, such as http://127.0.0.1:8000/v1", cfg.URL)
	case cfg.Model == "":
		return nil, errors.New("the language model has no name: the API needs one")
	case cfg.MaxTokens < 1 || cfg.Temperature < 0 || cfg.PerMinute < 0 || cfg.Tries < 0:
		return nil, errors.New("tokens must be 1 or more, and temperature, requests a minute and tries 0 or more")
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: timeout}
	}
	if cfg.Tries == 0 {
		cfg.Tries = defaultTries
	}
	return &Client{cfg: cfg, path: u.JoinPath("chat/completions").String()}, nil
}

// Message of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Reply is what the model said and what it took.
type Reply struct {
	Text             string `json:"text"`
	PromptTokens     int    `json:"prompt_tokens"`
	CompletionTokens int    `json:"completion_tokens"`
}

// Add sums tokens.
func (r *Reply) Add(other Reply) {
	r.PromptTokens += other.PromptTokens
	r.CompletionTokens += other.CompletionTokens
}

// RefusedError is a request that will be refused however often it is sent: the clip's fault.
type RefusedError struct{ Status, Body string }

func (e *RefusedError) Error() string {
	return "the language model's API refused the request with " + e.Status + ": " + e.Body
}

// UnreachableError is an API that gave no answer in all tries.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string {
	return "the language model's API gave no answer: " + e.Err.Error()
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// Complete sends a conversation and waits for the reply. It waits for its turn by the rate, and tries again where a failure may pass.
func (c *Client) Complete(ctx context.Context, messages []Message) (Reply, error) {
	body, err := json.Marshal(map[string]any{"model": c.cfg.Model, "temperature": c.cfg.Temperature, "max_tokens": c.cfg.MaxTokens, "messages": messages})
	if err != nil {
		return Reply{}, err
	}
	var last error
	for try := range c.cfg.Tries {
		if err := c.turn(ctx); err != nil {
			return Reply{}, err
		}
		reply, pause, err := c.once(ctx, body)
		if err == nil || ctx.Err() != nil {
			return reply, errors.Join(err, ctx.Err())
		}
		if pause < 0 {
			return Reply{}, err
		}
		last = err
		if try+1 < c.cfg.Tries {
			if err := sleep(ctx, max(pause, backoff(try))); err != nil {
				return Reply{}, err
			}
		}
	}
	return Reply{}, &UnreachableError{fmt.Errorf("after %d tries: %w", c.cfg.Tries, last)}
}

// backoff doubles from firstPause to mostPause, by chance down to half of it.
func backoff(try int) time.Duration {
	pause := min(firstPause<<min(try, 10), mostPause)
	return pause/2 + rand.N(pause/2) //nolint:gosec // not a secret
}

// turn waits until another request may be begun.
func (c *Client) turn(ctx context.Context) error {
	if c.cfg.PerMinute == 0 {
		return ctx.Err()
	}
	c.mu.Lock()
	now := time.Now()
	at := c.next
	if at.Before(now) {
		at = now
	}
	c.next = at.Add(time.Minute / time.Duration(c.cfg.PerMinute))
	c.mu.Unlock()
	return sleep(ctx, at.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once sends a request. A pause below 0 says that sending it again is of no use.
func (c *Client) once(ctx context.Context, body []byte) (reply Reply, pause time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.path, bytes.NewReader(body))
	if err != nil {
		return reply, -1, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	resp, err := c.cfg.Client.Do(req)
	if err != nil {
		return reply, 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return reply, 0, fmt.Errorf("reading the reply: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		pause, err := refusal(resp, raw)
		return reply, pause, err
	}
	return parseCompletion(raw)
}

// refusal tells what to do about a status.
func refusal(resp *http.Response, raw []byte) (time.Duration, error) {
	body := string(raw[:min(len(raw), 200)])
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		seconds, _ := strconv.ParseFloat(resp.Header.Get("Retry-After"), 64) // absent, or a date: our own pause
		return min(time.Duration(seconds*float64(time.Second)), 5*mostPause), fmt.Errorf("%s: %s", resp.Status, body)
	case code == http.StatusBadRequest || code == http.StatusRequestEntityTooLarge || code == http.StatusUnprocessableEntity:
		return -1, &RefusedError{resp.Status, body}
	default:
		return -1, fmt.Errorf("the language model's API answered %s: %s: check --llm, --model and LARK_LLM_KEY", resp.Status, body)
	}
}

func parseCompletion(raw []byte) (Reply, time.Duration, error) {
	var c struct {
		Choices []struct {
			Message Message `json:"message"`
		} `json:"choices"`
		Usage struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(raw, &c); err != nil || len(c.Choices) == 0 {
		return Reply{}, 0, fmt.Errorf("the API sent no chat completion: %.200s", raw)
	}
	return Reply{c.Choices[0].Message.Content, max(0, c.Usage.Prompt), max(0, c.Usage.Completion)}, 0, nil
}
