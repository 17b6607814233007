package config

import (
	"encoding"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a text that never prints: not with any fmt verb, not in logs, not as JSON or YAML. Only
// Reveal gives it out.
type Secret string

var (
	_ fmt.Formatter          = Secret("")
	_ slog.LogValuer         = Secret("")
	_ encoding.TextMarshaler = Secret("")
)

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format prints a placeholder, or nothing for an empty secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.masked()) }

// String prints a placeholder, or nothing for an empty secret.
func (s Secret) String() string { return s.masked() }

// LogValue prints a placeholder, or nothing for an empty secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.masked()) }

// MarshalText gives a placeholder, or nothing for an empty secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.masked()), nil }

func (s Secret) masked() string {
	if s == "" {
		return ""
	}
	return redacted
}
