package handle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
)

// errOtherAudio says that the object under the name of a digest has another digest.
var errOtherAudio = errors.New("the stored audio is not what was submitted")

// source is an audio file of the object store that is hashed while a decoder reads it. Not for concurrent use.
type source struct {
	store *blob.Store
	file  struct{ key, sha256 string }
	body  io.ReadCloser
	sum   hash.Hash
}

func newSource(store *blob.Store, key, sha256 string) *source {
	s := &source{store: store}
	s.file.key, s.file.sha256 = key, sha256
	return s
}

// open begins again at the start of the file. A decoder's Close leaves the file open for verify; close closes it.
func (s *source) open(ctx context.Context) (io.ReadCloser, error) {
	s.close()
	body, err := s.store.Get(ctx, s.file.key)
	if err != nil {
		return nil, err
	}
	s.body, s.sum = body, sha256.New()
	return io.NopCloser(io.TeeReader(body, s.sum)), nil
}

// verify hashes what the decoder has left unread, and returns errOtherAudio if the digest is another than the file's name says.
func (s *source) verify(ctx context.Context) error {
	if s.body == nil {
		return nil
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := s.body.Read(buf)
		s.sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("hashing audio: %w", err)
		}
	}
	if event.HexSum(s.sum) != s.file.sha256 {
		return errOtherAudio
	}
	return nil
}

func (s *source) close() {
	if s.body != nil {
		_ = s.body.Close() // what was read has been read
	}
}
