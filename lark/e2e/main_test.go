package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/larkstream/larkstream/gateway/pgtest"
	"github.com/larkstream/larkstream/lark/internal/supervise"
)

// environment is what all installations of one run of the suite share.
type environment struct {
	// dir holds all that the run writes.
	dir string
	// bin is the folder of the binaries, built from the tree as it is and kept, so that the next run links only what has changed.
	bin string
	// root is the folder of the repository.
	root string
	// kafka is nil in the embedded environment.
	kafka *kafkaServer
	// redis is nil in the embedded environment of a machine without redis-server.
	redis *redisServer
	// postgres is nil where no test needs it.
	postgres *pgtest.Server
	// databases are the databases on postgres, by the data folder of their installation.
	databases map[string]string
	// tester is nil while it does not run.
	tester *stack
}

// world is made by TestMain and only read by the tests.
var world environment

// preparation bounds the preparation of the suite, so that a download that hangs ends it. Building all binaries for the first time takes more than five minutes of a busy machine.
const preparation = 30 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("end-to-end suite skipped: -short") //nolint:forbidigo // tells the reader of the run why there is none
		return
	}
	dir, err := os.MkdirTemp("", "lark-e2e-")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), preparation)
	defer cancel()
	defer world.close(dir)
	if err := world.open(ctx, dir); err != nil {
		panic(fmt.Errorf("preparing the end-to-end suite: %w", err))
	}
	m.Run()
}

func (w *environment) open(ctx context.Context, dir string) error {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	w.dir, w.root, w.bin = dir, root, filepath.Join(root, "build", "e2e")
	if err := buildBinaries(ctx, root, w.bin); err != nil {
		return err
	}
	onKafka := os.Getenv("LARK_E2E_KAFKA") == "real"
	if _, missing := exec.LookPath("redis-server"); missing == nil || onKafka {
		if w.redis, err = startRedis(ctx, dir); err != nil {
			return err
		}
	}
	if onKafka {
		if w.kafka, err = startKafka(ctx, dir); err != nil {
			return err
		}
	}
	if onKafka || os.Getenv("LARK_E2E_DB") == "postgres" {
		if w.postgres, err = pgtest.Start(ctx, pgtest.Config{Durable: true}); err != nil {
			return err
		}
		w.databases = make(map[string]string)
	}
	return nil
}

// database is the DATABASE_URL of the installation in a data folder: SQLite, or PostgreSQL with LARK_E2E_DB=postgres.
func (w *environment) database(ctx context.Context, data string) (url string, err error) {
	if os.Getenv("LARK_E2E_DB") != "postgres" {
		return "sqlite://" + filepath.Join(data, "lark.db"), nil
	}
	if w.databases[data] == "" {
		w.databases[data], err = w.postgres.NewDatabase(ctx)
	}
	return w.databases[data], err
}

func (w *environment) close(dir string) {
	parkTester()
	if w.kafka != nil {
		w.kafka.stop()
	}
	if w.redis != nil {
		w.redis.stop()
	}
	if w.postgres != nil {
		_ = w.postgres.Close()
	}
	_ = os.RemoveAll(dir)
}

// buildBinaries builds lark and every service. The go tool builds only what has changed.
func buildBinaries(ctx context.Context, root, bin string) error {
	if err := os.MkdirAll(bin, 0o750); err != nil {
		return fmt.Errorf("making %s: %w", bin, err)
	}
	mains := []string{"./lark/cmd/lark", "./gateway/cmd/gateway"}
	for _, stage := range workStages() {
		mains = append(mains, fmt.Sprintf("./services/%[1]s-svc/cmd/%[1]s-svc", stage))
	}
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-ldflags=-s -w", "-o", bin + string(filepath.Separator)}, mains...)...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w: %s", err, out)
	}
	return nil
}

// childTimes are the times of the children that the suite supervises.
func childTimes() supervise.Config {
	return supervise.Config{MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Second, StopTimeout: 40 * time.Second}
}

// onlyEmbedded skips a test that a real broker would not make another one.
func onlyEmbedded(t *testing.T) {
	t.Helper()
	if world.kafka != nil {
		t.Skip("the broker does not matter to it, and it runs on the embedded one")
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// twoFreeAddrs returns two loopback addresses that were free a moment ago, below the ports that systems give to connections and to whoever asks for any:
// a stage comes back to its address after a kill, and somebody else's connection must not be there by then.
func twoFreeAddrs() (first, second string, err error) {
	var addrs []string
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15_000+rand.IntN(17_000)))
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue // somebody else has it
		}
		defer func() { _ = l.Close() }()
		if addrs = append(addrs, addr); len(addrs) == 2 {
			return addrs[0], addrs[1], nil
		}
	}
	return "", "", errors.New("finding a free port: none of a thousand is")
}
