package cache

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Codec is how the body of a stored tensor is packed.
type Codec uint8

const (
	// Plain stores the numbers as they are.
	Plain Codec = 0
	// Zstd stores the first bytes of all numbers, then their second bytes, and so on, compressed by zstd. The bytes with sign and exponent are
	// alike and pack well; together with the bytes of the mantissa, which are noise, they would not.
	Zstd Codec = 1
)

// DefaultCodec of new values: compression saves next to nothing of 16-bit floats, see docs/benchmarks/cache.md.
const DefaultCodec = Plain

var errLegacyCodec = fmt.Errorf("%w: version 1 knows no codec", ErrCorrupt)

// zstdEncoder and zstdDecoder are made once; both are safe for concurrent use and keep no goroutines.
var (
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	})
	zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		// DecodeAll never writes beyond the capacity that it is given, so that a bomb ends there.
		return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(MaxEncoded), zstd.WithDecoderConcurrency(0))
	})
)

// pack replaces the plain body that begins at out[at] by the packed one, if that is smaller, and tells the codec that it then has.
func (c Codec) pack(out []byte, at, width int) ([]byte, Codec, error) {
	switch c {
	case Plain:
		return out, Plain, nil
	case Zstd:
	default:
		return nil, 0, fmt.Errorf("unknown codec %d", c)
	}
	encoder, err := zstdEncoder()
	if err != nil {
		return nil, 0, err
	}
	plain := out[at:]
	planes := make([]byte, len(plain))
	shuffle(planes, plain, width)
	packed := encoder.EncodeAll(planes, make([]byte, at, len(out)))
	if len(packed) >= len(out) {
		return out, Plain, nil
	}
	return packed, Zstd, nil
}

// unpack returns the plain body of size bytes.
func (c Codec) unpack(body []byte, size, width int) ([]byte, error) {
	switch c {
	case Plain:
		return body, nil
	case Zstd:
	default:
		return nil, fmt.Errorf("unknown codec %d", c)
	}
	decoder, err := zstdDecoder()
	if err != nil {
		return nil, err
	}
	// The frame says its size: a body that does not hold what the head promises is refused before the memory for it is taken.
	var frame zstd.Header
	if err := frame.Decode(body); err != nil || !frame.HasFCS || frame.FrameContentSize != uint64(size) {
		return nil, fmt.Errorf("the compressed body does not hold %d bytes", size)
	}
	planes, err := decoder.DecodeAll(body, make([]byte, 0, size))
	if err != nil {
		return nil, err
	}
	if len(planes) != size {
		return nil, errors.New("the compressed body is too short")
	}
	plain := make([]byte, size)
	unshuffle(plain, planes, width)
	return plain, nil
}

// shuffle puts byte k of every number of width bytes into plane k.
func shuffle(planes, plain []byte, width int) {
	n := len(plain) / width
	for k := range width {
		plane := planes[k*n : (k+1)*n]
		for i := range plane {
			plane[i] = plain[i*width+k]
		}
	}
}

func unshuffle(plain, planes []byte, width int) {
	n := len(plain) / width
	for k := range width {
		for i, b := range planes[k*n : (k+1)*n] {
			plain[i*width+k] = b
		}
	}
}
