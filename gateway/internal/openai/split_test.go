package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// keepAll collects audio and puts a text in its place.
func keepAll(heard *[]string) Keep {
	return func(param string, audio io.Reader) (string, error) {
		raw, err := io.ReadAll(audio)
		*heard = append(*heard, param+"="+string(raw))
		return "kept", err
	}
}

func TestSplitTakesTheAudioOut(t *testing.T) {
	t.Parallel()
	const body = `{ "messages" : [ {"content":[{"text":"\"data\":\"x\\"}, {"input_audio":{"data":"%s", "format":null}}]}, {"content":[{"data":"stays"}]} ], "data":"stays" }`
	data := strings.NewReplacer("/", `\/`, "=", `\u003d`).Replace(base64.StdEncoding.EncodeToString([]byte("\xff\xff\xffRIFF")))
	require.Contains(t, data, `\/`)
	require.Contains(t, data, `\u003d`)
	var heard []string
	raw, err := Split(strings.NewReader(strings.Replace(body, "%s", data, 1)), keepAll(&heard))
	require.NoError(t, err)
	require.Equal(t, []string{"messages[0].content[1].input_audio.data=\xff\xff\xffRIFF"}, heard)
	require.JSONEq(t, strings.Replace(body, "%s", "kept", 1), string(raw))

	heard = nil
	line := `{"body":` + strings.Replace(body, "%s", data, 1) + `}`
	_, err = Split(strings.NewReader(line), keepAll(&heard), "body")
	require.NoError(t, err)
	require.Equal(t, []string{"messages[0].content[1].input_audio.data=\xff\xff\xffRIFF"}, heard)
	heard = nil
	_, err = Split(strings.NewReader(line), keepAll(&heard))
	require.NoError(t, err)
	require.Empty(t, heard, "it lies deeper")
}

var errSpool = errors.New("disk")

func TestSplitGivesFaultsBack(t *testing.T) {
	t.Parallel()
	body := `{"messages":[{"content":[{"input_audio":{"data":"UklGRg=="}}]}]}`
	_, err := Split(strings.NewReader(body), func(string, io.Reader) (string, error) { return "", errSpool })
	require.ErrorIs(t, err, errSpool)
	for i := range body {
		_, err := Split(strings.NewReader(body[:i]), keepAll(new([]string)))
		_, ok := client.AsProblem(err)
		require.True(t, ok, "%d: %v", i, err)
	}
}

// FuzzSplit: without audio, Split changes nothing but white space; with audio, it never takes more than there is, and what it returns is bounded.
func FuzzSplit(f *testing.F) {
	for _, body := range []string{
		`{}`, `[1,2,{"a":[true,null,-1e3,"\"\\"]}]`, `{"messages":[{"content":[{"input_audio":{"data":"UklGRg=="}}]}]}`, `"x`, `{"messages":[{"content":[{"input_audio":{"data":"\u0041\/`,
		`{"a":1 "b":2}`, `[1,]`, `01`, `tru`, strings.Repeat("[", 50),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		audio := false
		raw, err := Split(bytes.NewReader(body), func(_ string, r io.Reader) (string, error) {
			audio = true
			n, err := io.Copy(io.Discard, r)
			require.LessOrEqual(t, n, int64(len(body)))
			return "kept", err
		})
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(raw), MaxRequest)
		var before, after any
		valid := json.Unmarshal(body, &before) == nil
		if !audio {
			require.Equal(t, valid, json.Unmarshal(raw, &after) == nil, "%q became %q", body, raw)
			require.Equal(t, before, after)
		}
		if req, err := Parse(raw); err == nil {
			_, _ = req.Ask()
		}
	})
}
