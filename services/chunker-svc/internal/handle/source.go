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
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
)

// errOtherAudio says that the object under the name of a digest has another digest.
var errOtherAudio = errors.New("the stored audio is not what was submitted")

// original is an audio file, stored or read where it lies, that is hashed while a decoder reads it. Not for concurrent use.
type original struct {
	places *source.Sources
	store  *blob.Store
	file   *eventpb.Audio
	body   io.ReadCloser
	sum    hash.Hash
}

// size is the size of the file in bytes.
func (s *original) size(ctx context.Context) (int64, error) {
	if s.file.GetUri() == "" {
		return s.store.Size(ctx, s.file.GetBlobKey())
	}
	o, err := s.places.Open(ctx, s.file.GetUri())
	if err != nil {
		return 0, err
	}
	return o.Bytes, o.Close()
}

func (s *original) get(ctx context.Context) (io.ReadCloser, error) {
	if s.file.GetUri() == "" {
		return s.store.Get(ctx, s.file.GetBlobKey())
	}
	return s.places.Open(ctx, s.file.GetUri())
}

// open begins again at the start of the file. A decoder's Close leaves the file open for verify; close closes it.
func (s *original) open(ctx context.Context) (io.ReadCloser, error) {
	s.close()
	body, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	s.body, s.sum = body, sha256.New()
	return io.NopCloser(io.TeeReader(body, s.sum)), nil
}

// verify hashes what the decoder has left unread, and returns errOtherAudio or source.ErrChanged if the digest is another than the job says.
func (s *original) verify(ctx context.Context) error {
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
	switch {
	case event.HexSum(s.sum) == s.file.GetSha256():
		return nil
	case s.file.GetUri() != "":
		return fmt.Errorf("%w since the job was made: ask again", source.ErrChanged)
	}
	return errOtherAudio
}

func (s *original) close() {
	if s.body != nil {
		_ = s.body.Close() // what was read has been read
	}
}
