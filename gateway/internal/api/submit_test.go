package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func TestUpload(t *testing.T) {
	t.Parallel()
	r := setup(t)
	a := r.form(
		part{"questions", "", " How fast? "},
		part{"audio", `C:\music\très "bon".wav`, "RIFFdata"},
		part{"questions", "", "Key?\n"},
		part{"spans", "", "0-5.5, 30-55"},
	)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	var job client.Job
	require.NoError(t, json.Unmarshal(a.body, &job))
	require.Equal(t, "/v1/jobs/"+job.ID, a.header.Get("Location"))
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Equal(t, client.Audio{SHA256: sum("RIFFdata"), Name: `très "bon".wav`, Bytes: 8}, job.Audio)
	require.Equal(t, client.Plan{Mode: "explicit", Spans: []client.Span{{StartS: 0, EndS: 5.5}, {StartS: 30, EndS: 55}}}, job.Plan)

	rec := r.lastJob()
	require.Equal(t, job.ID, rec.GetJobId())
	require.Equal(t, []string{"How fast?", "Key?"}, []string{rec.GetQuestions()[0].GetText(), rec.GetQuestions()[1].GetText()})
	require.Equal(t, eventpb.PlanMode_PLAN_MODE_EXPLICIT, rec.GetPlan())
	stored, err := r.blobs.GetBytes(t.Context(), rec.GetAudio().GetBlobKey(), 100)
	require.NoError(t, err)
	require.Equal(t, "RIFFdata", string(stored))
	require.EqualValues(t, 1, r.woken.Load())
}

func TestUploadWithRequestPart(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, parts := range [][]part{
		{{"request", "", `{"questions":["q"],"plan":"all","decode":{"temperature":0.5,"seed":7},"deadline_s":60}`}, {"audio", "a.mp3", "x"}},
		{{"audio", "a.mp3", "x"}, {"request", "", `{"questions":["q"],"plan":"all","decode":{"temperature":0.5,"seed":7},"deadline_s":60}`}},
	} {
		a := r.form(parts...)
		require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
		rec := r.lastJob()
		require.Equal(t, "a.mp3", rec.GetAudio().GetName())
		require.Equal(t, eventpb.PlanMode_PLAN_MODE_ALL, rec.GetPlan())
		require.EqualValues(t, 7, rec.GetDecode().GetSeed())
		require.Equal(t, rec.GetCreatedUnixMs()+60_000, rec.GetDeadlineUnixMs())
	}
}

func TestAudioByReference(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.submit("q")
	a := r.json(`{"audio_ref":"` + sum("RIFF") + `","questions":["another"]}`)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, sum("RIFF"), r.lastJob().GetAudio().GetSha256())
	require.EqualValues(t, 4, r.lastJob().GetAudio().GetSizeBytes())

	p := r.json(`{"audio_ref":"` + sum("other") + `","questions":["q"]}`).problem(t)
	require.Equal(t, "audio_ref_unknown", p.Code)
	require.False(t, p.Retryable)
}

func TestAudioByURL(t *testing.T) {
	t.Parallel()
	r := setup(t)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/song.flac":
			_, _ = io.WriteString(w, "fLaC")
		case "/large":
			_, _ = w.Write(make([]byte, 5000))
		case "/empty":
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer files.Close()
	a := r.json(`{"audio_url":"` + files.URL + `/song.flac","questions":["q"]}`)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, sum("fLaC"), r.lastJob().GetAudio().GetSha256())
	require.Equal(t, "song.flac", r.lastJob().GetAudio().GetName())
	for url, want := range map[string]string{
		files.URL + "/large": "audio_too_large", files.URL + "/empty": "audio_empty", files.URL + "/none": "audio_url_unreachable",
		"http://10.0.0.1/a": "audio_url_blocked", "http://169.254.169.254/latest/meta-data/": "audio_url_blocked", "http://[fd00::1]/a": "audio_url_blocked",
		"file:///etc/passwd": "audio_url_invalid", "http://u:p@example.com/": "audio_url_invalid",
	} {
		require.Equal(t, want, r.json(`{"audio_url":"`+url+`","questions":["q"]}`).problem(t).Code, url)
	}
	require.Len(t, r.outbox(), 1, "only the good one became a job")
}

func TestBadSubmissions(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ref := `"audio_ref":"` + sum("x") + `"`
	for body, want := range map[string]string{
		"":                                      "400 malformed_body",
		"{":                                     "400 malformed_body",
		"null":                                  "422 audio_required",
		"[]":                                    "400 malformed_body",
		`{"questions":["q"]} {}`:                "400 malformed_body",
		`{"questions":["q"],"evil":1}`:          "400 malformed_body",
		`{"questions":["q"]}`:                   "422 audio_required",
		`{` + ref + `,"audio_url":"http://x/"}`: "422 audio_required",
		`{` + ref + `}`:                         "422 questions_required",
		`{` + ref + `,"questions":[]}`:          "422 questions_required",
		`{` + ref + `,"questions":["a","b","c","d","e"]}`:                                             "422 too_many_questions",
		`{` + ref + `,"questions":["` + strings.Repeat("é", 51) + `"]}`:                               "422 question_too_long",
		`{` + ref + `,"questions":["` + strings.Repeat("x", 100_000) + `"]}`:                          "422 question_too_long",
		`{` + ref + `,"questions":["` + strings.Repeat("x", 2<<20) + `"]}`:                            "413 body_too_large",
		`{` + ref + `,"questions":["ok","  "]}`:                                                       "422 question_invalid",
		`{` + ref + `,"questions":["a\u0000b"]}`:                                                      "422 question_invalid",
		`{` + ref + `,"questions":["q"],"plan":"every"}`:                                              "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"plan":"explicit"}`:                                           "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"plan":"auto","spans":[{"start_s":0,"end_s":1}]}`:             "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"spans":[{"start_s":5,"end_s":5}]}`:                           "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"spans":[{"start_s":-1,"end_s":5}]}`:                          "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"spans":[{"start_s":0,"end_s":1e300}]}`:                       "422 plan_invalid",
		`{` + ref + `,"questions":["q"],"spans":[{"start_s":0,"end_s":1e999}]}`:                       "400 malformed_body",
		`{` + ref + `,"questions":["q"],"spans":[{"end_s":1},{"end_s":1},{"end_s":1},{"end_s":1}]}`:   "422 too_many_spans",
		`{` + ref + `,"questions":["q"],"decode":{"temperature":11}}`:                                 "422 decode_invalid",
		`{` + ref + `,"questions":["q"],"decode":{"top_p":-0.1}}`:                                     "422 decode_invalid",
		`{` + ref + `,"questions":["q"],"decode":{"max_tokens":9000}}`:                                "422 decode_invalid",
		`{` + ref + `,"questions":["q"],"deadline_s":-1}`:                                             "422 deadline_invalid",
		`{` + ref + `,"questions":["q"],"deadline_s":1e9}`:                                            "422 deadline_invalid",
		`{` + ref + `,"questions":["q"],"response_schema":"poem"}`:                                    "422 response_schema_unknown",
		`{` + ref + `,"response_schema":"TAGS"}`:                                                      "422 response_schema_unknown",
		`{` + ref + `,"response_schema":""}`:                                                          "422 questions_required",
		`{` + ref + `,"response_schema":"tags","questions":[""]}`:                                     "422 question_invalid",
		`{` + ref + `,"questions":["q"],"audio_name":"../../etc/passwd"}`:                             "422 audio_name_invalid",
		`{"audio_ref":"../../../etc/passwd","questions":["q"]}`:                                       "422 audio_ref_invalid",
		`{"audio_ref":"` + strings.ToUpper(sum("x")) + `","questions":["q"]}`:                         "422 audio_ref_invalid",
		`{"audio_ref":"audio/` + sum("x") + `","questions":["q"]}`:                                    "422 audio_ref_unknown",
		`{` + ref + `,"questions":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: "400 malformed_body",
	} {
		p := r.json(body).problem(t)
		require.Equal(t, want, fmt.Sprint(p.Status, " ", p.Code), "%.120s: %s", body, p.Detail)
		require.False(t, p.Retryable)
		require.Less(t, len(p.Detail), 400)
	}
	require.Empty(t, r.outbox())
	p := r.json(`{` + ref + `,"questions":["ok","` + strings.Repeat("x", 51) + `"]}`).problem(t)
	require.Equal(t, "questions[1]", p.Errors[0].Location)
}

func TestStrictIsAskedForInAForm(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for value, want := range map[string]bool{"true": true, "false": false} {
		a := r.form(part{"audio", "a", "x"}, part{"questions", "", "q"}, part{"strict", "", value})
		require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
		require.Equal(t, want, r.lastJob().GetStrict())
	}
	for _, value := range []string{"yes", `true,"plan":"all"`, "{}"} {
		p := r.form(part{"audio", "a", "x"}, part{"questions", "", "q"}, part{"strict", "", value}).problem(t)
		require.Equal(t, "invalid_request", p.Code)
		require.Contains(t, p.Detail, "option strict cannot be")
	}
}

func TestBadForms(t *testing.T) {
	t.Parallel()
	r := setup(t)
	many := []part{{"audio", "a", "x"}}
	for range 30 {
		many = append(many, part{"questions", "", "q"})
	}
	for want, parts := range map[string][]part{
		"422 audio_required":     {{"questions", "", "q"}},
		"422 audio_empty":        {{"questions", "", "q"}, {"audio", "a.wav", ""}},
		"422 questions_required": {{"audio", "a.wav", "x"}},
		"413 audio_too_large":    {{"questions", "", "q"}, {"audio", "a.wav", strings.Repeat("x", 4097)}},
		"413 body_too_large":     {{"questions", "", strings.Repeat("x", 1<<20)}, {"questions", "", "x"}},
		"422 plan_invalid":       {{"audio", "a", "x"}, {"questions", "", "q"}, {"spans", "", "5"}},
		"422 question_too_long":  {{"audio", "a", "x"}, {"questions", "", strings.Repeat("x", 100_000)}},
		"400 malformed_body":     {{"audio", "a", "x"}, {"request", "", "{"}},
		"422 invalid_request":    many,

		"422 response_schema_unknown": {{"audio", "a", "x"}, {"response_schema", "", "poem"}},
	} {
		p := r.form(parts...).problem(t)
		require.Equal(t, want, fmt.Sprint(p.Status, " ", p.Code), p.Detail)
	}
	for _, parts := range [][]part{
		{{"audio", "a", "x"}, {"audio", "b", "y"}, {"questions", "", "q"}},
		{{"audio", "a", "x"}, {"strange", "", "q"}},
		{{"audio", "a", "x"}, {"questions", "", "q"}, {"request", "", `{"questions":["p"]}`}},
	} {
		require.Equal(t, "invalid_request", r.form(parts...).problem(t).Code)
	}
	exact := r.form(part{"questions", "", "q"}, part{"audio", "a.wav", strings.Repeat("x", 4096)})
	require.Equal(t, http.StatusAccepted, exact.status, "exactly at the limit")
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, ct := range []string{"", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", "application/x-www-form-urlencoded", ";;"} {
		a := r.do(http.MethodPost, "/v1/jobs", strings.NewReader("--x--"), "Content-Type", ct)
		require.Contains(t, []int{http.StatusUnsupportedMediaType, http.StatusBadRequest}, a.status, "%s %s", ct, a.body)
		a.problem(t)
	}
	body, ct := form(t, part{"audio", "a", "x"}, part{"questions", "", "q"})
	cut := body.Bytes()[:body.Len()-20]
	p := r.do(http.MethodPost, "/v1/jobs", bytes.NewReader(cut), "Content-Type", ct).problem(t)
	require.Equal(t, "malformed_body", p.Code, "a form that breaks off: %s", p.Detail)
}

// TestCrossSite: a page of another site cannot submit jobs through a visitor's browser.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	r := setup(t)
	body, ct := form(t, part{"audio", "a", "x"}, part{"questions", "", "q"})
	a := r.do(http.MethodPost, "/v1/jobs", body, "Content-Type", ct, "Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example")
	require.Equal(t, http.StatusForbidden, a.status)
	require.Empty(t, r.outbox())
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	r := setup(t)
	sub := client.Submission{Questions: []string{"q"}}
	send := func(key, content string, sub client.Submission) (client.Job, error) {
		return r.client.Submit(t.Context(), sub, &client.Upload{Name: "a", Reader: strings.NewReader(content)}, client.SubmitOptions{IdempotencyKey: key})
	}
	first, err := send("k1", "RIFF", sub)
	require.NoError(t, err)
	require.False(t, first.IdempotentReply)
	again, err := send("k1", "RIFF", sub)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.True(t, again.IdempotentReply)
	list, err := r.client.List(t.Context(), client.ListOptions{IdempotencyKey: "k1"})
	require.NoError(t, err)
	require.Len(t, list.Jobs, 1)
	require.Equal(t, first.ID, list.Jobs[0].ID)
	list, err = r.client.List(t.Context(), client.ListOptions{IdempotencyKey: "never used"})
	require.NoError(t, err)
	require.Empty(t, list.Jobs)
	for _, other := range []func() error{
		func() error { _, err := send("k1", "other", sub); return err },
		func() error { _, err := send("k1", "RIFF", client.Submission{Questions: []string{"p"}}); return err },
		func() error {
			_, err := send("k1", "RIFF", client.Submission{Questions: []string{"q"}, Plan: "all"})
			return err
		},
		func() error {
			_, err := send("k1", "RIFF", client.Submission{Questions: []string{"q"}, Options: client.Options{ResponseSchema: client.SchemaTags}})
			return err
		},
	} {
		p, ok := client.AsProblem(other())
		require.True(t, ok)
		require.Equal(t, "idempotency_key_mismatch", p.Code)
		require.Equal(t, http.StatusUnprocessableEntity, p.Status)
	}
	require.Len(t, r.outbox(), 1)

	_, err = send("k2", "RIFF", client.Submission{})
	require.ErrorContains(t, err, "questions_required")
	_, err = send("k2", "RIFF", sub)
	require.NoError(t, err, "a request that made no job gives its key back")
	for _, key := range []string{"has space", "ünïcode", strings.Repeat("k", 201)} {
		a := r.json(`{}`, "Idempotency-Key", key)
		require.Equal(t, "idempotency_key_invalid", a.problem(t).Code, key)
	}
}

func TestTagsAreAskedFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	upload := part{"audio", "a.mp3", "x"}
	for name, send := range map[string]func() answer{
		"fields":  func() answer { return r.form(upload, part{"response_schema", "", "tags"}) },
		"request": func() answer { return r.form(part{"request", "", `{"response_schema":"tags"}`}, upload) },
		"json": func() answer {
			return r.json(`{"audio_ref":"` + sum("x") + `","response_schema":"tags","questions":[]}`)
		},
	} {
		if name == "json" {
			require.Equal(t, http.StatusAccepted, r.form(upload, part{"questions", "", "q"}).status) // for audio_ref
		}
		a := send()
		require.Equal(t, http.StatusAccepted, a.status, "%s: %s", name, a.body)
		var job client.Job
		require.NoError(t, json.Unmarshal(a.body, &job))
		require.Equal(t, client.SchemaTags, job.ResponseSchema)
		require.Equal(t, []client.Question{{Text: tags.DefaultQuestion}}, job.Questions)
		require.Equal(t, event.SchemaTags, r.lastJob().GetResponseSchema())
		require.Equal(t, tags.DefaultQuestion, r.lastJob().GetQuestions()[0].GetText())
	}
	a := r.form(upload, part{"response_schema", "", "tags"}, part{"questions", "", "Tag it."})
	require.Equal(t, http.StatusAccepted, a.status)
	require.Equal(t, "Tag it.", r.lastJob().GetQuestions()[0].GetText())
}

// TestIdempotencyRace: of many equal requests at once one makes the job; the others get it or are told
// to come again.
func TestIdempotencyRace(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.MaxUploads, l.MaxUploadsPerClient = 64, 64 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]int{}
	for range 32 {
		wg.Go(func() {
			job, err := r.client.Submit(t.Context(), client.Submission{Questions: []string{"q"}},
				&client.Upload{Name: "a", Reader: strings.NewReader("RIFF")}, client.SubmitOptions{IdempotencyKey: "same"})
			mu.Lock()
			defer mu.Unlock()
			if p, ok := client.AsProblem(err); ok {
				require.Equal(t, "idempotency_key_in_flight", p.Code)
				require.Equal(t, http.StatusConflict, p.Status)
				require.True(t, p.Retryable)
				return
			}
			require.NoError(t, err)
			ids[job.ID]++
		})
	}
	wg.Wait()
	require.Len(t, ids, 1)
	require.Len(t, r.outbox(), 1)
}

// TestLanes: the lane left out is the interactive one, and what is no lane is refused.
func TestLanes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	send := func(lane string) (client.Job, error) {
		sub := client.Submission{Questions: []string{"q"}, Options: client.Options{Lane: lane}}
		return r.client.Submit(t.Context(), sub, &client.Upload{Name: "a", Reader: strings.NewReader("RIFF")}, client.SubmitOptions{IdempotencyKey: "one"})
	}
	first, err := send("")
	require.NoError(t, err)
	same, err := send(event.LaneInteractive)
	require.NoError(t, err)
	require.Equal(t, first.ID, same.ID)
	require.True(t, same.IdempotentReply)
	_, err = send("fast")
	var problem *client.Problem
	require.ErrorAs(t, err, &problem)
	require.Equal(t, "lane_unknown", problem.Code)
}

// TestKeyInFlight: while an upload is still coming, its key is taken; when its sender goes away, the
// key comes free.
func TestKeyInFlight(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/jobs", pr)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "slow")
	req.Header.Set("Expect", "100-continue") // so that what is written to pw is read by the handler, which then holds the key
	done := make(chan error, 1)
	go func() {
		resp, err := r.http.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	_, err = io.WriteString(pw, `{"questions":`)
	require.NoError(t, err)
	inFlight := func() string {
		return r.json(`{"questions":["q"],"audio_ref":"`+sum("x")+`"}`, "Idempotency-Key", "slow").problem(t).Code
	}
	require.Equal(t, "idempotency_key_in_flight", inFlight())
	_, err = r.client.List(t.Context(), client.ListOptions{IdempotencyKey: "slow"})
	p, ok := client.AsProblem(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "idempotency_key_in_flight", p.Code)
	require.True(t, p.Retryable)
	cancel()
	require.NoError(t, pw.CloseWithError(context.Canceled))
	require.ErrorIs(t, <-done, context.Canceled)
	require.Eventually(t, func() bool { return inFlight() == "audio_ref_unknown" }, patience, 5*time.Millisecond)
}

func TestTooMany(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.MaxOpenJobs, l.MaxUploads = 1, 1 })
	r.submit("q")
	a := r.form(part{"audio", "a", "x"}, part{"questions", "", "q"})
	p := a.problem(t)
	require.Equal(t, "429 too_many_jobs true", fmt.Sprint(p.Status, " ", p.Code, " ", p.Retryable))
	require.NotEmpty(t, a.header.Get("Retry-After"))

	pr, pw := io.Pipe()
	done := make(chan answer, 1)
	go func() {
		done <- r.do(http.MethodPost, "/v1/jobs", pr, "Content-Type", "application/json", "Expect", "100-continue")
	}()
	_, err := io.WriteString(pw, "{") // read by the handler, which then holds the only place
	require.NoError(t, err)
	require.Equal(t, "too_many_uploads", r.json("{}").problem(t).Code)
	require.NoError(t, pw.Close())
	require.Equal(t, "malformed_body", (<-done).problem(t).Code)
}

// TestOneClientDoesNotTakeAllUploads: its share is smaller than the whole.
func TestOneClientDoesNotTakeAllUploads(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.MaxUploads, l.MaxUploadsPerClient = 2, 1 })
	pr, pw := io.Pipe()
	done := make(chan answer, 1)
	go func() {
		done <- r.do(http.MethodPost, "/v1/jobs", pr, "Content-Type", "application/json", "Expect", "100-continue")
	}()
	_, err := io.WriteString(pw, "{")
	require.NoError(t, err)
	p := r.json("{}").problem(t)
	require.Equal(t, "too_many_uploads", p.Code)
	require.Contains(t, p.Detail, "of your address")
	require.Equal(t, http.StatusUnprocessableEntity, r.from("192.0.2.1:5", http.MethodPost, "/v1/jobs", "{}"), "others are taken in")
	require.NoError(t, pw.Close())
	require.Equal(t, "malformed_body", (<-done).problem(t).Code)
}

// from makes a request of another address, without a connection, and returns the status.
func (r *rig) from(remote, method, path, body string) int {
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	req.RemoteAddr = remote
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	r.srv.Config.Handler.ServeHTTP(rec, req)
	return rec.Code
}

// TestSlowBody: a sender that stops sending does not hold its place for ever.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) { l.UploadTimeout = 200 * time.Millisecond })
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	go func() { _, _ = io.WriteString(pw, `{"questions":`) }()
	a := r.do(http.MethodPost, "/v1/jobs", pr, "Content-Type", "application/json")
	require.Equal(t, "408 body_timeout", fmt.Sprint(a.status, " ", a.problem(t).Code))
}

// TestStalledBody: a body that stops coming gives its place back long before the whole request's time is over.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	r := setup(t, func(l *api.Limits, _ *stream.Config) {
		l.UploadWindow, l.UploadTimeout, l.MaxUploads = 100*time.Millisecond, time.Hour, 1 // the second body takes the place of the first
	})
	for name, body := range map[string][2]string{
		"json": {"application/json", `{"questions":["`},
		"form": {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=audio; filename=a\r\n\r\nRIFF"},
	} {
		pr, pw := io.Pipe()
		go func() { _, _ = io.WriteString(pw, body[1]) }()
		a := r.do(http.MethodPost, "/v1/jobs", pr, "Content-Type", body[0])
		p := a.problem(t)
		require.Equal(t, "408 body_timeout true", fmt.Sprint(p.Status, " ", p.Code, " ", p.Retryable), name)
		require.Contains(t, p.Detail, "limits.min_upload_rate", name)
		require.NoError(t, pw.Close())
	}
}

// FuzzSubmit: whatever comes as a body, the answer is a job or a problem with a code.
func FuzzSubmit(f *testing.F) {
	good, ct := form(f, part{"audio", "a.wav", "RIFF"}, part{"questions", "", "q"}, part{"spans", "", "1-2"})
	f.Add(ct, good.Bytes())
	f.Add("application/json", []byte(`{"audio_ref":"`+sum("x")+`","questions":["q"],"spans":[{"start_s":1,"end_s":2}],"decode":{"seed":1}}`))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"\\\"\r\n\r\n\r\n--x--"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=request\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=zz\r\n--x--"))
	r := setup(f, func(l *api.Limits, _ *stream.Config) { l.MaxOpenJobs = 1 << 30 })
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/jobs", bytes.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		rec := httptest.NewRecorder()
		r.srv.Config.Handler.ServeHTTP(rec, req)
		require.Less(t, rec.Code, 500, rec.Body.String())
		if rec.Code != http.StatusAccepted {
			var p client.Problem
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
			require.NotEmpty(t, p.Code)
			return
		}
		var job client.Job
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &job))
		require.NotEmpty(t, job.Questions)
		require.Len(t, job.Audio.SHA256, 64)
	})
}

// TestATenantLeavesWindowsOfItsLaneToOthers unless it has a bound of its own.
func TestATenantLeavesWindowsOfItsLaneToOthers(t *testing.T) {
	t.Parallel()
	l := api.Limits{InteractiveWindows: 1024, BulkWindows: 1}
	all, one := l.LaneWindows(event.LaneInteractive)
	require.Equal(t, [2]int{1024, 896}, [2]int{all, one})
	all, one = l.LaneWindows(event.LaneBulk)
	require.Equal(t, [2]int{1, 1}, [2]int{all, one})
	l.TenantWindows = 16
	all, one = l.LaneWindows("")
	require.Equal(t, [2]int{1024, 16}, [2]int{all, one})
}
