package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func (r *rig) upload(parts ...part) answer {
	r.t.Helper()
	body, contentType := form(r.t, parts...)
	return r.do(http.MethodPost, "/v1/files", body, "Content-Type", contentType)
}

func read[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, "%s", a.body)
	require.NoError(t, json.Unmarshal(a.body, &v))
	return v
}

func TestFilesAreKeptAndDeleted(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	first := read[openai.File](t, r.upload(part{"purpose", "", "batch"}, part{"file", "a.jsonl", "one"}))
	require.Equal(t, "a.jsonl", first.Filename)
	require.EqualValues(t, 3, first.Bytes)
	require.EqualValues(t, 30*24*3600, *first.ExpiresAt-first.CreatedAt)
	second := read[openai.File](t, r.upload(part{"file", "b.jsonl", "second"}, part{"expires_after[anchor]", "", "created_at"}, part{"expires_after[seconds]", "", "3600"}, part{"purpose", "", "batch"}))
	require.EqualValues(t, 3600, *second.ExpiresAt-second.CreatedAt)

	page := read[openai.FileList](t, r.do(http.MethodGet, "/v1/files?limit=1&order=asc&purpose=batch", nil))
	require.True(t, page.HasMore)
	next := read[openai.FileList](t, r.do(http.MethodGet, "/v1/files?order=asc&after="+*page.LastID, nil))
	require.False(t, next.HasMore)
	require.ElementsMatch(t, []openai.File{first, second}, append(page.Data, next.Data...))
	require.Equal(t, first, read[openai.File](t, r.do(http.MethodGet, "/v1/files/"+first.ID, nil)))
	require.Equal(t, "one", string(r.do(http.MethodGet, "/v1/files/"+first.ID+"/content", nil).body))

	created := read[openai.Batch](t, r.do(http.MethodPost, "/v1/batches", strings.NewReader(`{"input_file_id":"`+first.ID+`","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"a":"b"}}`), "Content-Type", "application/json"))
	require.Equal(t, "validating", created.Status)
	require.EqualValues(t, 24*3600, *created.ExpiresAt-created.CreatedAt)
	got := r.do(http.MethodDelete, "/v1/files/"+first.ID, nil)
	require.Equal(t, http.StatusBadRequest, got.status)
	require.Equal(t, "file_in_use", textOf(got.fault(t).Code))
	for range 2 {
		cancelled := read[openai.Batch](t, r.do(http.MethodPost, "/v1/batches/"+created.ID+"/cancel", nil))
		require.Equal(t, "cancelling", cancelled.Status)
		require.NotNil(t, cancelled.CancellingAt)
	}
	require.Len(t, read[openai.BatchList](t, r.do(http.MethodGet, "/v1/batches", nil)).Data, 1)

	require.True(t, read[openai.FileDeleted](t, r.do(http.MethodDelete, "/v1/files/"+second.ID, nil)).Deleted)
	got = r.do(http.MethodGet, "/v1/files/"+second.ID+"/content", nil)
	require.Equal(t, http.StatusNotFound, got.status)
	require.Equal(t, "file_not_found", textOf(got.fault(t).Code))
	there, err := r.blobs.Exists(t.Context(), store.FileKey(second.ID))
	require.NoError(t, err)
	require.False(t, there)
}

func TestUploadsThatAreRefusedLeaveNothing(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	for name, c := range map[string]struct {
		parts       []part
		code, param string
	}{
		"purpose":      {[]part{{"file", "a", "x"}, {"purpose", "", "assistants"}}, "invalid_value", "purpose"},
		"no purpose":   {[]part{{"file", "a", "x"}}, "missing_required_parameter", "purpose"},
		"no file":      {[]part{{"purpose", "", "batch"}}, "missing_required_parameter", "file"},
		"empty":        {[]part{{"purpose", "", "batch"}, {"file", "a", ""}}, "file_empty", "file"},
		"twice":        {[]part{{"purpose", "", "batch"}, {"file", "a", "x"}, {"file", "a", "x"}}, "invalid_request", ""},
		"unknown":      {[]part{{"colour", "", "red"}}, "unknown_parameter", "colour"},
		"expiry":       {[]part{{"expires_after[seconds]", "", "5"}}, "invalid_value", "expires_after[seconds]"},
		"anchor":       {[]part{{"expires_after[anchor]", "", "now"}}, "invalid_value", "expires_after[anchor]"},
		"long purpose": {[]part{{"purpose", "", strings.Repeat("x", 101)}}, "invalid_request", "purpose"},
	} {
		got := r.upload(c.parts...)
		require.Equal(t, http.StatusBadRequest, got.status, "%s: %s", name, got.body)
		fault := got.fault(t)
		require.Equal(t, c.code, textOf(fault.Code), name)
		require.Equal(t, c.param, textOf(fault.Param), name)
	}
	files, err := r.jobs.ExpiredFiles(t.Context(), time.Now().Add(1000*time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, files)
	for body, param := range map[string]string{
		`{"input_file_id":"file-none","endpoint":"/v1/chat/completions","completion_window":"24h"}`: "",
		`{"input_file_id":"file-none","endpoint":"/v1/embeddings","completion_window":"24h"}`:       "endpoint",
		`{"input_file_id":"file-none","endpoint":"/v1/chat/completions","completion_window":"1w"}`:  "completion_window",
	} {
		got := r.do(http.MethodPost, "/v1/batches", strings.NewReader(body), "Content-Type", "application/json")
		require.GreaterOrEqual(t, got.status, 400)
		require.Equal(t, param, textOf(got.fault(t).Param), "%s", got.body)
	}
}

// TestFilesExpire: those of broken uploads too.
func TestFilesExpire(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	past := time.Now().Add(-time.Hour)
	for id, bytes := range map[string]int64{"file-whole": 3, "file-broken": store.FileIncomplete} {
		f := store.File{ID: id, Tenant: event.TenantDefault, Bytes: bytes, Created: past, Expires: past.Add(time.Minute)}
		require.NoError(t, r.jobs.CreateFile(t.Context(), f, 100))
		require.NoError(t, r.blobs.PutBytes(t.Context(), store.FileKey(f.ID), []byte("abc")))
		require.NoError(t, r.api.ExpireFiles(t.Context()))
		_, err := r.jobs.File(t.Context(), f.ID)
		require.ErrorIs(t, err, store.ErrFileNotFound)
		there, err := r.blobs.Exists(t.Context(), store.FileKey(f.ID))
		require.NoError(t, err)
		require.False(t, there)
	}
}

// TestALineOfABatchIsACompletion: it becomes the same job, in the bulk lane, and its answer is the same.
func TestALineOfABatchIsACompletion(t *testing.T) {
	t.Parallel()
	r := setupChat(t)
	until := time.Now().Add(time.Hour)
	tenant, err := r.jobs.Tenant(t.Context(), event.TenantDefault)
	require.NoError(t, err)
	line := func(body string) string {
		return `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":` + body + `}`
	}
	job, err := r.api.BatchJob(t.Context(), tenant, strings.NewReader(line(ask("What key?", `"max_tokens":5`))), until)
	require.NoError(t, err)
	require.Equal(t, event.LaneBulk, job.Lane)
	require.Equal(t, until, job.Deadline)
	require.Equal(t, []string{"What key?"}, job.Questions)
	require.True(t, job.Combine)
	_, err = r.blobs.GetBytes(t.Context(), event.AudioKey(job.Audio.SHA256), 100)
	require.NoError(t, err)

	for _, body := range []string{ask("q", `"stream":true`), ask("q", `"n":2`), ask(" "), `{}`} {
		_, err := r.api.BatchJob(t.Context(), tenant, strings.NewReader(line(body)), until)
		require.Error(t, err, body)
	}
	outcome := spent(answerOf(job.ID, 0, 0), 9, 8, 7).Outcome
	status, body := r.api.BatchAnswer(job, []*eventpb.Outcome{outcome})
	require.Equal(t, http.StatusOK, status)
	done, ok := body.(openai.Completion)
	require.True(t, ok)
	require.Equal(t, "answer 0/0", done.Choices[0].Message.Content)
	status, _ = r.api.BatchAnswer(job, nil)
	require.Equal(t, http.StatusInternalServerError, status)
}
