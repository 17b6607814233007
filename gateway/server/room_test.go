package server

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/shared/blob"
)

func TestRoomOnDisk(t *testing.T) {
	t.Parallel()
	blobs, err := blob.Open(t.Context(), "file://"+t.TempDir())
	require.NoError(t, err)
	free, known, err := blobs.Free()
	require.NoError(t, err)
	if !known {
		t.Skip("the system does not tell how much is free")
	}
	r := newRoom(SweepConfig{MinFreeBytes: 1}, t.TempDir(), blobs)
	require.NoError(t, r.ask(0))
	require.ErrorIs(t, r.ask(math.MaxInt64/2), api.ErrNoRoom, "more than there is")
	r.cfg.MinFreeBytes = math.MaxInt64
	require.ErrorIs(t, r.ask(0), api.ErrNoRoom)
	require.ErrorContains(t, r.ask(0), "sweep.min_free_bytes")
	r.cfg.MinFreeBytes = 0
	require.NoError(t, r.ask(2*free), "no check")
}

func TestRoomInTheObjectStore(t *testing.T) {
	t.Parallel()
	blobs, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	r := newRoom(SweepConfig{MaxBytes: 1000}, t.TempDir(), blobs)
	swept := 0
	r.sweep = func() { swept++ }
	for _, held := range []int64{0, 1000, 1100} {
		r.held.Store(held)
		require.NoError(t, r.ask(1<<40))
	}
	require.Zero(t, swept)
	r.held.Store(1101)
	require.ErrorIs(t, r.ask(0), api.ErrNoRoom)
	require.ErrorContains(t, r.ask(0), "sweep.max_bytes")
	require.Equal(t, 2, swept, "a sweep may make room")
	r.cfg.MaxBytes = 0
	require.NoError(t, r.ask(0), "no limit")
}
