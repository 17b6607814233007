package ggml

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/larkstream/larkstream/engine/native"
)

// Kind is what a device is (ggml_backend_dev_type).
type Kind int32

// Kinds of devices.
const (
	CPU        Kind = 0
	GPU        Kind = 1
	Integrated Kind = 2 // a GPU that uses the processor's memory
)

func (k Kind) String() string {
	names := []string{"cpu", "gpu", "integrated gpu", "accelerator"}
	if k < 0 || int(k) >= len(names) {
		return "other"
	}
	return names[k]
}

// Device is something that computes.
type Device struct {
	Name        string // such as CPU, Vulkan0, CUDA0
	Description string // such as the product's name
	Kind        Kind

	lib *Library
	c   uintptr
}

// Devices lists the devices that the loaded backends found, in ggml's order.
func (l *Library) Devices() []Device {
	devices := make([]Device, l.c.devCount())
	for i := range devices {
		c := l.c.devGet(uintptr(i))
		devices[i] = Device{Name: l.c.devName(c), Description: l.c.devText(c), Kind: Kind(l.c.devKind(c)), lib: l, c: c}
	}
	return devices
}

// Device finds a device by its name, in any case of letters.
func (l *Library) Device(name string) (Device, error) {
	var names []string
	for _, d := range l.Devices() {
		if strings.EqualFold(d.Name, name) {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return Device{}, fmt.Errorf("there is no device %q, but: %s", name, strings.Join(names, ", "))
}

// Memory is the device's free and total memory in bytes; 0 where it does not know.
func (d Device) Memory() (free, total uint64) {
	var f, t uintptr
	d.lib.c.devMemory(d.c, &f, &t)
	return uint64(f), uint64(t)
}

// Supports tells whether the device can compute the node.
func (d Device) Supports(t Tensor) bool { return t.p != nil && d.lib.c.devSupports(d.c, t.p) }

// Memories are the kinds of memory that weights for this device may lie in: its own first, then those with layouts made for
// the processor (AMX, CPU_REPACK). An AMX memory takes only formats and shapes that Supports confirms.
func (d Device) Memories() []Memory {
	memories := []Memory{{lib: d.lib, c: d.lib.c.devBuffer(d.c)}}
	address := d.lib.c.regAddress(d.lib.c.devReg(d.c), "ggml_backend_dev_get_extra_bufts")
	if address == 0 {
		return memories
	}
	var extra func(device uintptr) *uintptr
	native.BindAddress(&extra, address)
	for p := extra(d.c); p != nil && *p != 0; p = (*uintptr)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		memories = append(memories, Memory{lib: d.lib, c: *p})
	}
	return memories
}

// Memory is a kind of memory (ggml_backend_buffer_type).
type Memory struct {
	lib *Library
	c   uintptr
}

// Name is ggml's name of the memory.
func (m Memory) Name() string { return m.lib.c.typeName(m.c) }

// Backend computes graphs on a device. It is for one goroutine at a time.
type Backend struct {
	Device Device
	c      uintptr
}

// Backend opens the device.
func (d Device) Backend() (*Backend, error) {
	if d.lib == nil {
		return nil, errors.New("opening device: there is none")
	}
	var c uintptr
	reason := d.lib.native.Explain(func() bool {
		c = d.lib.c.devInit(d.c, 0)
		return c != 0
	})
	if c == 0 {
		return nil, fmt.Errorf("opening device %s: %s", d.Name, orUnknown(reason))
	}
	return &Backend{Device: d, c: c}, nil
}

func orUnknown(reason string) string {
	if reason == "" {
		return "ggml gives no reason"
	}
	return reason
}

// Close frees the backend. Buffers and plans on it are closed before.
func (b *Backend) Close() {
	if b.c != 0 {
		b.Device.lib.c.backendFree(b.c)
		b.c = 0
	}
}

// SetThreads sets how many threads compute, where the device is a processor; others pass over it.
func (b *Backend) SetThreads(n int) error {
	if n < 1 || n > 512 {
		return fmt.Errorf("setting threads: %d is outside 1..512", n)
	}
	l := b.Device.lib
	if address := l.c.regAddress(l.c.devReg(b.Device.c), "ggml_backend_set_n_threads"); address != 0 && b.c != 0 {
		var set func(backend uintptr, n int32)
		native.BindAddress(&set, address)
		set(b.c, int32(n))
	}
	return nil
}

// Compute computes the graph, whose tensors have memory. All its nodes must be supported, see Graph.Unsupported.
func (b *Backend) Compute(g *Graph) error {
	if b.c == 0 || g.ctx.c == 0 {
		return errors.New("computing graph: the backend or the context is closed")
	}
	var status int32
	reason := b.Device.lib.native.Explain(func() bool {
		status = b.Device.lib.c.compute(b.c, g.c)
		return status == 0
	})
	return computed(status, reason)
}

func computed(status int32, reason string) error {
	if status != 0 {
		return fmt.Errorf("computing graph: status %d: %s", status, orUnknown(reason))
	}
	return nil
}
