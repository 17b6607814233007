package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func newFile(id string, bytes int64) store.File {
	return store.File{ID: id, Tenant: event.TenantDefault, Purpose: "batch", Name: "a.jsonl", Bytes: bytes, Created: created, Expires: created.Add(time.Hour)}
}

func TestFilesAreListedReadAndDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		require.NoError(t, s.CreateFile(ctx, newFile("file-a", store.FileIncomplete), 10))
		list := func(after store.Place, oldest bool) (ids []string) {
			files, err := s.Files(ctx, event.TenantDefault, "batch", after, oldest, 10)
			require.NoError(t, err)
			for _, f := range files {
				ids = append(ids, f.ID)
			}
			return ids
		}
		require.Empty(t, list(store.Place{}, false), "it has not come in whole")
		whole := newFile("file-a", 7)
		require.NoError(t, s.FinishFile(ctx, whole))
		got, err := s.File(ctx, "file-a")
		require.NoError(t, err)
		require.True(t, whole.Created.Equal(got.Created) && whole.Expires.Equal(got.Expires))
		require.EqualValues(t, 7, got.Bytes)
		used, err := s.Usage(ctx, event.TenantDefault, time.Now())
		require.NoError(t, err)
		require.EqualValues(t, 7, used.UploadBytes)
		require.NoError(t, s.CreateFile(ctx, newFile("file-b", 5), 10))
		require.ErrorIs(t, s.CreateFile(ctx, newFile("file-c", 1), 10), store.ErrFilesFull)
		require.Equal(t, []string{"file-b", "file-a"}, list(store.Place{}, false))
		require.Equal(t, []string{"file-a"}, list(store.Place{Created: created, ID: "file-b"}, false))
		require.Equal(t, []string{"file-b"}, list(store.Place{Created: created, ID: "file-a"}, true))
		other, err := s.Files(ctx, "other", "", store.Place{}, false, 10)
		require.NoError(t, err)
		require.Empty(t, other)

		require.NoError(t, s.CreateBatch(ctx, store.Batch{ID: "batch_1", Tenant: event.TenantDefault, Created: created, Expires: created, Spec: store.BatchSpec{Input: "file-a"}}))
		require.ErrorIs(t, s.DeleteFile(ctx, whole), store.ErrFileInUse)
		expired, err := s.ExpiredFiles(ctx, created.Add(2*time.Hour), 10)
		require.NoError(t, err)
		require.Len(t, expired, 1)
		require.Equal(t, "file-b", expired[0].ID, "a batch reads the other one")
		require.NoError(t, s.DeleteFile(ctx, expired[0]))
		_, err = s.File(ctx, "file-b")
		require.ErrorIs(t, err, store.ErrFileNotFound)
	})
}

// newBatch is a batch of three requests that is in progress.
func newBatch(t *testing.T, s *store.SQL) store.Batch {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, s.CreateBatch(ctx, store.Batch{
		ID: "batch_1", Tenant: event.TenantDefault, Created: created, Expires: created.Add(time.Hour),
		Spec: store.BatchSpec{Input: "file-a", Endpoint: "/v1/chat/completions", Window: "1h", Metadata: map[string]string{"a": "b"}, KeepS: 60},
	}))
	items := []store.BatchItem{{N: 1, CustomID: "a", From: 0, Bytes: 10}, {N: 2, CustomID: "b", From: 10, Bytes: 10}, {N: 4, CustomID: "c", From: 21, Bytes: 9}}
	for range 2 { // a gateway that was killed reads the file again
		require.NoError(t, s.AddBatchItems(ctx, "batch_1", items))
	}
	b, err := s.ValidBatch(ctx, "batch_1", len(items), nil)
	require.NoError(t, err)
	require.Equal(t, store.BatchInProgress, b.State)
	require.Equal(t, 3, b.Pending)
	return b
}

func TestABatchCountsEveryRequestOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		newBatch(t, s)
		lead, err := s.LeadBatches(ctx, "g1", time.Now().Add(time.Minute), 10)
		require.NoError(t, err)
		require.Len(t, lead, 1)
		other, err := s.LeadBatches(ctx, "g2", time.Now().Add(time.Minute), 10)
		require.NoError(t, err)
		require.Empty(t, other, "a batch is led by one gateway")

		starts := []store.BatchStart{{N: 1, Job: itemJob("j1")}, {N: 2, Job: itemJob("j2")}}
		ends := []store.BatchItem{{N: 4, State: store.BatchItemFailed, Line: `{"n":4}`}}
		for range 2 { // the second time changes nothing
			_, err := s.StartBatchItems(ctx, "batch_1", starts, ends, client.TenantLimits{})
			require.NoError(t, err)
		}
		b, err := s.GetBatch(ctx, "batch_1")
		require.NoError(t, err)
		require.Equal(t, [5]int{3, 0, 2, 0, 1}, [5]int{b.Total, b.Pending, b.Running, b.Completed, b.Failed})
		require.Equal(t, map[string]string{"a": "b"}, b.Spec.Metadata)
		job, err := s.Get(ctx, "j1")
		require.NoError(t, err)
		require.True(t, job.Waiting)
		owns, err := s.OwnsAudio(ctx, event.TenantDefault, job.Audio.SHA256)
		require.NoError(t, err)
		require.True(t, owns, "the tenant has sent it")

		answer(t, s, "j1", eventpb.State_STATE_ANSWERED, "")
		ended, err := s.EndedBatchItems(ctx, "batch_1", 10)
		require.NoError(t, err)
		require.Len(t, ended, 1)
		require.Equal(t, "a", ended[0].CustomID)
		ended[0].State, ended[0].Line = store.BatchItemCompleted, `{"n":1}`
		for range 2 {
			require.NoError(t, s.SettleBatchItems(ctx, "batch_1", ended))
		}
		b, err = s.FinalizeBatch(ctx, "batch_1")
		require.NoError(t, err)
		require.Equal(t, store.BatchInProgress, b.State, "a request is in hand")

		for range 2 {
			b, err = s.StopBatch(ctx, "batch_1", store.BatchCancelling)
			require.NoError(t, err)
			require.Equal(t, store.BatchCancelling, b.State)
		}
		require.NoError(t, s.SettleBatchItems(ctx, "batch_1", []store.BatchItem{{N: 2, JobID: "j2", State: store.BatchItemLeft}}))
		_, err = s.FinalizeBatch(ctx, "batch_1")
		require.NoError(t, err)
		_, err = s.StopBatch(ctx, "batch_1", store.BatchExpiring)
		require.ErrorIs(t, err, store.ErrBatchEnded)
		output := newFile("file-1-output", 4)
		for range 2 {
			b, err = s.EndBatch(ctx, "batch_1", &output, nil)
			require.NoError(t, err)
		}
		require.Equal(t, store.BatchCancelled, b.State)
		require.Equal(t, "file-1-output", b.Output)
		require.Empty(t, b.Errors)
		require.False(t, b.Ended.IsZero())
		items, err := s.BatchItems(ctx, "batch_1", 0, 10, store.BatchItemCompleted, store.BatchItemFailed, store.BatchItemLeft)
		require.NoError(t, err)
		require.Equal(t, []string{`{"n":1}`, "", `{"n":4}`}, []string{items[0].Line, items[1].Line, items[2].Line})
		_, err = s.File(ctx, "file-1-output")
		require.NoError(t, err)

		all, err := s.ListBatches(ctx, event.TenantDefault, store.Place{}, 10)
		require.NoError(t, err)
		require.Len(t, all, 1)
		none, err := s.ListBatches(ctx, event.TenantDefault, store.Place{Created: b.Created, ID: b.ID}, 10)
		require.NoError(t, err)
		require.Empty(t, none)
		n, err := s.DeleteBatches(ctx, event.TenantDefault, time.Now().Add(time.Minute), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, err = s.GetBatch(ctx, "batch_1")
		require.ErrorIs(t, err, store.ErrBatchNotFound)
	})
}

func TestABatchWithFaultsFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		require.NoError(t, s.CreateBatch(t.Context(), store.Batch{ID: "batch_1", Tenant: event.TenantDefault, Created: created, Expires: created}))
		line := 3
		b, err := s.ValidBatch(t.Context(), "batch_1", 0, []store.BatchFault{{Code: "invalid_json_line", Line: &line}})
		require.NoError(t, err)
		require.Equal(t, store.BatchFailed, b.State)
		_, err = s.StopBatch(t.Context(), "batch_1", store.BatchCancelling)
		require.ErrorIs(t, err, store.ErrBatchEnded)
	})
}

// TestLimitsHoldBatchesBack: what the tenant may not start stays pending.
func TestLimitsHoldBatchesBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		newBatch(t, s)
		done, err := s.StartBatchItems(t.Context(), "batch_1", []store.BatchStart{{N: 1, Job: itemJob("j1")}, {N: 2, Job: itemJob("j2")}}, nil, client.TenantLimits{OpenJobs: 1})
		require.NoError(t, err)
		require.Equal(t, 1, done.Jobs)
		require.NotNil(t, done.Held)
		b, err := s.GetBatch(t.Context(), "batch_1")
		require.NoError(t, err)
		require.Equal(t, 2, b.Pending)
	})
}
