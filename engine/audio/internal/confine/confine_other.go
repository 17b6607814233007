//go:build !linux

package audio

import (
	"context"
	"os/exec"
)

// confinement is what a child process is cut off from beyond its limits: only Linux has namespaces.
type confinement struct{}

func confine(context.Context) confinement { return confinement{} }

func (confinement) apply(*exec.Cmd) {}

func (confinement) String() string { return "no namespaces (only Linux has them)" }
