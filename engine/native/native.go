// Package native loads llama.cpp's and ggml's shared libraries into the process, without cgo. The libraries are the
// prebuilt libraries that `make native` fetches, or the libraries in a folder that the user names. Package llama binds llama.h,
// package ggml binds ggml.h and ggml-backend.h.
//
// A fault inside the libraries ends the process (GGML_ASSERT aborts): the bindings check what they can before each
// call, and engines that use them run in a process of their own that a supervisor starts again.
package native

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

var (
	// ErrMissing is returned when there are no libraries in the folder.
	ErrMissing = errors.New("llama.cpp's libraries are not there")
	// ErrMismatch is returned for libraries that are not those the binding was written for.
	ErrMismatch = errors.New("llama.cpp's libraries are not those that this program was built for")
	// ErrUnsupported is returned on platforms that the binding does not know.
	ErrUnsupported = errors.New("llama.cpp's libraries cannot be loaded on this platform")
)

// Versions that the binding was written for, as the libraries name them.
const (
	LlamaVersion = abi.LlamaVersion
	GGMLVersion  = abi.GGMLVersion
)

// Deps is what Open needs of ours.
type Deps struct {
	// Log receives the libraries' own warnings and errors.
	Log *slog.Logger
}

// Part names one of the libraries that functions are bound from.
type Part int

// The libraries, in the order in which they are loaded.
const (
	Base  Part = iota // libggml-base: ggml.h, ggml-alloc.h, most of ggml-backend.h
	GGML              // libggml: the registry of backends and devices
	Llama             // libllama: llama.h
)

// Library is the loaded libraries. There is one for the process, and it stays loaded.
type Library struct {
	// Dir is the folder that the libraries came from.
	Dir string
	// Llama, GGML and Commit are the versions as the libraries name them.
	Llama, GGML, Commit string
	// Problems tells, for each backend library in Dir that could not be used, why, with the remedy where it is known.
	Problems []string

	handles [3]uintptr
	logs    *sink
}

// process is what the dynamic linker holds for this process. It is global because the linker's state is.
//
//nolint:gochecknoglobals // see above
var process struct {
	sync.Mutex
	library *Library
}

// Open loads the libraries of dir, or of the folder beside the executable when dir is empty (see Dir), and checks that
// they are the libraries that the binding was written for: versions, sizes and defaults of the structures passed by value. They are loaded once: opening
// the same folder again returns the same Library, another folder is refused.
// Errors are ErrMissing, ErrMismatch and ErrUnsupported with what was found, or say which library did not load and what to do.
func Open(dir string, deps Deps) (*Library, error) {
	if deps.Log == nil {
		return nil, errors.New("opening llama.cpp's libraries: a log is needed")
	}
	dir, err := Dir(dir)
	if err != nil {
		return nil, err
	}
	process.Lock()
	defer process.Unlock()
	loaded := process.library
	if loaded != nil && loaded.Dir == dir {
		return loaded, nil
	}
	paths, err := files(dir)
	if err == nil && loaded != nil {
		err = fmt.Errorf("those of %s are loaded already, and a process holds one set", loaded.Dir)
	}
	var l *Library
	if err == nil {
		l, err = open(dir, paths, deps.Log)
	}
	if err != nil {
		return nil, fmt.Errorf("opening llama.cpp's libraries in %s: %w", dir, err)
	}
	process.library = l
	return l, nil
}

// Explain runs a call that tells only whether it went well. If f returns false, Explain returns what the libraries
// reported meanwhile, on one line, and does not log it.
func (l *Library) Explain(f func() bool) string { return l.logs.capture(f) }

func absolute(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the folder of llama.cpp's libraries: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path, nil
}
