package server

import (
	"fmt"
	"os"
	"sync/atomic"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/shared/blob"
)

// quotaShare is the part of the budget by which the object store may be over it before uploads are refused: sweeps come now and then, and
// leave what is young.
const quotaShare = 10

// room decides whether more audio may come in.
type room struct {
	cfg   SweepConfig
	spool string // folder of uploads in progress
	blobs *blob.Store
	held  atomic.Int64 // bytes in the object store after the last sweep
	sweep func()       // asks for a sweep
}

func newRoom(cfg SweepConfig, spool string, blobs *blob.Store) *room {
	if spool == "" {
		spool = os.TempDir()
	}
	return &room{cfg: cfg, spool: spool, blobs: blobs, sweep: func() {}}
}

// ask refuses bytes more while the object store is over its budget, or while a disk would be left with less than its minimum.
func (r *room) ask(bytes int64) error {
	if quota := r.cfg.MaxBytes + r.cfg.MaxBytes/quotaShare; quota > 0 && r.held.Load() > quota {
		r.sweep()
		return fmt.Errorf("%w: the object store holds %d bytes and may hold %d (sweep.max_bytes), and what it holds is too young to be deleted; "+
			"try again later, or raise the budget", api.ErrNoRoom, r.held.Load(), r.cfg.MaxBytes)
	}
	if r.cfg.MinFreeBytes == 0 {
		return nil
	}
	for what, free := range map[string]func() (int64, bool, error){
		"the object store": r.blobs.Free, "uploads in progress": func() (int64, bool, error) { return blob.FreeBytes(r.spool) },
	} {
		left, known, err := free()
		if err != nil {
			return err
		}
		if known && left-bytes < r.cfg.MinFreeBytes {
			return fmt.Errorf("%w: the disk of %s has %d bytes left, and %d must stay free (sweep.min_free_bytes); "+
				"delete files, or take a larger disk", api.ErrNoRoom, what, left, r.cfg.MinFreeBytes)
		}
	}
	return nil
}
