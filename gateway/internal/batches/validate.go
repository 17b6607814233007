package batches

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

const (
	// maxFaults is how many faults of a file are told.
	maxFaults = 100
	// maxCustomID bounds the caller's own ids, in characters.
	maxCustomID = 512
	// addAtOnce is how many requests one transaction adds.
	addAtOnce = 500
)

// validate reads the file of a batch, which costs no memory however large its lines are, and notes where its requests lie.
func (c *Controller) validate(ctx context.Context, b store.Batch) error {
	in, err := c.input(ctx, b)
	if missing(err) {
		_, err = c.deps.Store.ValidBatch(ctx, b.ID, 0, []store.BatchFault{{Code: "file_not_found", Message: "the input file has been deleted or has expired", Param: "input_file_id"}})
		return err
	}
	if err != nil {
		return err
	}
	v := &validation{batch: b, seen: make(map[string]int)}
	r := bufio.NewReaderSize(io.NewSectionReader(in, 0, 1<<62), 64<<10)
	for line := 1; ; line++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := v.line(r, line); err != nil || !more {
			if err != nil {
				return fmt.Errorf("reading the file of the batch: %w", err)
			}
			break
		}
		if len(v.items) >= addAtOnce && len(v.faults) == 0 {
			if err := c.deps.Store.AddBatchItems(ctx, b.ID, v.items); err != nil {
				return err
			}
			v.items = v.items[:0]
		}
		if len(v.faults) >= maxFaults || v.total > openai.MaxLines {
			break
		}
	}
	switch {
	case v.total > openai.MaxLines:
		v.faults = append(v.faults, store.BatchFault{Code: "too_many_tasks", Message: fmt.Sprintf("the file has more than %d requests", openai.MaxLines)})
	case v.total == 0 && len(v.faults) == 0:
		v.faults = append(v.faults, store.BatchFault{Code: "empty_file", Message: "the file has no requests"})
	}
	if len(v.faults) == 0 && len(v.items) > 0 {
		if err := c.deps.Store.AddBatchItems(ctx, b.ID, v.items); err != nil {
			return err
		}
	}
	_, err = c.deps.Store.ValidBatch(ctx, b.ID, v.total, v.faults)
	return err
}

// validation of a file.
type validation struct {
	batch  store.Batch
	seen   map[string]int // lines by custom_id
	at     int64          // where the next line begins
	total  int
	items  []store.BatchItem // not added yet
	faults []store.BatchFault
}

// line reads one line. more is false at the end of the file.
func (v *validation) line(r *bufio.Reader, n int) (more bool, err error) {
	from := v.at
	l := &lineReader{r: r}
	raw, wrong := openai.Split(l, func(_ string, audio io.Reader) (string, error) {
		_, err := io.Copy(io.Discard, audio)
		return "audio", err
	}, "body")
	if err := l.drain(); err != nil {
		return false, err
	}
	v.at += l.read
	if l.blank {
		return !l.last, nil
	}
	v.total++
	var p *client.Problem
	switch {
	case errors.As(wrong, &p):
		v.fault(n, "invalid_json_line", p.Detail, "")
	case wrong != nil:
		v.fault(n, "invalid_json_line", "the line cannot be read", "")
	default:
		if id, ok := v.request(n, raw); ok {
			v.items = append(v.items, store.BatchItem{N: n, CustomID: id, From: from, Bytes: l.read})
		}
	}
	return !l.last, nil
}

// request checks what stands around the request of a line.
func (v *validation) request(n int, raw []byte) (id string, ok bool) {
	var line openai.RequestLine
	if err := json.Unmarshal(raw, &line); err != nil {
		v.fault(n, "invalid_request", "custom_id, method and url are texts, and body is an object", "")
		return "", false
	}
	before := v.seen[line.CustomID]
	switch {
	case line.CustomID == "":
		v.fault(n, "missing_required_parameter", "custom_id is missing", "custom_id")
	case utf8.RuneCountInString(line.CustomID) > maxCustomID:
		v.fault(n, "invalid_custom_id", fmt.Sprintf("custom_id has more than %d characters", maxCustomID), "custom_id")
	case before > 0:
		v.fault(n, "duplicate_custom_id", fmt.Sprintf("custom_id stands in line %d already", before), "custom_id")
	case line.Method != "POST":
		v.fault(n, "invalid_method", "method must be POST", "method")
	case line.URL != v.batch.Spec.Endpoint:
		v.fault(n, "mismatched_url", "url must be the endpoint of the batch, "+v.batch.Spec.Endpoint, "url")
	case len(line.Body) == 0 || line.Body[0] != '{':
		v.fault(n, "missing_required_parameter", "body is missing or no object", "body")
	default:
		v.seen[line.CustomID] = n
		return line.CustomID, true
	}
	return "", false
}

func (v *validation) fault(line int, code, message, param string) {
	v.faults = append(v.faults, store.BatchFault{Code: code, Message: message, Line: &line, Param: param})
}

// lineReader reads up to the end of a line, which it takes too.
type lineReader struct {
	r     *bufio.Reader
	read  int64
	ended bool
	last  bool // it was ended by the end of the file
	blank bool // it has white space only
	begun bool
}

// Read implements io.Reader.
func (l *lineReader) Read(p []byte) (int, error) {
	if !l.begun {
		l.begun, l.blank = true, true
	}
	if l.ended || len(p) == 0 {
		return 0, io.EOF
	}
	if _, err := l.r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			l.ended, l.last = true, true
		}
		return 0, err
	}
	held, err := l.r.Peek(min(l.r.Buffered(), len(p)))
	if err != nil {
		return 0, err
	}
	for i, c := range held {
		if c == '\n' {
			l.ended = true
			held = held[:i+1]
			break
		}
		if l.blank && c != ' ' && c != '\t' && c != '\r' {
			l.blank = false
		}
	}
	n := copy(p, held)
	l.read += int64(n)
	_, err = l.r.Discard(n)
	return n, err
}

// drain reads what is left of the line.
func (l *lineReader) drain() error {
	_, err := io.Copy(io.Discard, l)
	return err
}
