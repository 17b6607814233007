package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

// Prefixes of secrets and public keys in text.
const (
	secretPrefix = "whsec_"
	publicPrefix = "whpk_"
)

// Sizes of an HMAC key in bytes, by the specification; ours have newSecretBytes.
const (
	minSecretBytes = 24
	maxSecretBytes = 64
	newSecretBytes = 32
)

// ErrSecret says that a text is no secret.
var ErrSecret = errors.New("a secret is whsec_ and the base64 of 24 to 64 bytes")

// NewSigning makes secrets. secret is what the receiver wants to use; empty makes one.
func NewSigning(secret string) (store.Signing, error) {
	if secret == "" {
		key := make([]byte, newSecretBytes)
		_, _ = rand.Read(key) // never fails
		secret = secretPrefix + base64.StdEncoding.EncodeToString(key)
	}
	if _, err := secretKey(secret); err != nil {
		return store.Signing{}, err
	}
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed)
	return store.Signing{Secret: secret, Private: base64.StdEncoding.EncodeToString(seed)}, nil
}

func secretKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, ErrSecret
	}
	return key, nil
}

func privateKey(s store.Signing) (ed25519.PrivateKey, error) {
	seed, err := base64.StdEncoding.DecodeString(s.Private)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("the private key of a webhook is damaged; rotate its secret")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// PublicKey is the key that checks v1a signatures, in text.
func PublicKey(s store.Signing) (string, error) {
	key, err := privateKey(s)
	if err != nil {
		return "", err
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)), nil
}

// signatures are those of a message with every secret that works at a time, as the header has them: v1 is HMAC-SHA256, v1a is ed25519, both of
// "id.timestamp.body".
func signatures(signing []store.Signing, id string, at time.Time, body string) (string, error) {
	signed := []byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "." + body)
	var out []string
	for _, s := range signing {
		if !s.Works(at) {
			continue
		}
		secret, err := secretKey(s.Secret)
		if err != nil {
			return "", fmt.Errorf("signing: %w", err)
		}
		private, err := privateKey(s)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(signed)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(private, signed)))
	}
	return strings.Join(out, " "), nil
}
