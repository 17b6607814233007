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

// frames finds the JoinGroup, SyncGroup and LeaveGroup requests in what a client sends: four bytes of length, then the request, which begins with two bytes
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
		f.keep = f.keep && ofMembers(kmsg.Key(binary.BigEndian.Uint16(f.kept)))
	}
	if f.left -= len(b); f.left > 0 {
		return
	}
	if f.keep {
		found(f.kept)
	}
	f.length, f.kept = f.length[:0], nil
}

// ofMembers tells whether the request is one of those that package parked looks at.
func ofMembers(key kmsg.Key) bool {
	return key == kmsg.JoinGroup || key == kmsg.SyncGroup || key == kmsg.LeaveGroup
}

// parse reads who sends a JoinGroup, SyncGroup or LeaveGroup request, and its number; ok is false for all else. Clients name one member in a LeaveGroup request, and
// of several the first counts here.
func parse(request []byte) (number int32, m *member, ok bool) {
	r := kbin.Reader{Src: request}
	key, version := r.Int16(), r.Int16()
	number = r.Int32()
	r.NullableString() // the client's name
	if !ofMembers(kmsg.Key(key)) {
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
	m = &member{asks: kmsg.Key(key), answered: make(chan struct{})}
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		m.group, m.id = req.Group, req.MemberID
	case *kmsg.SyncGroupRequest:
		m.group, m.id = req.Group, req.MemberID
	case *kmsg.LeaveGroupRequest:
		m.group, m.id = req.Group, req.MemberID
		if len(req.Members) > 0 {
			m.id = req.Members[0].MemberID
		}
	}
	return number, m, true
}
