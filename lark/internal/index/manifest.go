package index

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/source"
)

// Source is where items come from: a folder, an s3:// or gs:// prefix, a manifest (.csv, .jsonl, .parquet), or - for standard input, which is CSV or
// JSON lines.
type Source struct {
	Name  string
	Input io.Reader
	// AllFiles takes files of a folder or prefix whatever their names end with.
	AllFiles bool
}

// Bad is a line of a manifest that is no item.
type Bad struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// Left counts files of a folder that are no audio by their names, by the ends of their names.
type Left map[string]int

// maxLine bounds a line of a manifest in bytes.
const maxLine = 1 << 20

// audioEnds are the ends of names that are taken for audio in folders and buckets.
var audioEnds = strings.Fields(".mp3 .flac .wav .wave .ogg .oga .opus .m4a .mp4 .aac .aif .aiff .aifc .wma .mka .webm .mp2 .ac3 .eac3 .ape .wv .tta .mpc .caf .au .snd .amr .dsf .dff .mov .mkv .avi .flv .ts .voc .w64 .rf64 .alac .spx .dts .thd")

// Read calls item for each item in turn, in constant memory. bad is told of lines that are no items; the others go on.
func (s Source) Read(ctx context.Context, item func(client.NewItem) error, bad func(Bad)) (Left, error) {
	switch ext := strings.ToLower(filepath.Ext(s.Name)); {
	case s.Name == "-":
		return nil, readText(s.Input, "", here{item, bad, ""})
	case strings.HasPrefix(s.Name, "s3://"), strings.HasPrefix(s.Name, "gs://"):
		return s.walk(ctx, s.Name, item)
	case strings.HasPrefix(s.Name, "https://"):
		return nil, errors.New("a web host has no list of its files: name them in a manifest, one uri each")
	case isFolder(s.Name):
		abs, err := filepath.Abs(s.Name)
		if err != nil {
			return nil, fmt.Errorf("reading folder: %w", err)
		}
		return s.walk(ctx, source.FileURI(abs), item)
	default:
		abs, err := filepath.Abs(s.Name)
		if err != nil {
			return nil, fmt.Errorf("reading manifest: %w", err)
		}
		return nil, readFile(abs, ext, here{item, bad, filepath.Dir(abs)})
	}
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// walk makes an item of each file; its id is its place below the start.
func (s Source) walk(ctx context.Context, start string, item func(client.NewItem) error) (Left, error) {
	base, _, _ := strings.Cut(start, "?")
	places, err := source.New([]string{start})
	if err != nil {
		return nil, err
	}
	left := make(Left)
	err = places.Walk(ctx, base, func(e source.Entry) error {
		end := strings.ToLower(filepath.Ext(e.URI))
		if !s.AllFiles && !slices.Contains(audioEnds, end) {
			left[end]++
			return nil
		}
		return item(client.NewItem{ID: strings.TrimPrefix(strings.TrimPrefix(e.URI, strings.TrimSuffix(base, "/")), "/"), URI: e.URI})
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", base, err)
	}
	return left, nil
}

// here is what is done with the lines of a manifest that lies in a folder.
type here struct {
	item   func(client.NewItem) error
	bad    func(Bad)
	folder string
}

func readFile(path, ext string, h here) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if ext == ".parquet" {
		return readParquet(f, h)
	}
	return readText(f, ext, h)
}

// readText reads CSV or JSON lines: by the end of the name, or else by the first character.
func readText(r io.Reader, ext string, h here) error {
	buf := bufio.NewReaderSize(r, 64<<10)
	if head, err := buf.Peek(3); err == nil && bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		_, _ = buf.Discard(3) // a byte order mark; three bytes are there
	} else if err == nil && (bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff"))) {
		return errors.New("reading manifest: it is UTF-16; save it as UTF-8")
	}
	json := ext == ".jsonl" || ext == ".ndjson" || ext == ".json"
	if ext == "" || ext == ".txt" {
		for {
			b, err := buf.Peek(1)
			if err != nil {
				return nil // there is nothing in it
			}
			if b[0] != ' ' && b[0] != '\n' && b[0] != '\r' && b[0] != '\t' {
				json = b[0] == '{'
				break
			}
			_, _ = buf.Discard(1) // one byte is there
		}
	}
	if json {
		return readLines(buf, h)
	}
	return readCSV(buf, h)
}

// readLines reads JSON lines. A line that is too long is passed over as a whole.
func readLines(r *bufio.Reader, h here) error {
	for n := 1; ; n++ {
		line, long, err := oneLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading line %d: %w", n, err)
		}
		last := err != nil
		switch text := bytes.TrimSpace(line); {
		case long:
			h.bad(Bad{n, fmt.Sprintf("the line has more than %d bytes", maxLine)})
		case len(text) > 0:
			fields := make(map[string]any)
			if err := json.Unmarshal(text, &fields); err != nil {
				h.bad(Bad{n, "it is no JSON object: " + err.Error()})
				break
			}
			if err := h.take(n, flat(fields)); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

func oneLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			long, line = true, nil
		} else if !long {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// flat makes texts of a JSON object's values.
func flat(object map[string]any) map[string]string {
	out := make(map[string]string, len(object))
	for name, v := range object {
		switch v := v.(type) {
		case nil:
		case string:
			out[name] = v
		case float64, bool:
			out[name] = fmt.Sprint(v)
		default:
			if raw, err := json.Marshal(v); err == nil {
				out[name] = string(raw)
			}
		}
	}
	return out
}

func readCSV(r io.Reader, h here) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord, c.LazyQuotes = -1, true, true
	head, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the header of the manifest: %w", err)
	}
	names := slices.Clone(head)
	for i := range names {
		names[i] = strings.ToLower(strings.TrimSpace(names[i]))
	}
	if !slices.Contains(names, "uri") && !slices.Contains(names, "path") {
		return fmt.Errorf("reading manifest: its first line names no column uri or path, but %.200s", strings.Join(names, ", "))
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := c.FieldPos(0)
		if err != nil {
			var fault *csv.ParseError
			if !errors.As(err, &fault) {
				return fmt.Errorf("reading manifest: %w", err)
			}
			h.bad(Bad{fault.StartLine, fault.Err.Error()})
			continue
		}
		fields := make(map[string]string, len(row))
		for i, text := range row[:min(len(row), len(names))] {
			if text != "" {
				fields[names[i]] = text
			}
		}
		if err := h.take(line, fields); err != nil {
			return err
		}
	}
}

func readParquet(f *os.File, h here) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("reading manifest: it is no Parquet file: %w", err)
	}
	rows := parquet.NewGenericReader[map[string]any](file, file.Schema())
	defer func() { _ = rows.Close() }() // only read
	batch := make([]map[string]any, 128)
	for line := 1; ; {
		for i := range batch {
			batch[i] = make(map[string]any)
		}
		n, err := rows.Read(batch)
		for _, row := range batch[:n] {
			if err := h.take(line, flat(row)); err != nil {
				return err
			}
			line++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading row %d of the manifest: %w", line, err)
		}
	}
}

// take makes an item of a line's fields: uri or path, id, sha256; what else there is travels with the item.
func (h here) take(line int, fields map[string]string) error {
	uri := fields["uri"]
	if uri == "" {
		uri = fields["path"]
	}
	if uri == "" {
		h.bad(Bad{line, "it names no uri"})
		return nil
	}
	it := client.NewItem{ID: fields["id"], URI: h.absolute(uri), SHA256: strings.ToLower(fields["sha256"])}
	if it.ID == "" {
		it.ID = uri
	}
	rest := maps.Clone(fields)
	for _, used := range []string{"uri", "path", "id", "sha256"} {
		delete(rest, used)
	}
	if len(rest) > 0 {
		it.Fields = rest
	}
	if err := checkItem(it); err != nil {
		h.bad(Bad{line, err.Error()})
		return nil
	}
	return h.item(it)
}

// absolute makes a URI of a path, which is relative to the manifest.
func (h here) absolute(uri string) string {
	if strings.Contains(uri, "://") {
		return uri
	}
	if !filepath.IsAbs(uri) {
		uri = filepath.Join(h.folder, uri)
	}
	return source.FileURI(uri)
}

// checkItem refuses what the gateway would refuse together with its neighbours.
func checkItem(it client.NewItem) error {
	if err := source.CheckURI(it.URI); err != nil {
		return err
	}
	if len(it.ID) > 512 || len(it.Fields) > 32 {
		return errors.New("the id has more than 512 bytes, or there are more than 32 fields")
	}
	if it.SHA256 != "" && (len(it.SHA256) != 64 || strings.Trim(it.SHA256, "0123456789abcdef") != "") {
		return errors.New("sha256 is not 64 hex digits")
	}
	for name, text := range it.Fields {
		if len(name) > 64 || len(text) > 512 {
			return fmt.Errorf("field %.64s has a name of more than 64 bytes or a text of more than 512", name)
		}
	}
	return nil
}
