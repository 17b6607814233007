package native

import (
	"debug/elf"
	"debug/macho"
	"fmt"
	"os"
	"runtime"
)

const remedyDamaged = "the file is damaged or for another platform: remove the folder and run `make native`"

// whole refuses files that the dynamic linker would map and then crash on: it does not look whether a library
// ends before its segments do.
func whole(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	check := wholeELF
	if runtime.GOOS == "darwin" {
		check = wholeMachO
	}
	if err := check(path, uint64(info.Size())); err != nil {
		return fmt.Errorf("%w (%w): %s", ErrMismatch, err, remedyDamaged)
	}
	return nil
}

func wholeELF(path string, size uint64) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Type != elf.ET_DYN || f.Machine != want {
		return fmt.Errorf("it is %s for %s, not a library for %s", f.Type, f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Off > size || p.Filesz > size-p.Off {
			return fmt.Errorf("it ends at byte %d, before its segments do", size)
		}
	}
	return nil
}

func wholeMachO(path string, size uint64) error {
	f, err := macho.Open(path)
	if err != nil {
		return err // files for several platforms too: no package holds one
	}
	defer func() { _ = f.Close() }()
	want := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}[runtime.GOARCH]
	if f.Type != macho.TypeDylib || f.Cpu != want {
		return fmt.Errorf("it is %s for %s, not a library for %s", f.Type, f.Cpu, want)
	}
	for _, l := range f.Loads {
		if s, ok := l.(*macho.Segment); ok && (s.Offset > size || s.Filesz > size-s.Offset) {
			return fmt.Errorf("it ends at byte %d, before its segments do", size)
		}
	}
	return nil
}
