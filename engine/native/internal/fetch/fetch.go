// Package fetch gets the prebuilt libraries of llama.cpp from npm's packages, verified against pinned hashes.
package fetch

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pins names the packages of each variant and their hashes: the one place where they stand. The hashes are what
// `npm view NAME@VERSION dist.integrity` says.
//
//go:embed packages.json
var pins []byte

const (
	// maxLibrary bounds what is unpacked of one file: CUDA's kernels are the largest, 375 MB.
	maxLibrary = 1 << 30
	stampFile  = ".packages"
)

// Package is one npm package.
type Package struct {
	Name string `json:"name"`
	// Integrity is "sha512-" and the base64 of the SHA-512 of the package's archive.
	Integrity string `json:"integrity"`
}

// Variant is a set of libraries for a platform: what its packages hold, later ones over earlier ones.
type Variant struct {
	Name     string    `json:"name"`
	Platform string    `json:"platform"` // GOOS/GOARCH
	Packages []Package `json:"packages"`
}

type pinned struct {
	Release  string    `json:"release"`
	Variants []Variant `json:"variants"`
}

// Download puts the archive of an npm package, NAME@VERSION, into dir and returns its path.
type Download func(ctx context.Context, spec, dir string) (string, error)

// Fetch unpacks the variant for the platform into the folder dir/variant, which is complete or not there. It does
// nothing if the folder holds the pinned packages already. It tells whether it fetched anything.
func Fetch(ctx context.Context, dir, variant, platform string, download Download) (bool, error) {
	var p pinned
	if err := json.Unmarshal(pins, &p); err != nil {
		return false, fmt.Errorf("reading the pinned packages: %w", err)
	}
	return p.fetch(ctx, dir, variant, platform, download)
}

func (p pinned) fetch(ctx context.Context, dir, variant, platform string, download Download) (bool, error) {
	v, err := p.choose(variant, platform)
	if err != nil {
		return false, err
	}
	target := filepath.Join(dir, v.Name)
	if stamp, err := os.ReadFile(filepath.Join(target, stampFile)); err == nil && string(stamp) == v.stamp() {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs of other users run from here
		return false, fmt.Errorf("making the folder of the libraries: %w", err)
	}
	work, err := os.MkdirTemp(dir, "."+v.Name+"-*")
	if err != nil {
		return false, fmt.Errorf("making a folder to unpack in: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	ready := filepath.Join(work, "ready")
	if err := os.Mkdir(ready, 0o755); err != nil { //nolint:gosec // programs of other users run from here
		return false, fmt.Errorf("making a folder to unpack in: %w", err)
	}
	for _, pkg := range v.Packages {
		if err := pkg.fetch(ctx, p.Release, work, ready, download); err != nil {
			return false, err
		}
	}
	return true, v.install(work, ready, target)
}

func (p pinned) choose(variant, platform string) (Variant, error) {
	var here []string
	for _, v := range p.Variants {
		if v.Platform != platform {
			continue
		}
		if v.Name == variant {
			return v, nil
		}
		here = append(here, v.Name)
	}
	if len(here) == 0 {
		return Variant{}, fmt.Errorf("no libraries are pinned for %s: build llama.cpp's release as shared libraries and name their folder with LARK_NATIVE_DIR", platform)
	}
	return Variant{}, fmt.Errorf("no variant %q is pinned for %s, but %s", variant, platform, strings.Join(here, ", "))
}

func (v Variant) stamp() string {
	var lines []string
	for _, p := range v.Packages {
		lines = append(lines, p.Name+" "+p.Integrity+"\n")
	}
	return strings.Join(lines, "")
}

// install puts the unpacked folder in the place of target. A reader sees the old folder, none, or the new one.
func (v Variant) install(work, ready, target string) error {
	if err := os.WriteFile(filepath.Join(ready, stampFile), []byte(v.stamp()), 0o600); err != nil {
		return fmt.Errorf("writing the stamp of the libraries: %w", err)
	}
	if err := os.Rename(target, filepath.Join(work, "old")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("putting the old libraries away: %w", err)
	}
	if err := os.Rename(ready, target); err != nil {
		return fmt.Errorf("putting the libraries in place: %w", err)
	}
	return nil
}

func (p Package) fetch(ctx context.Context, release, work, ready string, download Download) error {
	spec := p.Name + "@" + release
	archive, err := download(ctx, spec, work)
	if err != nil {
		return fmt.Errorf("getting %s: %w", spec, err)
	}
	if err := p.verify(archive); err != nil {
		return fmt.Errorf("checking %s: %w", spec, err)
	}
	if err := unpack(archive, ready); err != nil {
		return fmt.Errorf("unpacking %s: %w", spec, err)
	}
	return os.Remove(archive)
}

func (p Package) verify(archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != p.Integrity {
		return fmt.Errorf("its hash is %s, pinned is %s: it is not the package that was tested", got, p.Integrity)
	}
	return nil
}

// unpack writes the archive's libraries and its licence flat into dir.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	libraries := 0
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := path.Base(header.Name)
		if header.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if err := write(filepath.Join(dir, name), r, header.Size); err != nil {
			return err
		}
		if name != "LICENSE" {
			libraries++
		}
	}
	if libraries == 0 {
		return errors.New("there are no libraries in it")
	}
	return nil
}

// wanted picks what the binding loads. libllama-common belongs to llama.cpp's programs.
func wanted(name string) bool {
	return name == "LICENSE" || strings.HasPrefix(name, "lib") && !strings.HasPrefix(name, "libllama-common") &&
		slices.Contains([]string{".so", ".dylib", ".metal", ".metallib"}, path.Ext(name))
}

func write(name string, r io.Reader, size int64) error {
	if size > maxLibrary {
		return fmt.Errorf("%s has %d bytes, more than %d", filepath.Base(name), size, maxLibrary)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) //nolint:gosec // programs of other users run from here
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, r, size); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// NPM downloads with npm, from the registry that it is set to.
func NPM(ctx context.Context, spec, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("npm is not installed: apt install npm, or brew install node")
	}
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--pack-destination", dir, spec)
	var report strings.Builder
	cmd.Stderr = &report
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running npm pack: %w: %s", err, strings.TrimSpace(report.String()))
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return "", errors.New("npm pack named no file")
	}
	return filepath.Join(dir, filepath.Base(lines[len(lines)-1])), nil
}
