package parked

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	lengthBytes = 4
	keyBytes    = 2
	// maxFrame is the longest request that is kept for a look at it. JoinGroup names a member's topics and partitions.
	maxFrame = 1 << 20
)

// frames finds the JoinGroup and SyncGroup requests in what a client sends: four bytes of length, then the request, which begins with two bytes
// that tell its kind.
type frames struct {
	length []byte
	left   int // bytes of the request that are to come
	kept   []byte
	keep   bool
}

// follow takes the next bytes and calls found with each request that ends in them. The request is valid during the call.
func (f *frames) follow(b []byte, found func(request []byte)) {
	for len(b) > 0 {
		if len(f.length) < lengthBytes {
			n := min(lengthBytes-len(f.length), len(b))
			f.length = append(f.length, b[:n]...)
			b = b[n:]
			if len(f.length) == lengthBytes {
				f.begin(int(binary.BigEndian.Uint32(f.length)))
			}
			continue
		}
		n := min(f.left, len(b))
		if len(f.kept) < keyBytes {
			n = min(n, keyBytes-len(f.kept))
		}
		f.take(b[:n], found)
		b = b[n:]
	}
}

func (f *frames) begin(size int) {
	f.left, f.kept, f.keep = size, nil, size <= maxFrame
	if size == 0 {
		f.length = f.length[:0]
	}
}

func (f *frames) take(b []byte, found func([]byte)) {
	if len(f.kept) < keyBytes || f.keep {
		f.kept = append(f.kept, b...)
	}
	if len(f.kept) == keyBytes {
		key := kmsg.Key(binary.BigEndian.Uint16(f.kept))
		f.keep = f.keep && (key == kmsg.JoinGroup || key == kmsg.SyncGroup)
	}
	if f.left -= len(b); f.left > 0 {
		return
	}
	if f.keep {
		found(f.kept)
	}
	f.length, f.kept = f.length[:0], nil
}

// parse reads who sends a JoinGroup or SyncGroup request, and its number; ok is false for all else.
func parse(request []byte) (number int32, m *member, ok bool) {
	r := kbin.Reader{Src: request}
	key, version := r.Int16(), r.Int16()
	number = r.Int32()
	r.NullableString() // the client's name
	if kmsg.Key(key) != kmsg.JoinGroup && kmsg.Key(key) != kmsg.SyncGroup {
		return 0, nil, false
	}
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if !r.Ok() || req.ReadFrom(r.Src) != nil {
		return 0, nil, false
	}
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		return number, &member{group: req.Group, id: req.MemberID}, true
	case *kmsg.SyncGroupRequest:
		return number, &member{group: req.Group, id: req.MemberID, syncs: true}, true
	}
	return 0, nil, false
}
