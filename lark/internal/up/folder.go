// Package up runs the whole of Larkstream on one machine: the embedded broker and every stage as supervised child
// processes of this binary, with all their state in one data folder.
package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Folder is the data folder of one installation:
//
//	up.lock           held by the running lark up; says who holds it
//	run/<stage>.json  where each child listens
//	logs/<stage>.log  what each child printed
//	broker/           the embedded broker's records
//	blobs/            audio, windows, embeddings, prompts
//	lark.db           jobs and outcomes
type Folder string

// DefaultFolder is $XDG_DATA_HOME/larkstream, or ~/.local/share/larkstream.
func DefaultFolder() (Folder, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return Folder(filepath.Join(dir, "larkstream")), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the data folder (name one with --data): %w", err)
	}
	return Folder(filepath.Join(home, ".local", "share", "larkstream")), nil
}

func (f Folder) path(parts ...string) string {
	return filepath.Join(append([]string{string(f)}, parts...)...)
}

// LogPath is where a child's output is kept.
func (f Folder) LogPath(stage string) string { return f.path("logs", stage+".log") }

// BlobURL is the folder's object store.
func (f Folder) BlobURL() string { return (&url.URL{Scheme: "file", Path: f.path("blobs")}).String() }

// RunningBroker is the address of the broker that runs on the folder.
func (f Folder) RunningBroker() (string, error) {
	_, running, err := f.Running()
	if err != nil {
		return "", err
	}
	place, err := f.Place(Broker)
	if !running || err != nil || place.KafkaAddr == "" {
		return "", fmt.Errorf("finding the broker: no lark up runs on %s; start one, or set KAFKA_BROKERS", f)
	}
	return place.KafkaAddr, nil
}

// Holder says who runs a data folder.
type Holder struct {
	PID int `json:"pid"`
	// Gateway is empty until everything is ready.
	Gateway string    `json:"gateway,omitempty"`
	Started time.Time `json:"started"`
}

// LockedError says that another process runs the data folder.
type LockedError struct {
	Folder Folder
	Holder Holder
}

func (e *LockedError) Error() string {
	where := ""
	if e.Holder.Gateway != "" {
		where = ", gateway " + e.Holder.Gateway
	}
	return fmt.Sprintf("data folder %s is in use by process %d since %s%s: stop that one first, or name another folder with --data",
		e.Folder, e.Holder.PID, e.Holder.Started.Format(time.DateTime), where)
}

// ForeignError says that the data folder belongs to another user.
type ForeignError struct {
	Folder Folder
	Err    error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("data folder %s belongs to another user (%v): name a folder of your own with --data, or the URL of that user's gateway with --server", e.Folder, e.Err)
}

// Unwrap gives the cause.
func (e *ForeignError) Unwrap() error { return e.Err }

// foreign tells a fault of the folder from a folder that this user may not use.
func (f Folder) foreign(doing string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return &ForeignError{Folder: f, Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// lock is the hold on a data folder; the kernel lets go of it when the process dies.
type lock struct {
	file *os.File
	// crashed tells that the holder before did not let go of the folder in good order.
	crashed bool
}

// lock takes the folder for this process, or gives a *LockedError.
func (f Folder) lock() (*lock, error) {
	if err := os.MkdirAll(f.path("run"), 0o750); err != nil {
		return nil, f.foreign("making data folder", err)
	}
	file, err := os.OpenFile(f.path("up.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, f.foreign("opening lock of data folder", err)
	}
	var holder Holder
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = file.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking data folder %s: %w", f, err)
		}
		_ = readJSON(f.path("up.lock"), &holder) // the holder may be about to write it
		return nil, &LockedError{Folder: f, Holder: holder}
	}
	_ = readJSON(f.path("up.lock"), &holder) // empty after a stop in good order
	if err := file.Truncate(0); err != nil { // the gateway of a dead holder may still answer for a moment
		_ = file.Close()
		return nil, fmt.Errorf("clearing lock of data folder: %w", err)
	}
	return &lock{file: file, crashed: holder.PID != 0}, nil
}

// note writes who holds the folder.
func (l *lock) note(h Holder) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("noting who holds the data folder: %w", err)
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("noting who holds the data folder: %w", err)
	}
	if _, err := l.file.WriteAt(append(text, '\n'), 0); err != nil {
		return fmt.Errorf("noting who holds the data folder: %w", err)
	}
	return nil
}

func (l *lock) release() {
	_ = l.file.Truncate(0)
	_ = l.file.Close()
}

// Running tells who runs the folder now; ok is false if nobody does. A lark up that starts at the very moment of the
// call may find the folder taken.
func (f Folder) Running() (holder Holder, ok bool, err error) {
	file, err := os.Open(f.path("up.lock"))
	if errors.Is(err, os.ErrNotExist) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, f.foreign("reading lock of data folder", err)
	}
	defer func() { _ = file.Close() }()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return Holder{}, false, nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return Holder{}, false, fmt.Errorf("trying lock of data folder: %w", err)
	}
	_ = readJSON(f.path("up.lock"), &holder) // empty while the holder starts
	return holder, true, nil
}

// Place is where a child listens, kept in run/<stage>.json.
type Place struct {
	PID int `json:"pid"`
	// HTTPAddr serves /healthz and /readyz, and /metrics where there is no AdminAddr.
	HTTPAddr string `json:"http_addr"`
	// AdminAddr is where the gateway serves /metrics and /debug, and takes the stages' traces.
	AdminAddr string `json:"admin_addr,omitempty"`
	// KafkaAddr is the broker's address.
	KafkaAddr string    `json:"kafka_addr,omitempty"`
	Started   time.Time `json:"started"`
}

// Place reads where a stage listens or listened last.
func (f Folder) Place(stage string) (Place, error) {
	var p Place
	err := readJSON(f.path("run", stage+".json"), &p)
	return p, err
}

func (f Folder) setPlace(stage string, p Place) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("recording %s: %w", stage, err)
	}
	path := f.path("run", stage+".json")
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("recording %s: %w", stage, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("recording %s: %w", stage, err)
	}
	return nil
}

func readJSON(path string, to any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// Abs makes a data folder of a path that the user gave.
func Abs(dir string) (Folder, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the data folder: %w", err)
	}
	return Folder(abs), nil
}
