package index

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// bulkBytes bounds a file for Elasticsearch's bulk API, which takes 100 MB in a request at most (http.max_content_length) and works best with a tenth of it.
const bulkBytes = 8 << 20

// bulk writes an action and a document for each track, as Elasticsearch's and OpenSearch's bulk API take them. An item's document has the item's id, so that
// exporting again replaces it.
func bulk(out io.Writer, e Export, _ string) (encoder[Track], error) {
	type target struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	w := jsonLines(out)
	return encoder[Track]{
		write: func(t Track) error {
			if err := w.Encode(map[string]target{"index": {e.Index, t.ID}}); err != nil {
				return err
			}
			return w.Encode(t)
		},
		flush: func() error { return nil },
	}, nil
}

// checkIndex refuses a name that Elasticsearch would refuse.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
func checkIndex(name string) error {
	switch {
	case name == "." || name == "..", strings.HasPrefix(name, "-"), strings.HasPrefix(name, "_"), strings.HasPrefix(name, "+"):
		return fmt.Errorf("index %.80q is a dot or two, or begins with - _ or + and not with a letter", name)
	case name != strings.ToLower(name), strings.ContainsAny(name, "\\/*?\"<>| ,#:"):
		return fmt.Errorf("index %.80q has one of \\ / * ? \" < > | , # : or a space or an upper-case letter", name)
	case len(name) > 255:
		return errors.New("the name of the index has more than 255 bytes")
	}
	return nil
}
