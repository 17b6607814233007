package index

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// format is a form of the files of an export.
type format struct {
	// ext is what the names of files end with.
	ext    string
	tracks func(w io.Writer, e Export, name string) (encoder[Track], error)
	// windows is nil where the form has only tracks.
	windows func(io.Writer) (encoder[WindowRow], error)
	// embeddings is nil where the form has no place for them.
	embeddings func(io.Writer) (encoder[EmbeddingRow], error)
	// partBytes ends a file once it has so many bytes; 0 = only rows count.
	partBytes int64
	// leftOut tells why a track has no row; nil: every track has one.
	leftOut func(Track) string
}

const (
	formatRekordbox     = "rekordbox"
	formatElasticsearch = "elasticsearch"
)

var formats = map[string]format{
	"parquet":           {ext: "parquet", tracks: plain(parquetRows[Track]), windows: parquetRows[WindowRow], embeddings: parquetRows[EmbeddingRow]},
	"jsonl":             {ext: "jsonl", tracks: plain(jsonRows[Track]), windows: jsonRows[WindowRow], embeddings: jsonRows[EmbeddingRow]},
	"csv":               {ext: "csv", tracks: plain(csvRows[Track]), windows: csvRows[WindowRow], embeddings: csvRows[EmbeddingRow]},
	formatRekordbox:     {ext: "xml", tracks: rekordbox, leftOut: notForRekordbox},
	formatElasticsearch: {ext: "ndjson", tracks: bulk, partBytes: bulkBytes},
}

// Formats are the forms of an export.
func Formats() []string {
	return []string{"parquet", "jsonl", "csv", formatRekordbox, formatElasticsearch}
}

// plain is a form that needs nothing but the rows.
func plain(of func(io.Writer) (encoder[Track], error)) func(io.Writer, Export, string) (encoder[Track], error) {
	return func(w io.Writer, _ Export, _ string) (encoder[Track], error) { return of(w) }
}

func parquetRows[T any](out io.Writer) (encoder[T], error) {
	w := parquet.NewGenericWriter[T](out, parquet.Compression(&parquet.Zstd))
	return encoder[T]{
		write: func(row T) error {
			_, err := w.Write([]T{row})
			return err
		},
		flush: w.Close,
	}, nil
}

func jsonRows[T any](out io.Writer) (encoder[T], error) {
	w := jsonLines(out)
	return encoder[T]{write: func(row T) error { return w.Encode(row) }, flush: func() error { return nil }}, nil
}

func jsonLines(out io.Writer) *json.Encoder {
	w := json.NewEncoder(out)
	w.SetEscapeHTML(false)
	return w
}

func csvRows[T any](out io.Writer) (encoder[T], error) {
	w, head := csv.NewWriter(out), false
	return encoder[T]{
		write: func(row T) error {
			names, cells := cells(row)
			if !head {
				head = true
				if err := w.Write(names); err != nil {
					return err
				}
			}
			return w.Write(cells)
		},
		flush: func() error {
			w.Flush()
			return w.Error()
		},
	}, nil
}

// cells are a row's columns for CSV: a list or an object is JSON.
func cells(row any) (names, texts []string) {
	raw, err := json.Marshal(row)
	if err != nil {
		return nil, []string{err.Error()}
	}
	values := make(map[string]any)
	_ = json.Unmarshal(raw, &values) // just written
	for _, name := range columns(row) {
		names = append(names, name)
		switch v := values[name].(type) {
		case nil:
			texts = append(texts, "")
		case string:
			texts = append(texts, safe(v))
		case float64:
			texts = append(texts, strconv.FormatFloat(v, 'f', -1, 64))
		case bool:
			texts = append(texts, strconv.FormatBool(v))
		default:
			inner, err := json.Marshal(v)
			if err != nil {
				inner = []byte(err.Error())
			}
			texts = append(texts, string(inner))
		}
	}
	return names, texts
}

// safe keeps spreadsheet programs from taking a text for a formula (OWASP, CSV injection).
func safe(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// columns are the names of a row's columns.
func columns(row any) []string {
	schema := parquet.SchemaOf(row)
	var names []string
	for _, f := range schema.Fields() {
		names = append(names, f.Name())
	}
	return names
}
