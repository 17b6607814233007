package up

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoModel says that no model bundle was found.
var ErrNoModel = errors.New("no model found")

// defaultModel is the bundle that ships with Larkstream.
const defaultModel = "lark-nano"

// FindModel returns the folder of the model bundle: dir if it is given (then it must hold a model.yaml), else the first of
// LARK_MODEL_DIR, models/lark-nano beside the binary or one folder above it, share/larkstream/models/lark-nano one
// folder above the binary, models/lark-nano in the working folder or one above it, and in the data folder.
func FindModel(dir string, data Folder) (string, error) {
	if dir == "" {
		dir = os.Getenv("LARK_MODEL_DIR")
	}
	if dir != "" {
		if !isBundle(dir) {
			return "", fmt.Errorf("%w: %s holds no model.yaml", ErrNoModel, dir)
		}
		return filepath.Abs(dir)
	}
	places := modelPlaces(data)
	for _, place := range places {
		if isBundle(place) {
			return filepath.Abs(place)
		}
	}
	return "", fmt.Errorf("%w: name a bundle with --model or LARK_MODEL_DIR, or put %s in one of: %s",
		ErrNoModel, defaultModel, strings.Join(places, ", "))
}

func modelPlaces(data Folder) []string {
	var places []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		bin := filepath.Dir(exe)
		places = append(places,
			filepath.Join(bin, "models", defaultModel),
			filepath.Join(filepath.Dir(bin), "models", defaultModel),
			filepath.Join(filepath.Dir(bin), "share", "larkstream", "models", defaultModel))
	}
	if wd, err := os.Getwd(); err == nil {
		places = append(places, filepath.Join(wd, "models", defaultModel), filepath.Join(filepath.Dir(wd), "models", defaultModel))
	}
	return append(places, data.path("models", defaultModel))
}

func isBundle(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "model.yaml")) //nolint:gosec // the user names the folder
	return err == nil && info.Mode().IsRegular()
}
