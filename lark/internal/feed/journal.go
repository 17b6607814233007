package feed

import (
	"bufio"
	"fmt"
	"os"
)

// journal remembers the ids of published jobs, one per line. Without a file it remembers this run's alone.
type journal struct {
	file *os.File
	ids  map[string]bool
}

func openJournal(path string) (*journal, error) {
	j := &journal{ids: map[string]bool{}}
	if path == "" {
		return j, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		j.ids[scan.Text()] = true
	}
	if err := scan.Err(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	j.file = file
	return j, nil
}

func (j *journal) has(id string) bool { return j.ids[id] }

// add notes jobs durably.
func (j *journal) add(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	var text []byte
	for _, id := range ids {
		j.ids[id] = true
		text = append(append(text, id...), '\n')
	}
	if j.file == nil {
		return nil
	}
	if _, err := j.file.Write(text); err != nil {
		return fmt.Errorf("writing journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("writing journal: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("closing journal: %w", err)
	}
	return nil
}
