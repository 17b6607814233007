package filetags

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
)

// The forms of ID3 are those of id3.org: "ID3 tag version 2.3.0" and "ID3 tag version 2.4.0 - Main Structure" and "- Native Frames".
const (
	id3Header    = 10
	frameHeader  = 10
	unsyncFlag   = 0x80
	extendedFlag = 0x40
	footerFlag   = 0x10
	// padding is the room that is left behind the frames when a tag grows.
	padding = 1024
	// maxID3 is the largest size that four times seven bits can say.
	maxID3 = 1<<28 - 1
)

// id3End is where the tag ends that begins the file.
func id3End(head []byte) (int64, error) {
	if len(head) < id3Header {
		return 0, unsupported("the ID3 tag breaks off")
	}
	n, ok := syncsafe(head[6:10])
	if !ok {
		return 0, unsupported("the size of the ID3 tag is damaged")
	}
	end := int64(id3Header + n)
	if head[5]&footerFlag != 0 && head[3] == 4 {
		end += id3Header
	}
	return end, nil
}

func syncsafe(b []byte) (int, bool) {
	n := 0
	for _, c := range b[:4] {
		if c&0x80 != 0 {
			return 0, false
		}
		n = n<<7 | int(c)
	}
	return n, true
}

func putSyncsafe(n int) []byte {
	return []byte{byte(n >> 21 & 0x7f), byte(n >> 14 & 0x7f), byte(n >> 7 & 0x7f), byte(n & 0x7f)}
}

// frame is a frame of a tag: where it lies in the body, and what it is about if that can be read.
type frame struct {
	at, end int
	id      string
	field   Field
	values  []string
}

// userNames are the names of fields for which ID3 has no frame of their own.
var userNames = map[string]Field{"MOOD": Mood, "INSTRUMENTS": Instruments, "METRE": Metre, "DESCRIPTION": Description}

// fieldOf tells which field a frame holds. ID3v2.3 has no TMOO.
func fieldOf(version byte, id string) Field {
	switch id {
	case "TBPM":
		return Tempo
	case "TKEY":
		return Key
	case "TCON":
		return Genre
	case "TMOO":
		if version == 4 {
			return Mood
		}
	}
	return ""
}

func planID3(r io.ReaderAt, head []byte, size int64, want Values) (found, error) {
	if !bytes.HasPrefix(head, []byte("ID3")) {
		return newID3(want)
	}
	version, flags := head[3], head[5]
	end, err := id3End(head)
	switch {
	case err != nil:
		return found{}, err
	case version != 3 && version != 4:
		return found{}, unsupported("ID3v2.%d; versions 3 and 4 are", version)
	case end > size || end > maxTag:
		return found{}, unsupported("the ID3 tag is longer than the file or than %d bytes", maxTag)
	case flags&extendedFlag != 0 || (version == 4 && flags&footerFlag != 0):
		return found{}, unsupported("the ID3 tag has an extended header or a footer")
	case version == 3 && flags&unsyncFlag != 0:
		return found{}, unsupported("the ID3v2.3 tag is unsynchronised")
	}
	body, err := readAt(r, id3Header, end-id3Header)
	if err != nil {
		return found{}, err
	}
	frames, used, err := readFrames(body, version, flags)
	if err != nil {
		return found{}, err
	}
	return editID3(body, frames, used, version, want)
}

// newID3 puts a tag before a file that has none.
func newID3(want Values) (found, error) {
	f := found{have: Values{}}
	var frames []byte
	for _, field := range Fields() {
		if values := want[field]; len(values) > 0 {
			frames = append(frames, makeFrame(4, field, values)...)
		}
	}
	if len(frames) > 0 {
		tag := append([]byte{'I', 'D', '3', 4, 0, 0}, putSyncsafe(len(frames)+padding)...)
		f.edits = []edit{{New: slices.Concat(tag, frames, make([]byte, padding))}}
	}
	return f, nil
}

// readFrames takes the body of a tag apart and tells how many bytes of it frames use; the rest is padding.
func readFrames(body []byte, version, flags byte) (frames []frame, used int, err error) {
	at := 0
	for at < len(body) && body[at] != 0 {
		if at+frameHeader > len(body) {
			return nil, 0, unsupported("the frames of the ID3 tag are damaged")
		}
		id := string(body[at : at+4])
		n, ok := int(binary.BigEndian.Uint32(body[at+4:])), true
		if version == 4 {
			n, ok = syncsafe(body[at+4:])
		}
		if !ok || n < 0 || n > len(body)-at-frameHeader || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			return nil, 0, unsupported("the frames of the ID3 tag are damaged, or have sizes as ID3v2.%d does not", version)
		}
		f := frame{at: at, end: at + frameHeader + n, id: id, field: fieldOf(version, id)}
		data := body[at+frameHeader : f.end]
		plain := body[at+9] == 0 // not compressed, encrypted, grouped or unsynchronised
		if plain && flags&unsyncFlag != 0 && bytes.IndexByte(data, 0xff) >= 0 {
			plain = false
		}
		if plain && (f.field != "" || id == "TXXX") {
			f.read(data)
		}
		frames = append(frames, f)
		at = f.end
	}
	if len(bytes.Trim(body[at:], "\x00")) > 0 {
		return nil, 0, unsupported("there is something else than padding after the frames of the ID3 tag")
	}
	return frames, at, nil
}

// read takes the values of a text frame; those of TXXX have a name before them.
func (f *frame) read(data []byte) {
	if len(data) == 0 {
		return
	}
	texts := decodeTexts(data[0], data[1:])
	if f.id == "TXXX" {
		if len(texts) == 0 {
			return
		}
		if f.field = userNames[strings.ToUpper(texts[0])]; f.field == "" {
			return
		}
		texts = texts[1:]
	}
	f.values = texts
	if f.field != Description && len(texts) == 1 { // ID3v2.3 has one text for each frame
		f.values = strings.Split(texts[0], joined)
	}
}

// joined stands between the values of a text in ID3v2.3, which has one text in each frame.
const joined = "; "

// decodeTexts reads texts that NULs part.
func decodeTexts(encoding byte, raw []byte) []string {
	var text string
	switch encoding {
	case 0: // ISO 8859-1
		runes := make([]rune, len(raw))
		for i, c := range raw {
			runes[i] = rune(c)
		}
		text = string(runes)
	case 1, 2: // UTF-16 with a byte order mark before each text, and big endian without
		text = decodeUTF16(raw)
	default:
		text = strings.ToValidUTF8(string(raw), "\ufffd")
	}
	text = strings.TrimRight(text, "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

func decodeUTF16(raw []byte) string {
	var order binary.ByteOrder = binary.BigEndian
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		switch u := order.Uint16(raw[i:]); u {
		case 0xfeff:
		case 0xfffe: // the mark, read in the wrong order
			if order == binary.ByteOrder(binary.BigEndian) {
				order = binary.LittleEndian
			} else {
				order = binary.BigEndian
			}
		default:
			units = append(units, u)
		}
	}
	return string(utf16.Decode(units))
}

// makeFrame makes the frame of a field.
func makeFrame(version byte, field Field, values []string) []byte {
	id, name := "TXXX", strings.ToUpper(string(field))
	for _, own := range []string{"TBPM", "TKEY", "TCON", "TMOO"} {
		if fieldOf(version, own) == field {
			id, name = own, ""
		}
	}
	texts := values
	if version == 3 {
		texts = []string{strings.Join(values, joined)}
	}
	if id == "TXXX" {
		texts = append([]string{name}, texts...)
	}
	data := encodeTexts(version, texts)
	size := putSyncsafe(len(data))
	if version == 3 {
		size = binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	}
	return slices.Concat([]byte(id), size, []byte{0, 0}, data)
}

func encodeTexts(version byte, texts []string) []byte {
	ascii := !slices.ContainsFunc(texts, func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e }) })
	switch {
	case ascii:
		return append([]byte{0}, strings.Join(texts, "\x00")...)
	case version == 4:
		return append([]byte{3}, strings.Join(texts, "\x00")...)
	}
	out := []byte{1}
	for i, text := range texts {
		if i > 0 {
			out = append(out, 0, 0)
		}
		out = append(out, 0xff, 0xfe)
		for _, u := range utf16.Encode([]rune(text)) {
			out = binary.LittleEndian.AppendUint16(out, u)
		}
	}
	return out
}

// editID3 replaces the frames whose values differ and takes the room from the padding, if there is enough.
func editID3(body []byte, frames []frame, used int, version byte, want Values) (found, error) {
	out := found{have: make(Values)}
	for _, f := range frames {
		if f.field != "" && len(f.values) > 0 {
			out.have[f.field] = append(out.have[f.field], f.values...)
		}
	}
	todo := needed(out.have, want)
	if len(todo) == 0 {
		return out, nil
	}
	grown := 0
	put := func(at, end int, raw []byte) {
		out.edits = append(out.edits, edit{At: int64(id3Header + at), Len: int64(end - at), New: raw})
		grown += len(raw) - (end - at)
	}
	done := make(map[Field]bool)
	for _, f := range frames {
		values, ok := todo[f.field]
		switch {
		case !ok: // of another field
		case done[f.field]: // one frame has all values
			put(f.at, f.end, nil)
		default:
			done[f.field] = true
			put(f.at, f.end, makeFrame(version, f.field, values))
		}
	}
	var more []byte
	for _, field := range Fields() {
		if values, ok := todo[field]; ok && !done[field] {
			more = append(more, makeFrame(version, field, values)...)
		}
	}
	switch room := len(body) - used - grown - len(more); {
	case room >= 0: // the tag stays as long as it is
		put(used, used, more)
		if grown > 0 {
			put(len(body)-grown, len(body), nil)
		} else {
			put(len(body), len(body), make([]byte, -grown))
		}
	case len(body)-room+padding > maxID3:
		return found{}, unsupported("the ID3 tag would have more than %d bytes", maxID3)
	default:
		put(used, len(body), append(more, make([]byte, padding)...))
		out.edits = slices.Insert(out.edits, 0, edit{At: 6, Len: 4, New: putSyncsafe(len(body) + grown)})
	}
	out.edits = slices.DeleteFunc(out.edits, func(e edit) bool { return e.Len == 0 && len(e.New) == 0 })
	return out, nil
}
