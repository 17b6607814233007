package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/larkstream/larkstream/lark/internal/supervise"
)

// redisServer is a real redis-server in a process of its own, without persistence.
type redisServer struct {
	addr, dir string
	child     *supervise.Child
	log       *os.File
}

func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	addr, _, err := twoFreeAddrs()
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: addr, dir: dir}
	if r.log, err = os.Create(filepath.Join(dir, "redis.log")); err != nil {
		return nil, fmt.Errorf("opening Redis's log: %w", err)
	}
	return r, r.start(ctx)
}

// start runs the server, also again after a stop, at the same address.
func (r *redisServer) start(ctx context.Context) error {
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return err
	}
	r.child = supervise.Start(childTimes(), supervise.Spec{
		Name: "redis", Output: r.log,
		Command: func() (*exec.Cmd, error) {
			return exec.CommandContext(context.WithoutCancel(ctx), "redis-server", "--bind", host, "--port", port, "--dir", r.dir,
				"--save", "", "--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lfu"), nil
		},
		Ready: func(ctx context.Context) error {
			_, err := r.do(ctx, "PING")
			return err
		},
	}, quiet())
	if err := r.child.WaitReady(ctx); err != nil {
		r.stop()
		return err
	}
	return nil
}

func (r *redisServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.child.Stop(ctx)
}

func (r *redisServer) url() string { return "redis://" + r.addr }

// do sends one inline command and returns the first line of the reply.
func (r *redisServer) do(ctx context.Context, command string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return "", fmt.Errorf("reaching Redis: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", fmt.Errorf("asking Redis: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("reading Redis's reply: %w", err)
	}
	if strings.HasPrefix(line, "-") {
		return "", fmt.Errorf("asking Redis %q: %s", command, strings.TrimSpace(line))
	}
	return strings.TrimSpace(line), nil
}
