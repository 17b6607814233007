package dataset

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// tool is a program that annotates clips, one after the other, over its standard input and output.
type tool struct {
	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
}

// toolRequest is the line that a tool reads. Start and End are seconds in the file; End 0 = to its end.
type toolRequest struct {
	Clip  string  `json:"clip"`
	Audio string  `json:"audio"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
}

func startTool(ctx context.Context, command []string) (*tool, error) {
	ctx, cancel := context.WithCancel(ctx)
	t := &tool{cmd: exec.CommandContext(ctx, command[0], command[1:]...), cancel: cancel}
	t.cmd.Stderr = os.Stderr
	var err error
	if t.in, err = t.cmd.StdinPipe(); err == nil {
		var out io.ReadCloser
		if out, err = t.cmd.StdoutPipe(); err == nil {
			t.out = bufio.NewReaderSize(out, 1<<16)
			err = t.cmd.Start()
		}
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("starting the annotating command: %w", err)
	}
	return t, nil
}

// annotate asks for one clip. A tool that cannot annotate a clip answers {}; one that ends or writes something else ends the run.
func (t *tool) annotate(ctx context.Context, r toolRequest) (map[string]json.RawMessage, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if _, err := t.in.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("asking the annotating command about clip %s: %w: it has ended", r.Clip, err)
	}
	answer, err := readLine(t.out)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what the annotating command says of clip %s: %w: it must write one line of JSON for each it reads", r.Clip, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(answer, &fields); err != nil {
		return nil, fmt.Errorf("the annotating command wrote %.80q of clip %s, which is no JSON object: %w", answer, r.Clip, err)
	}
	return fields, nil
}

// close ends the tool: its input ends first, so that it can end by itself.
func (t *tool) close() error {
	err := t.in.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	waited := t.cmd.Wait()
	t.cancel()
	var exit *exec.ExitError
	if errors.As(waited, &exit) && exit.ExitCode() == -1 {
		waited = nil // stopped with the run
	}
	if waited != nil {
		return fmt.Errorf("the annotating command: %w", waited)
	}
	return err
}
