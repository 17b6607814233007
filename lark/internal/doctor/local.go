package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/larkstream/larkstream/lark/internal/up"
)

const (
	gib = 1 << 30
	// lowDisk is when to warn: a minute of music takes 5.3 MB as windows for as long as it is worked on, and about 6 MB as
	// embeddings that are kept.
	lowDisk = 2 * gib
)

func dataFolder(_ context.Context, cfg Config) Finding {
	f := Finding{Check: "data", State: OK}
	holder, running, err := cfg.Data.Running()
	switch {
	case err != nil:
		f.State, f.Detail, f.Remedy = Fail, err.Error(), "name another folder with --data"
		return f
	case running:
		f.Detail = fmt.Sprintf("%s is run by process %d, gateway %s", cfg.Data, holder.PID, orNone(holder.Gateway))
		return f
	}
	if err := tryWrite(existing(string(cfg.Data))); err != nil {
		f.State, f.Detail, f.Remedy = Fail, err.Error(), "give yourself the right to write there, or name another folder with --data"
		return f
	}
	f.Detail = fmt.Sprintf("%s can be written and nobody runs it", cfg.Data)
	return f
}

func orNone(gateway string) string {
	if gateway == "" {
		return "not ready yet"
	}
	return gateway
}

// existing is the nearest folder on the way up that exists.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}

func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".lark-doctor-*")
	if err != nil {
		return fmt.Errorf("writing to the data folder: %w", err)
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

func diskSpace(_ context.Context, cfg Config) Finding {
	dir := existing(string(cfg.Data))
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return Finding{Check: "disk", State: Warn, Detail: fmt.Sprintf("asking for the free space of %s: %v", dir, err), Remedy: "look with df"}
	}
	free := stat.Bavail * uint64(stat.Bsize)
	f := Finding{Check: "disk", State: OK, Detail: fmt.Sprintf("%.1f GB free at %s", float64(free)/1e9, dir)}
	if free < lowDisk {
		f.State, f.Remedy = Warn, "make room, or name a folder on a larger disk with --data"
	}
	return f
}

func gatewayAddr(ctx context.Context, cfg Config) Finding {
	f := Finding{Check: "gateway", State: OK}
	if holder, running, err := cfg.Data.Running(); err == nil && running && holder.Gateway != "" {
		if err := answers(ctx, holder); err != nil {
			f.State, f.Detail, f.Remedy = Fail, err.Error(), "look at "+cfg.Data.LogPath(up.Gateway)
			return f
		}
		f.Detail = holder.Gateway + " is ready"
		return f
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		f.State, f.Detail, f.Remedy = Warn, err.Error(), "give lark up another address with --addr, or stop what listens there"
		return f
	}
	_ = l.Close()
	f.Detail = cfg.Addr + " is free"
	return f
}

func answers(ctx context.Context, holder up.Holder) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, holder.Gateway+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the gateway: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the gateway: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the gateway: it is not ready (HTTP %d)", resp.StatusCode)
	}
	return nil
}
