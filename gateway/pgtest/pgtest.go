// Package pgtest runs a PostgreSQL server for tests and benchmarks: Debian's package postgresql, or any whose programs are in PATH. The server
// listens on loopback and is gone, with its files, after Close.
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	superuser   = "lark"
	startWait   = 60 * time.Second
	startPoll   = 20 * time.Millisecond
	connections = 200
)

// ErrNotInstalled says that this machine has no PostgreSQL server.
var ErrNotInstalled = errors.New("PostgreSQL's server is not installed; Debian has it in the package postgresql (.ci/deps postgres)")

// Config of a Server.
type Config struct {
	// Durable makes the server flush what it commits, as in production. Tests that do not kill it are faster without.
	Durable bool
}

// Server is a PostgreSQL server in a process of its own.
type Server struct {
	cfg            Config
	bin, dir, port string
	password       string
	credential     *syscall.Credential
	cmd            *exec.Cmd
	exited         chan struct{}
	log            bytes.Buffer
}

// Start makes a new server and returns once it answers. It fails with ErrNotInstalled where there is none.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, password: rand.Text()}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Run(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// programs is the folder of the newest server's programs.
func programs() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", ErrNotInstalled
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 comes first
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// prepare makes the server's folder. The server refuses to run as root, so that it then gets another user, who must reach the folder.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "lark-pg-"); err != nil {
		return fmt.Errorf("making the folder of PostgreSQL: %w", err)
	}
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("writing the password of PostgreSQL: %w", err)
	}
	if os.Geteuid() == 0 {
		if s.credential, err = unprivileged(); err != nil {
			return err
		}
		for _, path := range []string{s.dir, password} {
			if err := os.Chown(path, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
				return fmt.Errorf("handing the folder of PostgreSQL over: %w", err)
			}
		}
	}
	initdb := s.command(ctx, "initdb", "-D", s.data(), "-U", superuser, "--pwfile", password, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("making the data of PostgreSQL: %w: %s", err, out)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("finding a free port: %w", err)
	}
	_, s.port, err = net.SplitHostPort(l.Addr().String())
	return errors.Join(err, l.Close())
}

// unprivileged is a user that may run the server instead of root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err, err2)
	}
	return nil, errors.New("running PostgreSQL: root may not run it, and there is neither a user postgres nor nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential, Setpgid: true}
	return cmd
}

// Run starts the server and returns once it answers; also again after a Stop, with its data, at the same address.
func (s *Server) Run(ctx context.Context) error {
	args := []string{
		"-D", s.data(), "-p", s.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=" + strconv.Itoa(connections),
	}
	if !s.cfg.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	s.cmd = s.command(context.WithoutCancel(ctx), "postgres", args...)
	s.log.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	exited, cmd := make(chan struct{}), s.cmd
	s.exited = exited
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(exited)
	}()
	return s.wait(ctx)
}

// wait returns once the server takes connections.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	ticker := time.NewTicker(startPoll)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ticker.C:
		case <-s.exited:
			return fmt.Errorf("starting PostgreSQL: it has ended: %s", strings.TrimSpace(s.log.String()))
		case <-ctx.Done():
			return fmt.Errorf("starting PostgreSQL: it does not answer: %w", err)
		}
	}
}

// Addr is the server's address, host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// URL is the DATABASE_URL of a database of the server.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, s.password), Host: s.Addr(), Path: "/" + database}
	return u.String()
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(ctx context.Context) (string, error) { return s.newDatabase(ctx, "") }

// newDatabase makes a copy of a database that nobody is connected to; template "" is an empty one.
func (s *Server) newDatabase(ctx context.Context, template string) (string, error) {
	name := "lark_" + strings.ToLower(rand.Text())
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("making a database: %w", err)
	}
	create := "CREATE DATABASE " + name
	if template != "" {
		create += " TEMPLATE " + template
	}
	_, err = conn.Exec(ctx, create)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return "", fmt.Errorf("making a database: %w", err)
	}
	return s.URL(name), nil
}

// Stop ends the server as an operator does, who cuts its connections and waits for nobody. Its data stays.
func (s *Server) Stop() error { return s.signal(syscall.SIGINT) }

// Kill ends the server as a power cut does. Its data stays.
func (s *Server) Kill() error { return s.signal(syscall.SIGQUIT) }

func (s *Server) signal(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	err := s.Kill()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
