package filetags

import (
	"encoding/binary"
	"io"
	"strings"
)

// The form of FLAC's metadata is that of RFC 9639, sections 8.1 and 8.6.
const (
	blockHeader  = 4
	blockComment = 4
	blockLast    = 0x80
	maxBlock     = 1<<24 - 1
)

// commentNames are the names of fields in Vorbis comments, as DJ programs and taggers read them.
var commentNames = map[Field]string{
	Tempo: "BPM", Key: "INITIALKEY", Genre: "GENRE", Mood: "MOOD", Instruments: "INSTRUMENT", Metre: "METRE", Description: "DESCRIPTION",
}

// comment is a comment in the block of comments: where it lies, and its field and value.
type comment struct {
	at, end int
	field   Field
	value   string
}

// planFLAC looks for the comments of a FLAC stream that begins at start.
func planFLAC(r io.ReaderAt, start, size int64, want Values) (found, error) {
	at := start + 4
	for first := true; ; first = false {
		if at+blockHeader > size {
			return found{}, unsupported("the FLAC file breaks off in its metadata")
		}
		head, err := readAt(r, at, blockHeader)
		if err != nil {
			return found{}, err
		}
		n := int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		switch {
		case first && head[0]&^blockLast != 0:
			return found{}, unsupported("the FLAC file does not begin with STREAMINFO")
		case at+blockHeader+n > size:
			return found{}, unsupported("the FLAC file breaks off in its metadata")
		case head[0]&^blockLast == blockComment:
			body, err := readAt(r, at+blockHeader, n)
			if err != nil {
				return found{}, err
			}
			return editComments(body, at, want)
		case head[0]&blockLast != 0:
			return newComments(at, head[0], at+blockHeader+n, want)
		}
		at += blockHeader + n
	}
}

// newComments puts a block behind the last one, which begins at last.
func newComments(last int64, kind byte, end int64, want Values) (found, error) {
	f := found{have: Values{}}
	var all []byte
	count := uint32(0)
	for _, field := range Fields() {
		for _, v := range want[field] {
			all = append(all, makeComment(field, v)...)
			count++
		}
	}
	if count == 0 {
		return f, nil
	}
	const vendor = "larkstream"
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(vendor)))
	body = append(body, vendor...)
	body = append(binary.LittleEndian.AppendUint32(body, count), all...)
	if len(body) > maxBlock {
		return found{}, unsupported("the comments would have more than %d bytes", maxBlock)
	}
	f.edits = []edit{{At: last, Len: 1, New: []byte{kind &^ blockLast}}, {At: end, New: append(append([]byte{blockComment | blockLast}, putBlockSize(len(body))...), body...)}}
	return f, nil
}

func putBlockSize(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }

func makeComment(field Field, value string) []byte {
	text := commentNames[field] + "=" + value
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// readComments takes the block apart; count is where the number of comments lies.
func readComments(body []byte) (all []comment, count int, err error) {
	damaged := unsupported("the comments of the FLAC file are damaged")
	length := func(at int) (int, bool) {
		if at < 0 || at+4 > len(body) {
			return 0, false
		}
		n := binary.LittleEndian.Uint32(body[at:])
		return int(n), int64(n) <= int64(len(body)-at-4)
	}
	n, ok := length(0)
	if !ok {
		return nil, 0, damaged
	}
	count = 4 + n
	if count+4 > len(body) {
		return nil, 0, damaged
	}
	at := count + 4
	for range binary.LittleEndian.Uint32(body[count:]) {
		n, ok := length(at)
		if !ok {
			return nil, 0, damaged
		}
		c := comment{at: at, end: at + 4 + n}
		name, value, _ := strings.Cut(string(body[at+4:c.end]), "=")
		for field, own := range commentNames {
			if strings.EqualFold(name, own) {
				c.field, c.value = field, value
			}
		}
		if c.field != "" {
			all = append(all, c)
		}
		at = c.end
	}
	return append(all, comment{at: at, end: at}), count, nil
}

// editComments replaces the comments whose values differ in the block that begins at start.
func editComments(body []byte, start int64, want Values) (found, error) {
	all, count, err := readComments(body)
	if err != nil {
		return found{}, err
	}
	out := found{have: make(Values)}
	for _, c := range all[:len(all)-1] {
		out.have[c.field] = append(out.have[c.field], c.value)
	}
	todo := needed(out.have, want)
	if len(todo) == 0 {
		return out, nil
	}
	grown, more := 0, int64(0)
	put := func(at, end int, raw []byte) {
		out.edits = append(out.edits, edit{At: start + blockHeader + int64(at), Len: int64(end - at), New: raw})
		grown += len(raw) - (end - at)
	}
	done := make(map[Field]bool)
	block := func(field Field) (raw []byte) {
		for _, v := range todo[field] {
			raw = append(raw, makeComment(field, v)...)
			more++
		}
		done[field] = true
		return raw
	}
	for _, c := range all[:len(all)-1] {
		if _, ok := todo[c.field]; !ok {
			continue
		}
		more--
		if done[c.field] {
			put(c.at, c.end, nil)
		} else {
			put(c.at, c.end, block(c.field))
		}
	}
	var rest []byte
	for _, field := range Fields() {
		if _, ok := todo[field]; ok && !done[field] {
			rest = append(rest, block(field)...)
		}
	}
	if end := all[len(all)-1].at; len(rest) > 0 {
		put(end, end, rest)
	}
	if len(body)+grown > maxBlock {
		return found{}, unsupported("the comments would have more than %d bytes", maxBlock)
	}
	number := binary.LittleEndian.AppendUint32(nil, uint32(int64(binary.LittleEndian.Uint32(body[count:]))+more))
	out.edits = append([]edit{
		{At: start + 1, Len: 3, New: putBlockSize(len(body) + grown)},
		{At: start + blockHeader + int64(count), Len: 4, New: number},
	}, out.edits...)
	return out, nil
}
