package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
)

// secretBytes of a new key. So many random bits cannot be guessed, whatever hash they are stored under: a slow hash, made for passwords that people
// choose, would only cost time for every request.
const secretBytes = 32

// keyPattern is lk_<id>_<secret>. The secret has at least 256 bits as hex.
var keyPattern = regexp.MustCompile(`^lk_([a-z0-9]{1,32})_([A-Za-z0-9]{64,128})$`)

// ErrKeyForm refuses what is no key.
var ErrKeyForm = errors.New("is no key, which is lk_<id>_<secret> with an id of 1 to 32 lower-case letters and digits and a secret of 64 to 128 letters and digits; " +
	"make one with: echo lk_admin_$(openssl rand -hex 32)")

// Key is a key as its holder has it.
type Key struct{ ID, Secret string }

// NewKey makes a key at random.
func NewKey() Key {
	id, secret := make([]byte, 6), make([]byte, secretBytes)
	_, _ = rand.Read(id) // never fails
	_, _ = rand.Read(secret)
	return Key{ID: hex.EncodeToString(id), Secret: hex.EncodeToString(secret)}
}

// ParseKey reads a key. It fails with ErrKeyForm.
func ParseKey(text string) (Key, error) {
	m := keyPattern.FindStringSubmatch(text)
	if m == nil {
		return Key{}, ErrKeyForm
	}
	return Key{ID: m[1], Secret: m[2]}, nil
}

// LooksLikeKey tells a key, whole or damaged, from other tokens.
func LooksLikeKey(text string) bool { return strings.HasPrefix(text, "lk_") }

// String is the form in which the key is sent.
func (k Key) String() string { return "lk_" + k.ID + "_" + k.Secret }

// Hash is what is stored of the secret.
func (k Key) Hash() string {
	sum := sha256.Sum256([]byte(k.Secret))
	return hex.EncodeToString(sum[:])
}
