package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

			lark := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), filepath.Join(world.bin, "lark"), args...)
				cmd.Env = append(s.environ(), env...)
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			require.Contains(t, lark("topic", "dump", "lark.answers.v1", "--key", job.ID), job.ID)
			require.Contains(t, lark("doctor", "--data", t.TempDir()), "TLS, "+mechanism+" as "+kafkaUser)
		})
	}
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
