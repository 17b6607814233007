package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// manifestLine is a line of lark-nano's manifest.jsonl.
type manifestLine struct {
	File     string   `json:"file"`
	TempoBPM float64  `json:"tempo_bpm"`
	Key      string   `json:"key"`
	Mode     string   `json:"mode"`
	Metre    string   `json:"metre"`
	Families []string `json:"families"`
	Drums    bool     `json:"drums"`
}

func readManifest(path string) ([]manifestLine, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []manifestLine
	for dec := json.NewDecoder(file); ; {
		var m manifestLine
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s, clip %d: %w", path, len(out)+1, err)
		}
		out = append(out, m)
	}
}
