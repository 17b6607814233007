package audiobundle_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
)

// FuzzImport changes a few bytes of a file that people download, or cuts it: the import refuses it, or makes a bundle that can be loaded.
func FuzzImport(f *testing.F) {
	const family = "audioflamingo3"
	mmproj, llm := audiotest.Path(family, "gguf", "mmproj-f16.gguf"), audiotest.Path(family, "gguf", "llm-f16.gguf")
	hf := audiotest.Path(family, "hf")
	files := []string{mmproj, llm}
	for _, name := range []string{"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"} {
		files = append(files, filepath.Join(hf, name))
	}
	for i := range files {
		f.Add(uint8(i), uint32(8), []byte{0xff, 0xff, 0xff, 0x7f}, uint32(0))
		f.Add(uint8(i), uint32(40), []byte("\x00\x00\x00\x80"), uint32(1000))
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, patch []byte, keep uint32) {
		path := files[int(which)%len(files)]
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(patch) > 64 {
			patch = patch[:64]
		}
		copy(raw[int(at)%len(raw):], patch)
		if keep > 0 {
			raw = raw[:int(keep)%len(raw)]
		}
		cfg := audiobundle.ImportConfig{LLM: llm, MMProj: mmproj, AcceptLicence: true, Out: filepath.Join(t.TempDir(), "out")}
		changed := filepath.Join(t.TempDir(), filepath.Base(path))
		switch path {
		case mmproj:
			cfg.MMProj = changed
		case llm:
			cfg.LLM = changed
		default:
			cfg.LLM, cfg.MMProj, cfg.Folder = "", "", filepath.Join(t.TempDir(), "model")
			if err := os.CopyFS(cfg.Folder, os.DirFS(hf)); err != nil {
				t.Fatal(err)
			}
			changed = filepath.Join(cfg.Folder, filepath.Base(path))
		}
		if err := os.WriteFile(changed, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audiobundle.Import(t.Context(), cfg, quiet); err != nil {
			if _, stat := os.Stat(filepath.Join(cfg.Out, model.ManifestFile)); stat == nil {
				t.Fatalf("a bundle was left behind by an import that ended with: %v", err)
			}
			return
		}
		if _, err := model.LoadComplete(cfg.Out); err != nil {
			t.Fatal(err)
		}
	})
}
