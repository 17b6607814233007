package audio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of one ffmpeg process beside the wall time: address space, CPU time, and no files written.
const (
	ffmpegMemoryKB  = 2 << 20
	ffmpegStderr    = 4 << 10
	ffmpegWaitDelay = 2 * time.Second
)

// endedEarly is what the matroska demuxer says of a truncated file, and no more than that.
const endedEarly = "File ended prematurely"

// ulimits sets the limits in the process that becomes ffmpeg, so that it never runs without them. A limit that the
// system does not have (macOS knows no -v) is passed over.
const ulimits = `ulimit -c 0; ulimit -f 0; ulimit -t "$1"; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"`

// ffmpeg decodes the formats that have no decoder in Go. The child sees one file, reads no network, and
// hands back a float WAV stream at the file's own rate and channels: resampling and downmix stay ours.
type ffmpeg struct {
	path    string // of the program; "" if not installed
	scratch string // folder for the copy that ffmpeg seeks in
	limits  Limits
}

func (f ffmpeg) open(ctx context.Context, r io.Reader, ft format) (*source, error) {
	if f.path == "" {
		return nil, &Error{Code: NeedsFFmpeg, Err: fmt.Errorf(
			"reading %s needs ffmpeg: install it (apt install ffmpeg, brew install ffmpeg) where chunker-svc runs", ft.name)}
	}
	file, err := f.copyIn(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &ffmpegProcess{cmd: f.command(ctx, file, ft), file: file, name: ft.name}
	s, err := p.start()
	if err != nil {
		cancel()
		p.finish()
		return nil, err
	}
	s.close = func() {
		cancel()
		p.finish()
	}
	return s, nil
}

// copyIn writes the file to the scratch folder, since some formats keep their index at the end.
func (f ffmpeg) copyIn(r io.Reader) (string, error) {
	file, err := os.CreateTemp(f.scratch, "lark-ffmpeg-*")
	if err != nil {
		return "", fmt.Errorf("making scratch file: %w", err)
	}
	_, err = io.Copy(file, r)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("writing scratch file: %w", err), os.Remove(file.Name()))
	}
	return file.Name(), nil
}

func (f ffmpeg) command(ctx context.Context, file string, ft format) *exec.Cmd {
	seconds := int(f.limits.Timeout/time.Second) + 1
	args := []string{
		"-c", ulimits, "sh", strconv.Itoa(seconds), strconv.Itoa(ffmpegMemoryKB), f.path,
		"-hide_banner", "-nostdin", "-loglevel", "error",
	}
	if !ft.stream {
		args = append(args, "-xerror") // a packet that is missing or damaged ends it
	}
	args = append(args,
		"-threads", "1", "-protocol_whitelist", "file,pipe", "-f", ft.demuxer, "-i", "file:"+file,
		"-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1",
		"-t", strconv.Itoa(int(f.limits.Duration/time.Second)+2),
		"-threads", "1", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1")
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Dir = filepath.Dir(file)
	cmd.WaitDelay = ffmpegWaitDelay
	return cmd
}

// ffmpegProcess is one running child and the scratch file that it reads.
type ffmpegProcess struct {
	cmd    *exec.Cmd
	file   string
	name   string
	stderr head
	waited bool
	err    error
}

func (p *ffmpegProcess) start() (*source, error) {
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting ffmpeg: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		p.waited = true
		return nil, fmt.Errorf("starting ffmpeg: %w", err)
	}
	s, err := openWAV(bufio.NewReaderSize(out, peekBytes))
	if err != nil {
		// No header came: what ffmpeg said of the file tells more than that.
		return nil, p.failure(err)
	}
	next := s.next
	s.next = func() ([]float32, error) {
		block, err := next()
		if err == nil || !errors.Is(err, io.EOF) {
			return block, err
		}
		if p.wait() != nil {
			return nil, p.failure(err)
		}
		if strings.Contains(p.stderr.String(), endedEarly) {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, io.EOF
	}
	return s, nil
}

func (p *ffmpegProcess) wait() error {
	if !p.waited {
		p.waited, p.err = true, p.cmd.Wait()
	}
	return p.err
}

func (p *ffmpegProcess) failure(err error) error {
	if waitErr := p.wait(); waitErr != nil {
		err = waitErr
	}
	said := strings.ReplaceAll(p.stderr.String(), p.file, "the file")
	return undecodable("decoding %s with ffmpeg: %w: %.300s", p.name, err, strings.TrimSpace(said))
}

func (p *ffmpegProcess) finish() {
	_ = p.wait() // killed by its context, or ended before
	_ = os.Remove(p.file)
}

// head keeps the first bytes that are written to it and drops the rest.
type head struct{ buf bytes.Buffer }

func (t *head) Write(b []byte) (int, error) {
	t.buf.Write(b[:min(len(b), ffmpegStderr-t.buf.Len())])
	return len(b), nil
}

func (t *head) String() string { return strings.ToValidUTF8(t.buf.String(), "?") }
