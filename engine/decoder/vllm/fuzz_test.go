package vllm

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/vllm/vllmtest"
	"github.com/larkstream/larkstream/engine/internal/alloctest"
)

func TestReadEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream string
		want   []string
		err    string
	}{
		"events":           {"data: a\n\ndata:b\n\n", []string{"a", "b"}, ""},
		"carriage returns": {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}, ""},
		"several lines":    {"data: a\ndata: b\n\n", []string{"a\nb"}, ""},
		"comments and ids": {": ping\n\nevent: x\nid: 1\ndata: a\nretry: 5\n\n", []string{"a"}, ""},
		"empty data":       {"data:\n\n", []string{""}, ""},
		"cut off":          {"data: a\n\ndata: b", []string{"a"}, ""},
		"a long line":      {"data: " + strings.Repeat("x", maxLine), nil, "longer than"},
		"a long event":     {strings.Repeat("data: "+strings.Repeat("x", maxLine/4)+"\n", 5), nil, "larger than"},
		"a long stream":    {strings.Repeat(": "+strings.Repeat("x", maxLine/2)+"\n", 2*maxStream/maxLine+1), nil, "longer than"},
	} {
		var got []string
		err := readEvents(strings.NewReader(c.stream), func(data []byte) error { got = append(got, string(data)); return nil })
		require.Equal(t, c.want, got, name)
		if c.err == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.err, name)
		}
	}
	stop := errors.New("stop")
	require.ErrorIs(t, readEvents(strings.NewReader("data: a\n\ndata: b\n\n"), func([]byte) error { return stop }), stop)
}

// FuzzReadCompletion: whatever a server sends, what is read is an error or a whole answer, and no more text than was sent.
func FuzzReadCompletion(f *testing.F) {
	f.Add("data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":\"stop\",\"stop_reason\":null}]}\n\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\ndata: [DONE]\n\n")
	f.Add("data: {\"error\":{\"message\":\"m\",\"code\":400}}\n\ndata: [DONE]\n\n")
	f.Add(": c\r\ndata: {\r\ndata: }\r\n\r\n")
	f.Fuzz(func(t *testing.T, stream string) {
		n := 0
		var c completion
		var err error
		alloctest.Bound(t, len(stream), 256<<10, 200, func() {
			c, err = readCompletion(strings.NewReader(stream), func(text string) { n += len(text) })
		})
		require.LessOrEqual(t, n, 3*len(stream), "an invalid byte becomes a replacement of three")
		if err != nil {
			require.Zero(t, c)
			require.LessOrEqual(t, len(err.Error()), 2*maxMessage*4+300)
			return
		}
		require.Contains(t, []string{contract.FinishStop, contract.FinishLength}, c.finish)
		require.GreaterOrEqual(t, c.tokens, 0)
		require.Contains(t, stream, "[DONE]")
	})
}

func FuzzParseLoad(f *testing.F) {
	f.Add(vllmtest.Metrics(3, 0.25))
	f.Add("vllm:num_requests_waiting 1e300\nvllm:kv_cache_usage_perc 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		var l load
		var err error
		alloctest.Bound(t, len(text), 64<<10, 300, func() { l, err = parseLoad(io.LimitReader(strings.NewReader(text), maxReply)) })
		if err == nil {
			require.GreaterOrEqual(t, l.waiting, 0.0)
			require.GreaterOrEqual(t, l.cache, 0.0)
			require.LessOrEqual(t, l.cache, 1.0)
		}
	})
}
