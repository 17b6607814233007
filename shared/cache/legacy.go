package cache

import (
	"encoding/binary"
	"hash/crc32"
)

// Version 1 of the stored form stays readable. It has a head of 20 bytes: as in version 2 up to the shape, then one CRC-32C (4) of everything
// but itself, then the plain values. It tells no key.
const (
	legacyVersion   = 1
	legacyHeadSize  = 20
	legacyCRCOffset = 16
)

func readLegacyHead(raw []byte, size int) (head, error) {
	h := head{dtype: DType(raw[5]), codec: Codec(raw[6]), at: legacyHeadSize, size: size - legacyHeadSize}
	h.crc = binary.LittleEndian.Uint32(raw[legacyCRCOffset:])
	if h.codec != Plain {
		return head{}, errLegacyCodec
	}
	return h, h.check(raw, size)
}

func legacySum(raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(raw[:legacyCRCOffset], castagnoli), castagnoli, raw[legacyHeadSize:])
}
