package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/larkstream/larkstream/shared/config"
)

// Security says how a client proves who it is and knows who the broker is. The zero value is plain text without a login. It stands inline in
// the configuration of every service, and SecurityFromEnv reads it for commands.
type Security struct {
	// TLS encrypts the connections. The broker's certificate must be valid for the host that is dialled.
	TLS bool `yaml:"kafka_tls" env:"KAFKA_TLS" flag:"kafka-tls" help:"speak TLS with the brokers"`
	// CAFile holds the certificates that sign the brokers' certificates, in PEM; empty takes the system's.
	CAFile string `yaml:"kafka_tls_ca" env:"KAFKA_TLS_CA" flag:"kafka-tls-ca" help:"file with the certificates that sign the brokers' certificates (PEM); empty: the system's"`
	// CertFile and KeyFile are the client's own certificate and key, in PEM, for brokers that ask for one. They are read again for each
	// connection, so that they may be renewed.
	CertFile string `yaml:"kafka_tls_cert" env:"KAFKA_TLS_CERT" flag:"kafka-tls-cert" help:"file with the client's certificate (PEM), for brokers that ask for one"`
	KeyFile  string `yaml:"kafka_tls_key" env:"KAFKA_TLS_KEY" flag:"kafka-tls-key" help:"file with the key of kafka-tls-cert (PEM)"`
	// Mechanism is how the client logs in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; empty for no login.
	Mechanism string `yaml:"kafka_sasl_mechanism" env:"KAFKA_SASL_MECHANISM" flag:"kafka-sasl-mechanism" help:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; empty: no login"`
	// Username of the login; the client's id where tokens come from TokenURL.
	Username string `yaml:"kafka_username" env:"KAFKA_USERNAME" flag:"kafka-username" help:"user of the login, or the client's id for kafka-token-url"`
	// Password of the login, or the client's secret for TokenURL. PasswordFile holds it instead and is read for each login.
	Password     config.Secret `yaml:"kafka_password" env:"KAFKA_PASSWORD" flag:"-"`
	PasswordFile string        `yaml:"kafka_password_file" env:"KAFKA_PASSWORD_FILE" instead:"kafka_password" flag:"kafka-password-file" help:"file with the password, or with the client's secret for kafka-token-url; KAFKA_PASSWORD holds it directly"`
	// TokenFile holds the token of OAUTHBEARER and is read for each login; TokenURL gives tokens by OAuth 2 client credentials.
	TokenFile  string `yaml:"kafka_token_file" env:"KAFKA_TOKEN_FILE" instead:"kafka_token_url" flag:"kafka-token-file" help:"OAUTHBEARER: file with the token, read for each login"`
	TokenURL   string `yaml:"kafka_token_url" env:"KAFKA_TOKEN_URL" flag:"kafka-token-url" help:"OAUTHBEARER: https address that gives tokens for client credentials (OAuth 2)"`
	TokenScope string `yaml:"kafka_token_scope" env:"KAFKA_TOKEN_SCOPE" flag:"kafka-token-scope" help:"OAUTHBEARER: scope to ask kafka-token-url for"`
}

// SecurityFromEnv reads the settings from the environment alone, under the names that the services read. The error joins all faults.
func SecurityFromEnv(lookup func(string) (string, bool)) (Security, error) {
	var s Security
	err := config.Load(&s, config.Options{Name: "kafka", LookupEnv: lookup})
	return s, err
}

// String describes the settings without secrets: "TLS, SCRAM-SHA-512 as lark".
func (s Security) String() string {
	parts := []string{"plain text"}
	if s.TLS {
		parts[0] = "TLS"
	}
	if s.CertFile != "" {
		parts = append(parts, "certificate "+s.CertFile)
	}
	switch {
	case s.Mechanism == "":
		parts = append(parts, "no login")
	case s.Username != "":
		parts = append(parts, s.Mechanism+" as "+s.Username)
	default:
		parts = append(parts, s.Mechanism)
	}
	return strings.Join(parts, ", ")
}

// Validate reports every setting that is there by half or contradicts another, joined. It reads no file: a client's first connection does.
func (s Security) Validate() error {
	var faults []error
	for name, set := range map[string]bool{"KAFKA_TLS_CA": s.CAFile != "", "KAFKA_TLS_CERT": s.CertFile != "", "KAFKA_TLS_KEY": s.KeyFile != ""} {
		if set && !s.TLS {
			faults = append(faults, fmt.Errorf("%s is set, but KAFKA_TLS is not: set KAFKA_TLS=true, or unset it", name))
		}
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		faults = append(faults, errors.New("KAFKA_TLS_CERT and KAFKA_TLS_KEY belong together: set both, or neither"))
	}
	return errors.Join(append(faults, s.validateLogin()...)...)
}

// TLSConfig is the configuration of a TLS client, nil without TLS. Its server name is left to the dialler.
func (s Security) TLSConfig() (*tls.Config, error) {
	if !s.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		raw, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading KAFKA_TLS_CA: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("reading KAFKA_TLS_CA: %s holds no certificate in PEM", s.CAFile)
		}
	}
	if s.CertFile == "" {
		return c, nil
	}
	load := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading KAFKA_TLS_CERT and KAFKA_TLS_KEY: %w", err)
		}
		return &cert, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return c, nil
}

// Remedy tells what to change where an error of a connection comes from these settings; "" where nothing is known.
func (s Security) Remedy(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "the broker refuses the login: check KAFKA_USERNAME and the password or token, and that the broker knows the user for " + s.Mechanism
	case errors.Is(err, errTokenRefused):
		return "check that the token of KAFKA_TOKEN_FILE or KAFKA_TOKEN_URL is made for this broker and has not run out, and that the clocks agree"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the broker does not offer " + s.Mechanism + ": set KAFKA_SASL_MECHANISM to one that it offers"
	case errors.As(err, &authority):
		return "the broker's certificate is signed by nobody known here: name the signer's certificate in KAFKA_TLS_CA"
	case errors.As(err, &host):
		return "dial the brokers by a name that their certificates are made for"
	case strings.Contains(err.Error(), "first record does not look like a TLS handshake"):
		return "the broker does not speak TLS on this port: unset KAFKA_TLS or name its TLS port in KAFKA_BROKERS"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "the broker closes the connection: check that KAFKA_TLS fits the port, and KAFKA_USERNAME with its secret"
	}
	return ""
}
