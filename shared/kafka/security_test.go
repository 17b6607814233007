package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// certificate makes a self-signed certificate for 127.0.0.1 and returns it with the files that hold certificate and key.
func certificate(t *testing.T) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	cert, err = tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	return cert, certFile, keyFile
}

func secureBroker(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	cluster, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}

// roundTrip provisions, writes and reads as the services do: with the clients for administration, for writing and for reading.
func roundTrip(t *testing.T, cfg kafka.Config) {
	t.Helper()
	require.NoError(t, kafka.Ping(t.Context(), cfg))
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 2, Retention: time.Hour}}))
	require.NoError(t, newProducer(t, cfg).Publish(t.Context(), records(5)...))
	ctx, cancel := context.WithCancel(t.Context())
	var got collector
	caughtUp, wait := kafka.Tail(ctx, cfg, topic, kafka.Earliest, got.take)
	<-caughtUp
	cancel()
	require.NoError(t, wait())
	require.Len(t, got.values(), 5)
}

func TestEveryClientLogsInOverTLS(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			cert, ca, _ := certificate(t)
			addr := secureBroker(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}),
				kfake.EnableSASL(), kfake.Superuser(mechanism, "lark", "hush-hush"))
			password := filepath.Join(t.TempDir(), "password")
			require.NoError(t, os.WriteFile(password, []byte("hush-hush\n"), 0o600))
			good := kafka.Security{TLS: true, CAFile: ca, Mechanism: mechanism, Username: "lark", PasswordFile: password}
			roundTrip(t, kafka.Config{Brokers: []string{addr}, Security: good})

			for text, bad := range map[string]kafka.Security{
				"KAFKA_USERNAME": {TLS: true, CAFile: ca, Mechanism: mechanism, Username: "lark", Password: "hush-HUSH"},
				"KAFKA_TLS_CA":   {TLS: true, Mechanism: mechanism, Username: "lark", PasswordFile: password},
			} {
				err := kafka.Ping(t.Context(), kafka.Config{Brokers: []string{addr}, Security: bad})
				require.ErrorContains(t, err, text, "the remedy")
				require.NotContains(t, err.Error(), "hush-", "no password in errors")
			}
		})
	}
}

func TestScramWithoutTLS(t *testing.T) {
	t.Parallel()
	addr := secureBroker(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "lark", "secret"))
	roundTrip(t, kafka.Config{Brokers: []string{addr}, Security: kafka.Security{Mechanism: "SCRAM-SHA-512", Username: "lark", Password: "secret"}})
}

// TestClientCertificate: the broker asks for a certificate, and gets the renewed one once the file is renewed.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	cert, certFile, keyFile := certificate(t)
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	pool.AddCert(leaf)
	addr := secureBroker(t, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}))
	own := kafka.Security{TLS: true, CAFile: certFile, CertFile: certFile, KeyFile: keyFile}
	roundTrip(t, kafka.Config{Brokers: []string{addr}, Security: own})
	require.Error(t, kafka.Ping(t.Context(), kafka.Config{Brokers: []string{addr}, Security: kafka.Security{TLS: true, CAFile: certFile}}))
}

func TestHalfConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		security kafka.Security
		want     string
	}{
		"ca without TLS":            {kafka.Security{CAFile: "ca.pem"}, "KAFKA_TLS=true"},
		"certificate without key":   {kafka.Security{TLS: true, CertFile: "c.pem"}, "set both, or neither"},
		"user without mechanism":    {kafka.Security{Username: "u"}, "KAFKA_SASL_MECHANISM"},
		"unknown mechanism":         {kafka.Security{Mechanism: "GSSAPI"}, `"GSSAPI" is none of PLAIN`},
		"no password":               {kafka.Security{Mechanism: "SCRAM-SHA-256", Username: "u"}, "KAFKA_PASSWORD"},
		"two passwords":             {kafka.Security{Mechanism: "SCRAM-SHA-256", Username: "u", Password: "p", PasswordFile: "f"}, "set one"},
		"a password in the open":    {kafka.Security{Mechanism: "PLAIN", Username: "u", Password: "p"}, "KAFKA_TLS=true"},
		"a token in the open":       {kafka.Security{Mechanism: "OAUTHBEARER", TokenFile: "t"}, "KAFKA_TLS=true"},
		"no token":                  {kafka.Security{TLS: true, Mechanism: "OAUTHBEARER"}, "KAFKA_TOKEN_FILE and KAFKA_TOKEN_URL"},
		"a token for a password":    {kafka.Security{Mechanism: "SCRAM-SHA-256", Username: "u", Password: "p", TokenFile: "t"}, "OAUTHBEARER alone"},
		"a client without secret":   {kafka.Security{TLS: true, Mechanism: "OAUTHBEARER", TokenURL: "https://x/", Username: "u"}, "client's id"},
		"a secret sent in the open": {kafka.Security{TLS: true, Mechanism: "OAUTHBEARER", TokenURL: "http://login.example/", Username: "u", Password: "p"}, "https://"},
	} {
		require.ErrorContains(t, c.security.Validate(), c.want, name)
		require.ErrorContains(t, kafka.Ping(t.Context(), kafka.Config{Brokers: []string{"127.0.0.1:1"}, Security: c.security}), c.want, name)
	}
	require.ErrorContains(t, kafka.Ping(t.Context(), kafka.Config{
		Brokers: []string{"127.0.0.1:1"}, Security: kafka.Security{TLS: true, CAFile: filepath.Join(t.TempDir(), "none.pem")},
	}), "KAFKA_TLS_CA")
}

func TestSecurityFromTheEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"KAFKA_TLS": "true", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_USERNAME": "lark", "KAFKA_PASSWORD": "very secret"}
	lookup := func(key string) (string, bool) { v, ok := env[key]; return v, ok }
	s, err := kafka.SecurityFromEnv(lookup)
	require.NoError(t, err)
	require.Equal(t, kafka.Security{TLS: true, Mechanism: "SCRAM-SHA-512", Username: "lark", Password: config.Secret("very secret")}, s)
	require.Equal(t, "TLS, SCRAM-SHA-512 as lark", s.String())
	text, err := json.Marshal(s)
	require.NoError(t, err)
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v", s, s, s), string(text), slog.AnyValue(s).String()} {
		require.NotContains(t, printed, "very secret")
	}
	env["KAFKA_TLS"] = "perhaps"
	_, err = kafka.SecurityFromEnv(lookup)
	require.ErrorContains(t, err, "KAFKA_TLS")
	delete(env, "KAFKA_TLS")
	delete(env, "KAFKA_SASL_MECHANISM")
	_, err = kafka.SecurityFromEnv(lookup)
	require.ErrorContains(t, err, "KAFKA_SASL_MECHANISM")
}

// firstBearer is the first message of an OAUTHBEARER login, see RFC 7628.
func firstBearer(token string) string { return "n,,\x01auth=Bearer " + token + "\x01\x01" }

func firstMessage(t *testing.T, s kafka.Security) (string, error) {
	t.Helper()
	require.NoError(t, s.Validate())
	_, first, err := s.Login().Authenticate(t.Context(), "broker:9093")
	return string(first), err
}

// TestTokenOfAFile: a file that is renewed, as Kubernetes renews the token of a service account, is read again.
func TestTokenOfAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	s := kafka.Security{TLS: true, Mechanism: "OAUTHBEARER", TokenFile: file}
	_, err := firstMessage(t, s)
	require.ErrorContains(t, err, "KAFKA_TOKEN_FILE")
	for _, token := range []string{"one", "two"} {
		require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
		first, err := firstMessage(t, s)
		require.NoError(t, err)
		require.Equal(t, firstBearer(token), first)
	}
	require.NoError(t, os.WriteFile(file, make([]byte, 1<<20), 0o600))
	_, err = firstMessage(t, s)
	require.ErrorContains(t, err, "over")
}

// TestARefusedTokenIsNamed: brokers answer a token that they refuse with JSON, and one that they take with nothing.
func TestARefusedTokenIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	s := kafka.Security{TLS: true, Mechanism: "OAUTHBEARER", TokenFile: file}
	challenge := func(answer string) (bool, error) {
		session, _, err := s.Login().Authenticate(t.Context(), "broker:9093")
		require.NoError(t, err)
		done, _, err := session.Challenge([]byte(answer))
		return done, err
	}
	done, err := challenge("")
	require.NoError(t, err)
	require.True(t, done)
	for answer, want := range map[string]string{
		`{"status":"invalid_token"}`: `the broker refuses the token: "invalid_token"`, "no": "the broker refuses the token", "{}": "the broker refuses the token",
	} {
		_, err := challenge(answer)
		require.EqualError(t, err, want)
		require.Contains(t, s.Remedy(fmt.Errorf("reaching Kafka: %w", err)), "has not run out")
	}
	_, err = challenge(`{"status":"` + strings.Repeat("x", 1000) + `"}`)
	require.Less(t, len(err.Error()), 100)
}

// TestTokenOfAServer: tokens are asked for with the client's id and secret, and used again while they live.
func TestTokenOfAServer(t *testing.T) {
	t.Parallel()
	life, asked, answer := 3600, 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("lark:se%3Acret")) || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if answer != "" {
			_, _ = w.Write([]byte(answer))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprint("token-", asked), "expires_in": life})
	}))
	t.Cleanup(server.Close)
	s := kafka.Security{TLS: true, Mechanism: "OAUTHBEARER", TokenURL: server.URL, TokenScope: "kafka", Username: "lark", Password: "se:cret"}
	login := s.Login()
	first := func() string {
		_, first, err := login.Authenticate(t.Context(), "")
		require.NoError(t, err)
		return string(first)
	}
	require.Equal(t, firstBearer("token-1"), first())
	require.Equal(t, firstBearer("token-1"), first(), "used again")
	life = 1
	login = s.Login()
	require.Equal(t, firstBearer("token-2"), first())
	require.Equal(t, firstBearer("token-3"), first(), "the last one is about to end")

	s.Password = "wrong"
	_, err := firstMessage(t, s)
	require.ErrorContains(t, err, "401")
	s.Password = "se:cret"
	for _, answer = range []string{`{"access_token":7,"note":"hush"}`, `{}`, `<html>hush`} {
		_, err := firstMessage(t, s)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hush", "an answer may hold a secret")
	}
}
