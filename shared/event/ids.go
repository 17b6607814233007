package event

import (
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// idSpace is the UUID namespace of all derived ids.
var idSpace = uuid.MustParse("6f6b3a52-7f0e-5d0c-9a53-1a7c5f1e4c11")

// NewJobID returns a new random job id.
func NewJobID() string { return uuid.Must(uuid.NewV7()).String() }

// DerivedJobID returns the job id that a producer without a job store gives to the same content
// every time, so that feeding a file twice creates each job once.
func DerivedJobID(parts ...string) string { return deriveID(append([]string{"job"}, parts...)...) }

// OutcomeID identifies the one terminal result of a question on a window. Writing the same outcome
// twice therefore changes nothing.
func OutcomeID(jobID string, question, window uint32) string {
	return deriveID("outcome", jobID, itoa(question), itoa(window))
}

// deriveID is a version-5 UUID of the parts, joined so that no two different lists collide.
func deriveID(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s", len(p), p)
	}
	return uuid.NewSHA1(idSpace, []byte(b.String())).String()
}

func eventID(m *eventpb.Event) string {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return uuid.NewString()
	}
	return uuid.NewSHA1(idSpace, raw).String()
}

func itoa(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

// HexSum returns the hash in lower-case hex, as it stands in keys and records.
func HexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// AudioKey is the blob key of a submitted file, by the hex SHA-256 of its bytes.
func AudioKey(sha256Hex string) string { return "audio/" + sha256Hex }

// PCMKey is the blob key of a window's PCM.
func PCMKey(windowHash string) string { return "pcm/v1/" + windowHash }
