package api

import (
	"errors"
	"io"
)

// ErrNoRoom says that audio is not taken in because the disks or the object store have no room for it.
var ErrNoRoom = errors.New("there is no room for more audio")

const (
	// roomStep is how many bytes of an upload come in between two looks at the disks.
	roomStep = 16 << 20
	// roomAfter is when to try again, in seconds: a sweep may have made room.
	roomAfter = 60
)

// room asks whether bytes more can be taken in.
func (a *API) room(bytes int64) error {
	if a.deps.Room == nil {
		return nil
	}
	return a.deps.Room(bytes)
}

// roomy reads on only while there is room.
type roomy struct {
	io.Reader
	room func(bytes int64) error
	left int64 // bytes until the next look
}

func (r *roomy) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := r.room(roomStep); err != nil {
			return 0, err
		}
		r.left = roomStep
	}
	n, err := r.Reader.Read(p)
	r.left -= int64(n)
	return n, err
}
