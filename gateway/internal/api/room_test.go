package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// fullBlobs is an object store on a disk that is full while full is set.
type fullBlobs struct {
	api.Blobs
	full atomic.Bool
}

func (b *fullBlobs) Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error) {
	if b.full.Load() {
		return 0, fmt.Errorf("writing object %s: %w", key, &os.PathError{Op: "write", Path: "/secret/place", Err: syscall.ENOSPC})
	}
	return b.Blobs.Put(ctx, key, r, limit)
}

// fullStore is a job store on a disk that is full.
type fullStore struct{ api.Store }

func (fullStore) Create(context.Context, store.Job, []event.Record, store.CreateOptions) error {
	return fmt.Errorf("creating job: %w", store.ErrFull)
}

func requireFull(t *testing.T, a answer) {
	t.Helper()
	require.Equal(t, http.StatusInsufficientStorage, a.status, "%s", a.body)
	p := a.problem(t)
	require.Equal(t, "storage_full", p.Code)
	require.True(t, p.Retryable)
	require.Equal(t, "60", a.header.Get("Retry-After"))
	require.NotContains(t, p.Detail, "/secret/place")
}

func TestAFullDiskIsTold(t *testing.T) {
	t.Parallel()
	var blobs *fullBlobs
	r := setupDeps(t, func(d *api.Deps) {
		blobs = &fullBlobs{Blobs: d.Blobs}
		d.Blobs = blobs
	})
	blobs.full.Store(true)
	body, kind := audioForm(t)
	requireFull(t, r.do(http.MethodPost, "/v1/jobs", strings.NewReader(body), "Content-Type", kind, "Idempotency-Key", "k"))
	blobs.full.Store(false)
	a := r.do(http.MethodPost, "/v1/jobs", strings.NewReader(body), "Content-Type", kind, "Idempotency-Key", "k")
	require.Equal(t, http.StatusAccepted, a.status, "the same request works once there is room: %s", a.body)

	r = setupDeps(t, func(d *api.Deps) { d.Store = fullStore{d.Store} })
	requireFull(t, r.do(http.MethodPost, "/v1/jobs", strings.NewReader(body), "Content-Type", kind))
}

// audioForm is a submission that can be sent more than once.
func audioForm(t *testing.T) (body, contentType string) {
	t.Helper()
	b, contentType := form(t, part{field: "audio", name: "a.wav", content: "RIFF"}, part{field: "questions", content: "Key?"})
	return b.String(), contentType
}

// unread is a body that cannot be read.
type unread struct{}

func (unread) Read([]byte) (int, error) {
	return 0, errors.New("the body must not be asked for")
}

func TestUploadsAreRefusedBeforeTheDiskIsFull(t *testing.T) {
	t.Parallel()
	var asked []int64
	left := int64(1000)
	r := setupDeps(t, func(d *api.Deps) {
		d.Room = func(bytes int64) error {
			asked = append(asked, bytes)
			if bytes > left {
				return fmt.Errorf("%w: %d bytes are left", api.ErrNoRoom, left)
			}
			return nil
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/jobs", unread{})
	require.NoError(t, err)
	req.ContentLength = 2000
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue")
	resp, err := r.http.Do(req)
	require.NoError(t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	requireFull(t, answer{resp.StatusCode, resp.Header, raw})
	require.Equal(t, []int64{2000}, asked)

	// A body of unknown length is looked at while it comes.
	body, kind := audioForm(t)
	requireFull(t, r.do(http.MethodPost, "/v1/jobs", io.MultiReader(strings.NewReader(body)), "Content-Type", kind))
	left = 1 << 30
	require.Equal(t, http.StatusAccepted, r.do(http.MethodPost, "/v1/jobs", io.MultiReader(strings.NewReader(body)), "Content-Type", kind).status)
}

func TestAnExplicitPlanMayNotAskForTooMuch(t *testing.T) {
	t.Parallel()
	r := setup(t) // at most 6 answers, 4 questions, 3 spans
	ask := func(questions, spans int) string {
		return fmt.Sprintf(`{"audio_ref":"%064x","questions":[%s],"spans":[%s]}`, 1,
			strings.TrimSuffix(strings.Repeat(`"Key?",`, questions), ","), strings.TrimSuffix(strings.Repeat(`{"start_s":1,"end_s":2},`, spans), ","))
	}
	require.Equal(t, "plan_too_large", r.json(ask(3, 3)).problem(t).Code)
	require.Equal(t, "audio_ref_unknown", r.json(ask(2, 3)).problem(t).Code, "the plan is good")
}
