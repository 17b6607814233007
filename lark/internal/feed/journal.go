package feed

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// journal remembers which jobs were published to this installation: a line of the file is a job's id and the installation's id. The file may
// know of other installations as well; their jobs are not published here yet. Without a file, the journal remembers this run's jobs alone.
type journal struct {
	file         *os.File
	installation string
	ids          map[string]bool
}

// openJournal reads the journal. A line without an installation is from before journals knew of installations: its job is published again, which
// changes nothing where the job is known.
func openJournal(path, installation string) (*journal, error) {
	j := &journal{installation: installation, ids: map[string]bool{}}
	if path == "" {
		return j, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the journal, which remembers what was published: %w: name a file that can be written with --journal", err)
	}
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		if id, place, _ := strings.Cut(scan.Text(), " "); place == installation {
			j.ids[id] = true
		}
	}
	if err := scan.Err(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading journal %s: %w", path, err)
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
		text = fmt.Appendf(text, "%s %s\n", id, j.installation)
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
