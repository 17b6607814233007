package handle

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
	"github.com/larkstream/larkstream/shared/stage"
)

// lying writes a file that is read where it lies, and returns what a job says of it.
func lying(t *testing.T, path string, data []byte) *eventpb.Audio {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, 0o600))
	sum := sha256.Sum256(data)
	sha := hex.EncodeToString(sum[:])
	return &eventpb.Audio{Sha256: sha, BlobKey: event.AudioKey(sha), SizeBytes: int64(len(data)), Uri: source.FileURI(path)}
}

func TestAudioIsReadWhereItLies(t *testing.T) {
	t.Parallel()
	f, dir := setup(t), t.TempDir()
	var err error
	f.Sources, err = source.New([]string{dir})
	require.NoError(t, err)
	path := filepath.Join(dir, "song.wav")
	a := lying(t, path, wav(60))
	out, err := f.handle(t, job(a, eventpb.PlanMode_PLAN_MODE_ALL))
	require.NoError(t, err)
	require.Len(t, out, 4)
	require.Equal(t, a.GetUri(), out[0].(*eventpb.JobPlan).GetTrack().GetUri())
	there, err := f.store.Exists(t.Context(), a.GetBlobKey())
	require.NoError(t, err)
	require.False(t, there, "the file is not copied")

	// A window whose PCM was evicted is cut from the same place.
	again := out[1].(*eventpb.WindowReady)
	require.NoError(t, f.store.Delete(t.Context(), again.GetTask().GetWindow().GetBlobKey()))
	recut, err := f.handle(t, again)
	require.NoError(t, err)
	require.Equal(t, again.GetTask().GetWindow().GetHash(), recut[0].(*eventpb.WindowReady).GetTask().GetWindow().GetHash())

	// The plan that is stored is used by jobs about other copies of the track, and does not name this one.
	other, err := f.handle(t, job(f.put(t, wav(60)), eventpb.PlanMode_PLAN_MODE_ALL))
	require.NoError(t, err)
	require.Empty(t, other[0].(*eventpb.JobPlan).GetTrack().GetUri())

	requirePermanent(t, f, job(&eventpb.Audio{Sha256: a.GetSha256(), BlobKey: a.GetBlobKey(), Uri: "file:///etc/passwd"}, eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeSourceNotAllowed)
	lying(t, path, wav(40))
	requirePermanent(t, f, job(a, eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeSourceChanged)
	require.NoError(t, os.Remove(path))
	requirePermanent(t, f, job(a, eventpb.PlanMode_PLAN_MODE_AUTO), event.CodeSourceMissing)
	require.NoError(t, os.Remove(dir))
	_, err = f.handle(t, job(a, eventpb.PlanMode_PLAN_MODE_AUTO))
	require.ErrorIs(t, err, source.ErrUnavailable)
	require.Empty(t, stage.PermanentCode(err), "a place that is away comes back")
}

// TestAWebHostThatIsAwayIsNoFaultOfTheStage: the record is tried again, and tracks of other places go on meanwhile.
func TestAWebHostThatIsAwayIsNoFaultOfTheStage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := "https://" + l.Addr().String()
	require.NoError(t, l.Close())
	f.Sources, err = source.New([]string{host + "?private=true"})
	require.NoError(t, err)
	_, err = f.handle(t, job(&eventpb.Audio{Sha256: strings.Repeat("a", 64), BlobKey: event.AudioKey(strings.Repeat("a", 64)), Uri: host + "/song.wav"}, eventpb.PlanMode_PLAN_MODE_AUTO))
	require.ErrorIs(t, err, source.ErrHost)
	require.Empty(t, stage.PermanentCode(err))
	var pauses interface{ Unavailable() bool }
	require.NotErrorAs(t, err, &pauses)
}
