package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Names of the SASL mechanisms.
const (
	mechanismPlain       = "PLAIN"
	mechanismScram256    = "SCRAM-SHA-256"
	mechanismScram512    = "SCRAM-SHA-512"
	mechanismOAuthBearer = "OAUTHBEARER"
)

const (
	// maxSecretBytes bounds a password, a token, and the answer that a token comes in.
	maxSecretBytes = 64 << 10
	tokenTimeout   = 10 * time.Second
	// tokenSpare is the life that a token must have left to be used again.
	tokenSpare = 30 * time.Second
)

// Mechanism logs a client in. Clients of other make than this package's can be given one, too.
type Mechanism = sasl.Mechanism

func (s Security) validateLogin() (faults []error) {
	fault := func(wrong bool, text string) {
		if wrong {
			faults = append(faults, errors.New(text))
		}
	}
	secret := s.Password != "" || s.PasswordFile != ""
	token := s.TokenFile != "" || s.TokenURL != ""
	known := []string{mechanismPlain, mechanismScram256, mechanismScram512, mechanismOAuthBearer}
	fault(s.Password != "" && s.PasswordFile != "", "KAFKA_PASSWORD and KAFKA_PASSWORD_FILE are both set: set one")
	switch {
	case s.Mechanism == "":
		fault(s.Username != "" || secret || token,
			"a user, password or token is set for Kafka, but KAFKA_SASL_MECHANISM is not: set it to one of "+strings.Join(known, ", "))
		return faults
	case !slices.Contains(known, s.Mechanism):
		return append(faults, fmt.Errorf("KAFKA_SASL_MECHANISM: %q is none of %s", s.Mechanism, strings.Join(known, ", ")))
	case s.Mechanism == mechanismOAuthBearer:
		fault((s.TokenFile == "") == (s.TokenURL == ""), "OAUTHBEARER needs one of KAFKA_TOKEN_FILE and KAFKA_TOKEN_URL")
		fault(s.TokenURL != "" && (s.Username == "" || !secret), "KAFKA_TOKEN_URL needs the client's id in KAFKA_USERNAME and its secret in KAFKA_PASSWORD or KAFKA_PASSWORD_FILE")
		fault(s.TokenFile != "" && (s.Username != "" || secret), "KAFKA_TOKEN_FILE needs no user and no password: unset KAFKA_USERNAME and the password")
		fault(s.TokenScope != "" && s.TokenURL == "", "KAFKA_TOKEN_SCOPE is for KAFKA_TOKEN_URL, which is not set")
		fault(s.TokenURL != "" && !private(s.TokenURL), "KAFKA_TOKEN_URL must begin with https://: the client's secret is sent there")
	default:
		fault(s.Username == "" || !secret, s.Mechanism+" needs KAFKA_USERNAME, and KAFKA_PASSWORD or KAFKA_PASSWORD_FILE")
		fault(token || s.TokenScope != "", "KAFKA_TOKEN_FILE, KAFKA_TOKEN_URL and KAFKA_TOKEN_SCOPE are for OAUTHBEARER alone")
	}
	fault(!s.TLS && (s.Mechanism == mechanismPlain || s.Mechanism == mechanismOAuthBearer),
		s.Mechanism+" sends its secret as it is: set KAFKA_TLS=true, or use SCRAM-SHA-512")
	return faults
}

// private tells whether what is sent to the address cannot be read on the way.
func private(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && ip != nil && ip.IsLoopback()
}

// Login is the mechanism of these settings, nil for none. Files are read, and tokens asked for, at each login.
func (s Security) Login() Mechanism {
	switch s.Mechanism {
	case mechanismPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := s.password()
			return plain.Auth{User: s.Username, Pass: password}, err
		})
	case mechanismScram256:
		return scram.Sha256(s.scram)
	case mechanismScram512:
		return scram.Sha512(s.scram)
	case mechanismOAuthBearer:
		source := &tokens{settings: s}
		return bearer{oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := source.token(ctx)
			return oauth.Auth{Token: token}, err
		})}
	}
	return nil
}

// errTokenRefused says that the broker does not take the token.
var errTokenRefused = errors.New("the broker refuses the token")

// bearer is the library's mechanism with an error that names the cause: a broker answers a token that it refuses with JSON (RFC 7628, section 3.2.2),
// which the library calls unexpected data.
type bearer struct{ sasl.Mechanism }

// Authenticate begins a login.
func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := b.Mechanism.Authenticate(ctx, host)
	return bearerSession{session}, first, err
}

type bearerSession struct{ sasl.Session }

// Challenge takes the broker's answer, which is empty where it takes the token.
func (s bearerSession) Challenge(answer []byte) (done bool, response []byte, err error) {
	if len(answer) == 0 {
		return s.Session.Challenge(answer)
	}
	var refusal struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(answer, &refusal) != nil || refusal.Status == "" {
		return false, nil, errTokenRefused
	}
	return false, nil, fmt.Errorf("%w: %.40q", errTokenRefused, refusal.Status)
}

func (s Security) scram(context.Context) (scram.Auth, error) {
	password, err := s.password()
	return scram.Auth{User: s.Username, Pass: password}, err
}

func (s Security) password() (string, error) {
	if s.PasswordFile == "" {
		return s.Password.Reveal(), nil
	}
	return secretFile("KAFKA_PASSWORD_FILE", s.PasswordFile)
}

// secretFile reads a secret, without the line's end that editors leave behind it.
func secretFile(name, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	secret := strings.TrimRight(string(raw), "\r\n")
	switch {
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", name, err)
	case len(raw) > maxSecretBytes:
		return "", fmt.Errorf("reading %s: %s is over %d bytes", name, path, maxSecretBytes)
	case secret == "":
		return "", fmt.Errorf("reading %s: %s is empty", name, path)
	}
	return secret, nil
}

// tokens gives the tokens of OAUTHBEARER, and keeps one of a server for as long as it lives.
type tokens struct {
	settings Security

	mu      sync.Mutex
	current string
	until   time.Time
}

func (t *tokens) token(ctx context.Context) (string, error) {
	if t.settings.TokenFile != "" {
		return secretFile("KAFKA_TOKEN_FILE", t.settings.TokenFile)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != "" && time.Until(t.until) > tokenSpare {
		return t.current, nil
	}
	token, life, err := t.ask(ctx)
	if err != nil {
		return "", fmt.Errorf("asking %s for a token: %w", t.settings.TokenURL, err)
	}
	t.current, t.until = token, time.Now().Add(life)
	return token, nil
}

// ask makes the request of RFC 6749, section 4.4, with the client's id and secret in the header.
func (t *tokens) ask(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := t.settings.password()
	if err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.settings.TokenScope != "" {
		form.Set("scope", t.settings.TokenScope)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.settings.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(t.settings.Username), url.QueryEscape(secret))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("the server answers %s: check KAFKA_USERNAME, its secret and KAFKA_TOKEN_SCOPE", resp.Status)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSecretBytes)).Decode(&answer); err != nil {
		return "", 0, errors.New("the answer is not the JSON that OAuth 2 asks for") // the cause may quote the token
	}
	if answer.AccessToken == "" {
		return "", 0, errors.New("the answer has no access_token")
	}
	return answer.AccessToken, time.Duration(min(max(answer.ExpiresIn, 0), 86400)) * time.Second, nil
}
