package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// The user of the secure listener of Kafka.
const (
	kafkaUser     = "lark"
	kafkaPassword = "only-for-tests"
)

// TestKafkaOverTLS runs an installation whose every client speaks TLS to Apache Kafka and logs in, and reads a topic with the other client.
func TestKafkaOverTLS(t *testing.T) {
	if world.kafka == nil {
		t.Skip("needs Apache Kafka: LARK_E2E_KAFKA=real")
	}
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(kafkaPassword+"\n"), 0o600))
	for _, mechanism := range []string{"SCRAM-SHA-512", "PLAIN"} {
		t.Run(mechanism, func(t *testing.T) {
			env := []string{
				"KAFKA_BROKERS=" + world.kafka.secure, "KAFKA_TLS=true", "KAFKA_TLS_CA=" + world.kafka.ca,
				"KAFKA_SASL_MECHANISM=" + mechanism, "KAFKA_USERNAME=" + kafkaUser, "KAFKA_PASSWORD_FILE=" + password,
			}
			s := start(t, options{data: t.TempDir(), env: append(testEngines(), env...)})
			job := s.submit(t, melody(seedOf(t), 1), client.Submission{Questions: []string{"What key is this in?"}})
			job, _ = s.finish(t, job.ID)
			require.Equal(t, client.StateSucceeded, job.State)

			dumped, err := larkWith(t, env, "topic", "dump", "lark.answers.v1", "--key", job.ID)
			require.NoError(t, err, dumped)
			require.Contains(t, dumped, job.ID)
			told, err := larkWith(t, env, "doctor", "--data", t.TempDir())
			require.NoError(t, err, told)
			require.Contains(t, told, "TLS, "+mechanism+" as "+kafkaUser)
		})
	}
}

// larkWith runs a command that needs no gateway, with the settings of env.
func larkWith(t *testing.T, env []string, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(world.bin, "lark"), args...)
	cmd.Env = append((&stack{}).environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestKafkaWithTokens runs an installation whose clients log in with tokens (OAUTHBEARER) that live for seconds. Apache Kafka ends a connection whose
// token has run out, so a job after that needs clients that log in again.
func TestKafkaWithTokens(t *testing.T) {
	if world.kafka == nil {
		t.Skip("needs Apache Kafka: LARK_E2E_KAFKA=real")
	}
	const life = 12 * time.Second
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, _ := r.BasicAuth(); id != kafkaUser || secret != kafkaPassword {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token(time.Now(), life), "expires_in": int(life.Seconds())})
	}))
	t.Cleanup(server.Close)
	secure := []string{"KAFKA_BROKERS=" + world.kafka.secure, "KAFKA_TLS=true", "KAFKA_TLS_CA=" + world.kafka.ca, "KAFKA_SASL_MECHANISM=OAUTHBEARER"}
	env := append([]string{"KAFKA_TOKEN_URL=" + server.URL, "KAFKA_USERNAME=" + kafkaUser, "KAFKA_PASSWORD=" + kafkaPassword}, secure...)
	s := start(t, options{data: t.TempDir(), env: append(testEngines(), env...)})
	s.requireWorks(t)
	before, ends := asked.Load(), time.Now().Add(life)
	require.Eventually(t, func() bool { return time.Now().After(ends) && asked.Load() >= before+int64(len(workStages())) }, patience, poll, "the clients do not log in again")
	s.requireWorks(t)

	file := filepath.Join(t.TempDir(), "token")
	env = append([]string{"KAFKA_TOKEN_FILE=" + file}, secure...)
	require.NoError(t, os.WriteFile(file, []byte(token(time.Now(), time.Hour)+"\n"), 0o600))
	told, err := larkWith(t, env, "doctor", "--data", t.TempDir())
	require.NoError(t, err, told)
	require.Contains(t, told, "TLS, OAUTHBEARER")
	require.NoError(t, os.WriteFile(file, []byte(token(time.Now().Add(-time.Hour), time.Minute)), 0o600))
	told, err = larkWith(t, env, "doctor", "--data", t.TempDir())
	require.Error(t, err, told)
	require.Contains(t, told, `the broker refuses the token: "invalid_token"`)
	require.Contains(t, told, "has not run out", "the remedy")
}

// token is a token without a signature (RFC 7515, appendix A.5), which the listener of the suite takes.
func token(issued time.Time, life time.Duration) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, kafkaUser, issued.Unix(), issued.Add(life).Unix())) + "."
}

// writeCertificate makes a certificate for 127.0.0.1 that signs itself: ca holds the certificate, store the key and the certificate.
func writeCertificate(ca, store string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafka"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	if err := os.WriteFile(store, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), cert...), 0o600); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}
