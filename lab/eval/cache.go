package eval

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// answerCache keeps answers in a file, a JSON object a line, so that a run that was stopped goes on where it was. It is safe for concurrent use.
type answerCache struct {
	mu    sync.Mutex
	known map[string]string
	file  *os.File
}

type cachedAnswer struct {
	Key    string `json:"key"`
	Answer string `json:"answer"`
}

// openCache reads path, which need not exist; "" keeps answers in memory only. A last line that was cut off is written over.
func openCache(path string) (*answerCache, error) {
	c := &answerCache{known: map[string]string{}}
	if path == "" {
		return c, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening answers that were kept: %w", err)
	}
	c.file = file
	good := int64(0)
	read := bufio.NewReaderSize(file, 1<<16)
	for {
		line, err := read.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var a cachedAnswer
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading %s: %w: it holds no kept answers; name another file with --cache, or delete it", path, err), file.Close())
		}
		c.known[a.Key] = a.Answer
		good += int64(len(line))
	}
	if err := errors.Join(file.Truncate(good), seek(file, good)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening answers that were kept: %w", err), file.Close())
	}
	return c, nil
}

func seek(file *os.File, at int64) error {
	_, err := file.Seek(at, io.SeekStart)
	return err
}

// cacheKey names the answer of a model to a question about audio.
func cacheKey(modelDigest, audioSum, question string) string {
	h := sha256.New()
	for _, part := range []string{modelDigest, audioSum, question} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *answerCache) get(key string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.known[key]
	return a, ok
}

func (c *answerCache) put(key, answer string) error {
	line, err := json.Marshal(cachedAnswer{key, answer})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[key] = answer
	if c.file == nil {
		return nil
	}
	if _, err := c.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("keeping answers: %w", err)
	}
	return nil
}

func (c *answerCache) close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// sumOf is the SHA-256 of a file, in hex.
func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
