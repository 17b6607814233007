package judge

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]int{"A": 1, " b.\n": -1, "**A**": 1, "Tie": 0, "(B)": -1} {
		got, ok := Read(reply)
		require.True(t, ok, reply)
		require.Equal(t, want, got, reply)
	}
	for _, reply := range []string{"", "A or B", "Both", "A is better", "C", "abba"} {
		_, ok := Read(reply)
		require.False(t, ok, reply)
	}
}

func TestPrefer(t *testing.T) {
	t.Parallel()
	var got struct {
		Model    string
		Messages []message
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer key" || json.NewDecoder(r.Body).Decode(&got) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Write([]byte(`{"choices":[{"message":{"role":"assistant","content":"B"}}]}`))
	}))
	defer server.Close()
	j, err := New(Config{URL: server.URL + "/v1/", Model: "m", Key: "key"})
	require.NoError(t, err)
	preferred, ok, err := j.Prefer(t.Context(), "the truth", "one", "two")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, -1, preferred)
	require.Equal(t, "m", got.Model)
	require.Contains(t, got.Messages[1].Content, "A:\none\n\nB:\ntwo")

	j, err = New(Config{URL: server.URL + "/v1", Model: "m"})
	require.NoError(t, err)
	_, _, err = j.Prefer(t.Context(), "r", "a", "b")
	require.ErrorContains(t, err, "HTTP 400")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {URL: "localhost:8000", Model: "m"}, {URL: "http://h/v1"}, {URL: "ftp://h", Model: "m"}} {
		_, err := New(c)
		require.Error(t, err)
	}
}
