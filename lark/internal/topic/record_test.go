package topic

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/alloctest"
)

func TestParseRecordRefusesSlips(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"topic":"t","key":"k","headers":[]}`:                          "raw is missing",
		`{"key":"k","headers":[],"raw":null}`:                           "topic is missing",
		`{"topic":"t","key":"k","header":[],"raw":null}`:                "unknown field",
		`{"topic":"t","key":"k","raw":"%%%"}`:                           "reading raw",
		`{"topic":"t","key":{"base65":"eA=="},"raw":null}`:              "unknown field",
		`{"topic":"t","key":{},"raw":null}`:                             "base64 is missing",
		`{"topic":"t","key":7,"raw":null}`:                              "reading record",
		`{"topic":"t","raw":null} {}`:                                   "more than one",
		"{\"topic\":\"\xff\",\"raw\":null}":                             "not UTF-8",
		`{"topic":"t","headers":[{"key":"a","value":1}],"raw":null}`:    "reading record",
		`{"topic":"t","headers":[{"k":"a","value":""}],"raw":"eA=="}`:   "unknown field",
		`{"topic":"t","offset":"first","headers":[],"raw":"eA=="}`:      "reading record",
		`{"topic":"t","time":"now","headers":[],"raw":"eA==","key":""}`: "reading record",
	} {
		_, err := ParseRecord([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
}

// What can be read can be written, and means the same again.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"topic":"lark.jobs.v1","partition":1,"offset":2,"time":"2026-11-28T11:00:00Z","key":{"base64":"/w=="},"headers":[{"key":"h","value":"v"}],"type":"x","payload":{"a":1},"raw":"eA=="}`))
	f.Add([]byte(`{"topic":"t","key":null,"headers":[],"decode_error":"no","raw":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var rec Record
		var err error
		alloctest.Bound(t, len(line), 64<<10, 200, func() { rec, err = ParseRecord(line) })
		if err != nil {
			return
		}
		text, err := json.Marshal(rec)
		if err != nil { // a time beyond the year 9999 in another zone
			return
		}
		again, err := ParseRecord(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, rec.message("t"), again.message("t"))
	})
}
