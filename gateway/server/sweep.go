package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/larkstream/larkstream/shared/blob"
)

// sweep keeps the object store within its budget. The audio of open jobs stays, however old it is: it may have been submitted long before the
// job that refers to it. Fed jobs refer to audio before they are in the job store, so all audio stays until the recorder has read the topic of
// the jobs to its end once. From then on a job is adopted long before its audio, which its producer has touched, is old.
func (g *gateway) sweep(ctx context.Context) (blob.Swept, error) {
	if !g.adopted.Load() {
		pending, err := g.jobsPending(ctx)
		g.adopted.Store(err == nil && pending == 0)
	}
	budget := g.cfg.budget()
	var warn sync.Once // not for each object
	budget.Keep = func(key string) bool {
		if !strings.HasPrefix(key, blob.PrefixAudio) {
			return false
		}
		if !g.adopted.Load() {
			return true
		}
		used, err := g.jobs.AudioInUse(ctx, key)
		if err != nil {
			warn.Do(func() {
				g.tel.Log.WarnContext(ctx, "audio is kept: the job store does not tell whether it is in use", slog.Any("error", err))
			})
		}
		return used || err != nil
	}
	swept, err := blob.Sweep(ctx, g.blobs, budget)
	if err == nil {
		g.room.held.Store(swept.Bytes - swept.RemovedBytes)
	}
	return swept, err
}
