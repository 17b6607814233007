package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// standIn answers as docker buildx imagetools inspect does, for images of debian alone.
const standIn = `#!/bin/sh
case "$*" in
"buildx imagetools inspect --format {{.Manifest.Digest}} debian:"*) echo "sha256:$DIGEST" ;;
*) exit 1 ;;
esac
`

// TestImagesOfOthersArePinned: a tag may come to mean another image, a digest cannot.
func TestImagesOfOthersArePinned(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../services/*/Dockerfile")
	require.NoError(t, err)
	files = append(files, "../../../gateway/Dockerfile", "../../../deployments/docker-compose.yml")
	named := regexp.MustCompile(`(?m)^(?:FROM|\s*image:)\s+(\S+)`)
	pinned := regexp.MustCompile(`^[^@]+:[^@]+@sha256:[0-9a-f]{64}$`)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		images := named.FindAllSubmatch(raw, -1)
		require.NotEmpty(t, images, file)
		for _, image := range images {
			if name := string(image[1]); !strings.HasPrefix(name, "larkstream/") {
				require.Regexp(t, pinned, name, "%s: run make pin-images", file)
			}
		}
	}
}

// TestPinImages: make pin-images writes the digests that docker tells, replaces old ones, and changes nothing when one cannot be had.
func TestPinImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(standIn), 0o700))
	script, err := filepath.Abs("../../../.ci/pin-images")
	require.NoError(t, err)
	file := filepath.Join(dir, "Dockerfile")
	pin := func(digest string) error {
		cmd := exec.Command(script, file)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "DIGEST="+digest)
		return cmd.Run()
	}
	content := func() string {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(raw)
	}
	const text = "FROM debian:12-slim AS build\n    image: debian:12-slim # small\n    image: larkstream/gateway\nFROM debian:12\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	for _, digest := range []string{strings.Repeat("a1", 32), strings.Repeat("0b", 32)} {
		require.NoError(t, pin(digest))
		require.Equal(t, "FROM debian:12-slim@sha256:"+digest+" AS build\n    image: debian:12-slim@sha256:"+digest+
			" # small\n    image: larkstream/gateway\nFROM debian:12@sha256:"+digest+"\n", content())
	}
	require.Error(t, pin("no digest"))
	unknown := text + "FROM golang:1.26\n"
	require.NoError(t, os.WriteFile(file, []byte(unknown), 0o600))
	require.Error(t, pin(strings.Repeat("a1", 32)))
	require.Equal(t, unknown, content())
}
