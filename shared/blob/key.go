package blob

import (
	"fmt"
	"strings"
)

const (
	maxKey = 512
	// A part of a key becomes a file name, and a temporary name beside it is 21 bytes longer.
	maxKeyPart = 200
	tempSuffix = ".tmp"
)

// CheckKey returns ErrBadKey unless key is made of the characters a-z 0-9 . _ @ + - in parts joined by
// single slashes, no part beginning with a dot or longer than 200 bytes, 512 bytes in all, and not one of the
// names that stores use themselves.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes long", ErrBadKey, len(key))
	}
	for i := range len(key) {
		if !keyByte(key[i]) {
			return fmt.Errorf("%w: %q", ErrBadKey, key)
		}
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' || len(part) > maxKeyPart {
			return fmt.Errorf("%w: %q", ErrBadKey, key)
		}
	}
	if strings.HasSuffix(key, tempSuffix) || strings.HasSuffix(key, ".attrs") {
		return fmt.Errorf("%w: %q has a reserved ending", ErrBadKey, key)
	}
	return nil
}

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("./_@+-", c) >= 0
}
