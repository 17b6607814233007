package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// legacyStart is the pickled magic number 0x1950a86a20f9469cfc6c with which the format of PyTorch before 1.6 begins.
var legacyStart = []byte{0x80, 2, opLong1, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, opStop}

const legacyProtocol = 1001

// readLegacy reads: magic number, protocol version, machine description, object and list of storage keys, each a pickle
// of its own; then every storage in the order of the list, as a count of elements (int64) and the elements.
func readLegacy(r io.ReaderAt, size int64) (any, error) {
	at := int64(len(legacyStart))
	storages := map[string]*storage{}
	find := func(id tuple) (*storage, error) { return declare(storages, id) }
	next := func(what string) (any, error) {
		v, n, err := unpickle(io.NewSectionReader(r, at, size-at), find)
		if err != nil {
			return nil, fmt.Errorf("reading the %s: %w", what, err)
		}
		at += n
		return v, nil
	}
	version, err := next("protocol version")
	if err != nil {
		return nil, err
	}
	if version != any(int64(legacyProtocol)) {
		return nil, fmt.Errorf("the protocol version is not %d", legacyProtocol)
	}
	if err := checkMachine(next); err != nil {
		return nil, err
	}
	root, err := next("object")
	if err != nil {
		return nil, err
	}
	keys, err := next("storage keys")
	if err != nil {
		return nil, err
	}
	return root, locate(r, size, at, keys, storages)
}

// checkMachine reads the description of the machine that wrote the file; only its byte order matters.
func checkMachine(next func(string) (any, error)) error {
	v, err := next("machine description")
	if err != nil {
		return err
	}
	d, ok := v.(*dict)
	if !ok {
		return fmt.Errorf("the machine description is %s", kind(v))
	}
	if little, ok := d.get("little_endian"); ok && little == any(false) {
		return errors.New("the file was written on a big-endian machine, which is not supported")
	}
	return nil
}

// declare makes the storage of a persistent id, once per key.
func declare(storages map[string]*storage, id tuple) (*storage, error) {
	s, err := parseID(id)
	if err != nil {
		return nil, err
	}
	if known, ok := storages[s.key]; ok {
		if known.dtype != s.dtype || known.count != s.count {
			return nil, fmt.Errorf("storage %q has %d elements of %s here and %d of %s elsewhere", s.key, s.count, s.dtype, known.count, known.dtype)
		}
		return known, nil
	}
	storages[s.key] = s
	return s, nil
}

// locate finds where each storage begins: they follow one another from at, so that nothing of them need be read.
func locate(r io.ReaderAt, size, at int64, keys any, storages map[string]*storage) error {
	order, ok := keys.(*list)
	if !ok {
		return fmt.Errorf("the storage keys are %s, where a list is expected", kind(keys))
	}
	found := map[string]bool{}
	for _, item := range order.items {
		key, _ := item.(string)
		s, ok := storages[key]
		if !ok || found[key] {
			return fmt.Errorf("storage key %q occurs twice or belongs to no tensor", key)
		}
		found[key] = true
		var count [8]byte
		if _, err := r.ReadAt(count[:], at); err != nil {
			return fmt.Errorf("reading the size of storage %q: the file is cut short: %w", key, err)
		}
		if n := int64(binary.LittleEndian.Uint64(count[:])); n != s.count {
			return fmt.Errorf("storage %q has %d elements, where %d are expected", key, n, s.count)
		}
		s.offset = at + 8
		if s.bytes() > size-s.offset {
			return fmt.Errorf("storage %q needs %d bytes but the file has only %d more: it is cut short", key, s.bytes(), size-s.offset)
		}
		at = s.offset + s.bytes()
	}
	if len(found) != len(storages) {
		return fmt.Errorf("the file lists %d storages but its tensors use %d", len(found), len(storages))
	}
	return nil
}

// isLegacy tells by the first bytes.
func isLegacy(head []byte) bool { return bytes.HasPrefix(head, legacyStart) }
