package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type entry struct {
	name, content string
	kind          byte
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	w := tar.NewWriter(zipped)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o755, Typeflag: e.kind, Size: int64(len(e.content))}
		if e.kind == tar.TypeSymlink {
			h.Linkname, h.Size, e.content = "/etc/passwd", 0, ""
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zipped.Close())
	return b.Bytes()
}

func pin(name string, content []byte) Package {
	sum := sha512.Sum512(content)
	return Package{Name: name, Integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
}

// registry serves archives by NAME@VERSION.
type registry map[string][]byte

func (r registry) download(_ context.Context, spec, dir string) (string, error) {
	content, ok := r[spec]
	if !ok {
		return "", errors.New("not found")
	}
	path := filepath.Join(dir, "package.tgz")
	return path, os.WriteFile(path, content, 0o600)
}

func setup(t *testing.T) (p pinned, r registry, dir string) {
	t.Helper()
	cpu := archive(t, entry{"package/bins/x/libggml-base.so", "base", tar.TypeReg}, entry{"package/bins/x/libllama.so", "cpu", tar.TypeReg},
		entry{"package/bins/x/libllama-common.so", "programs", tar.TypeReg}, entry{"package/bins/x/addon.node", "addon", tar.TypeReg},
		entry{"package/LICENSE", "MIT", tar.TypeReg}, entry{"../../libescape.so", "flat", tar.TypeReg}, entry{"package/libevil.so", "", tar.TypeSymlink})
	extra := archive(t, entry{"package/bins/x/fallback/libllama.so", "extra", tar.TypeReg})
	return pinned{Release: "1.0.0", Variants: []Variant{
		{Name: "cpu", Platform: "linux/amd64", Packages: []Package{pin("@x/cpu", cpu)}},
		{Name: "extra", Platform: "linux/amd64", Packages: []Package{pin("@x/cpu", cpu), pin("@x/extra", extra)}},
	}}, registry{"@x/cpu@1.0.0": cpu, "@x/extra@1.0.0": extra}, filepath.Join(t.TempDir(), "native")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestFetch(t *testing.T) {
	t.Parallel()
	p, r, dir := setup(t)
	fetched, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", r.download)
	require.NoError(t, err)
	require.True(t, fetched)
	require.Equal(t, []string{".packages", "LICENSE", "libescape.so", "libggml-base.so", "libllama.so"}, names(t, filepath.Join(dir, "cpu")))
	require.Equal(t, []string{"cpu"}, names(t, dir), "nothing is left beside the folder")

	// A second time nothing is fetched, not even asked for.
	fetched, err = p.fetch(t.Context(), dir, "cpu", "linux/amd64", registry{}.download)
	require.NoError(t, err)
	require.False(t, fetched)

	// Later packages lie over earlier ones.
	_, err = p.fetch(t.Context(), dir, "extra", "linux/amd64", r.download)
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(dir, "extra", "libllama.so"))
	require.NoError(t, err)
	require.Equal(t, "extra", string(content))
}

func TestAnotherPinReplacesTheFolder(t *testing.T) {
	t.Parallel()
	p, r, dir := setup(t)
	_, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", r.download)
	require.NoError(t, err)
	newer := archive(t, entry{"package/bins/x/libnew.so", "new", tar.TypeReg})
	p.Variants[0].Packages[0] = pin("@x/cpu", newer)
	r["@x/cpu@1.0.0"] = newer
	fetched, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", r.download)
	require.NoError(t, err)
	require.True(t, fetched)
	require.Equal(t, []string{".packages", "libnew.so"}, names(t, filepath.Join(dir, "cpu")))
}

func TestWhatIsNotPinnedIsNotUnpacked(t *testing.T) {
	t.Parallel()
	p, r, dir := setup(t)
	r["@x/cpu@1.0.0"] = archive(t, entry{"package/bins/x/libggml-base.so", "tampered", tar.TypeReg})
	_, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", r.download)
	require.ErrorContains(t, err, "pinned is sha512-")
	require.Empty(t, names(t, dir))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p, r, dir := setup(t)
	for want, c := range map[string]struct{ variant, platform string }{
		"but cpu, extra":     {"vulkan", "linux/amd64"},
		"pinned for plan9/x": {"cpu", "plan9/x"},
	} {
		_, err := p.fetch(t.Context(), dir, c.variant, c.platform, r.download)
		require.ErrorContains(t, err, want)
	}
	_, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", registry{}.download)
	require.ErrorContains(t, err, "not found")

	for name, content := range map[string][]byte{
		"no gzip": []byte("text"),
		"no tar": func() []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write([]byte(strings.Repeat("x", 600)))
			_ = w.Close()
			return b.Bytes()
		}(),
		"libraries": archive(t, entry{"package/README.md", "text", tar.TypeReg}),
	} {
		p.Variants[0].Packages[0] = pin("@x/cpu", content)
		r["@x/cpu@1.0.0"] = content
		_, err := p.fetch(t.Context(), dir, "cpu", "linux/amd64", r.download)
		require.Error(t, err, name)
		require.Empty(t, names(t, dir))
	}
}

func TestPinsAreComplete(t *testing.T) {
	t.Parallel()
	var p pinned
	d := json.NewDecoder(bytes.NewReader(pins))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&p))
	require.NotEmpty(t, p.Release)
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		_, err := p.choose("cpu", platform)
		require.NoError(t, err)
	}
	for _, v := range p.Variants {
		require.NotEmpty(t, v.Packages, v.Name)
		for _, pkg := range v.Packages {
			digest, found := strings.CutPrefix(pkg.Integrity, "sha512-")
			require.True(t, found)
			raw, err := base64.StdEncoding.DecodeString(digest)
			require.NoError(t, err)
			require.Len(t, raw, sha512.Size)
		}
	}
}

func TestNoNPM(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := NPM(t.Context(), "x@1", t.TempDir())
	require.ErrorContains(t, err, "npm is not installed")
}
