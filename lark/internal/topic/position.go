package topic

import (
	"fmt"
	"strconv"
	"time"
)

// Position is a place in every partition of a topic: its beginning, its end, an offset, or the first record at a time.
// The zero Position is the beginning.
type Position struct {
	kind   positionKind
	offset int64
	at     time.Time
}

type positionKind int

const (
	earliest positionKind = iota
	latest
	atOffset
	atTime
)

// Latest is the end of every partition.
func Latest() Position { return Position{kind: latest} }

// ParsePosition reads earliest, latest, an offset, a time as in RFC 3339, or a duration before now (90m).
func ParsePosition(text string, now time.Time) (Position, error) {
	switch text {
	case "earliest":
		return Position{}, nil
	case "latest":
		return Latest(), nil
	}
	if offset, err := strconv.ParseInt(text, 10, 64); err == nil && offset >= 0 {
		return Position{kind: atOffset, offset: offset}, nil
	}
	// kafka-go counts nanoseconds, which end in the year 2262.
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.Year() >= 1970 && at.Year() < 2262 {
		return Position{kind: atTime, at: at}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return Position{kind: atTime, at: now.Add(-ago)}, nil
	}
	return Position{}, fmt.Errorf("%.40q is no position: give earliest, latest, an offset, a time such as 2026-11-28T15:04:05Z, or how long ago, such as 90m", text)
}
