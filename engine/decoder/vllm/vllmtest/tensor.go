package vllmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// Tensor is what ReadTensor found.
type Tensor struct {
	Storage    string // PyTorch's class of the elements
	Rows, Cols int
	Raw        []byte // little-endian, row-major
	Values     []float32
}

// ReadTensor reads a file of torch.save strictly and by itself, byte for byte: nothing of the writer under test is used, nor is archive/zip.
// A byte that it does not expect is an error.
func ReadTensor(file []byte) (Tensor, error) {
	entries, err := readArchive(file)
	if err != nil {
		return Tensor{}, fmt.Errorf("reading the archive: %w", err)
	}
	if len(entries) != 4 || string(entries["archive/byteorder"]) != "little" || string(entries["archive/version"]) != "3\n" {
		return Tensor{}, fmt.Errorf("reading the archive: its entries are not those of torch.save: %d", len(entries))
	}
	t, err := readPickle(entries["archive/data.pkl"])
	if err != nil {
		return Tensor{}, fmt.Errorf("reading the pickle: %w", err)
	}
	t.Raw = entries["archive/data/0"]
	return t, t.widen()
}

// readArchive reads a zip of stored entries from its central directory; every byte of the file must belong to one of its records.
func readArchive(file []byte) (map[string][]byte, error) {
	if len(file) < 22 || binary.LittleEndian.Uint32(file[len(file)-22:]) != 0x06054b50 {
		return nil, errors.New("no end of central directory without comment")
	}
	end := file[len(file)-22:]
	count, size, start := int(le16(end[10:])), int(le32(end[12:])), int(le32(end[16:]))
	if le16(end[4:]) != 0 || le16(end[6:]) != 0 || int(le16(end[8:])) != count || start+size != len(file)-22 {
		return nil, errors.New("the end of the central directory does not fit the file")
	}
	entries, expect := map[string][]byte{}, 0
	for rest := file[start : start+size]; count > 0; count-- {
		if len(rest) < 46 || le32(rest) != 0x02014b50 {
			return nil, errors.New("a record of the central directory is cut off")
		}
		names, extra, comment := int(le16(rest[28:])), int(le16(rest[30:])), int(le16(rest[32:]))
		if len(rest) < 46+names {
			return nil, errors.New("a name in the central directory is cut off")
		}
		name := string(rest[46 : 46+names])
		if le16(rest[8:]) != 0 || le16(rest[10:]) != 0 || extra != 0 || comment != 0 || le32(rest[20:]) != le32(rest[24:]) {
			return nil, fmt.Errorf("%s: flags, compression, extra field or comment", name)
		}
		data, next, err := readEntry(file, expect, name, le32(rest[16:]), int(le32(rest[24:])))
		if err != nil || int(le32(rest[42:])) != expect || entries[name] != nil {
			return nil, fmt.Errorf("%s: not where the directory says, or twice: %w", name, err)
		}
		entries[name], expect = data, next
		rest = rest[46+names:]
	}
	if expect != start {
		return nil, errors.New("bytes between the entries and the directory")
	}
	return entries, nil
}

// readEntry reads the local header at offset at, and the data after it.
func readEntry(file []byte, at int, name string, sum uint32, size int) (data []byte, next int, err error) {
	head := file[at:]
	if len(head) < 30+len(name)+size || le32(head) != 0x04034b50 {
		return nil, 0, errors.New("cut off")
	}
	if le16(head[6:]) != 0 || le16(head[8:]) != 0 || le32(head[14:]) != sum || int(le32(head[18:])) != size || int(le32(head[22:])) != size ||
		int(le16(head[26:])) != len(name) || le16(head[28:]) != 0 || string(head[30:30+len(name)]) != name {
		return nil, 0, errors.New("the local header differs from the directory")
	}
	from := 30 + len(name)
	data = head[from : from+size : from+size]
	if crc32.ChecksumIEEE(data) != sum {
		return nil, 0, errors.New("the checksum is wrong")
	}
	return data, at + from + size, nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// pickle reads opcodes in the one order that a dense two-dimensional tensor has.
type pickle struct {
	rest []byte
	err  error
}

func (p *pickle) expect(want string) {
	if p.err == nil && !bytes.HasPrefix(p.rest, []byte(want)) {
		p.err = fmt.Errorf("%q where %q is expected", p.rest[:min(len(p.rest), 20)], want)
	}
	if p.err == nil {
		p.rest = p.rest[len(want):]
	}
}

func (p *pickle) line() string {
	line, rest, found := bytes.Cut(p.rest, []byte("\n"))
	if p.err == nil && !found {
		p.err = errors.New("a name without end")
	}
	if p.err == nil {
		p.rest = rest
	}
	return string(line)
}

func (p *pickle) integer() int {
	p.expect("J")
	if p.err == nil && len(p.rest) < 4 {
		p.err = errors.New("a number is cut off")
	}
	if p.err != nil {
		return 0
	}
	v := int(int32(le32(p.rest)))
	p.rest = p.rest[4:]
	return v
}

func (p *pickle) text(want string) {
	p.expect("X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(want)))) + want)
}

func readPickle(raw []byte) (Tensor, error) {
	p := &pickle{rest: raw}
	p.expect("\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((")
	p.text("storage")
	p.expect("ctorch\n")
	t := Tensor{Storage: p.line()}
	p.text("0")
	p.text("cpu")
	elements := p.integer()
	p.expect("tQ")
	offset := p.integer()
	t.Rows, t.Cols = p.integer(), p.integer()
	p.expect("\x86")
	strides := [2]int{p.integer(), p.integer()}
	p.expect("\x86\x89ccollections\nOrderedDict\n)RtR.")
	if p.err == nil && (len(p.rest) > 0 || offset != 0 || t.Rows < 1 || t.Cols < 1 || elements != t.Rows*t.Cols || strides != [2]int{t.Cols, 1}) {
		p.err = fmt.Errorf("%d x %d of %d elements, offset %d, strides %v, %d bytes left", t.Rows, t.Cols, elements, offset, strides, len(p.rest))
	}
	return t, p.err
}

// widen checks the number of bytes and fills Values.
func (t *Tensor) widen() error {
	width := map[string]int{"BFloat16Storage": 2, "HalfStorage": 2, "FloatStorage": 4}[t.Storage]
	if width == 0 || len(t.Raw) != t.Rows*t.Cols*width {
		return fmt.Errorf("%d bytes for %d x %d of %s", len(t.Raw), t.Rows, t.Cols, t.Storage)
	}
	for at := 0; at < len(t.Raw); at += width {
		switch t.Storage {
		case "BFloat16Storage":
			t.Values = append(t.Values, tensor.BF16ToF32(le16(t.Raw[at:])))
		case "HalfStorage":
			t.Values = append(t.Values, tensor.F16ToF32(le16(t.Raw[at:])))
		default:
			t.Values = append(t.Values, math.Float32frombits(le32(t.Raw[at:])))
		}
	}
	return nil
}
