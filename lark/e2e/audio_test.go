package e2e

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"unicode/utf8"
)

const sampleRate = 44_100

// melody is a mono wav file of another tone every second, with a little noise, so that no two windows
// of it, nor of two seeds, are the same.
func melody(seed uint64, seconds int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	samples := make([]int16, 0, seconds*sampleRate)
	for range seconds {
		step := 2 * math.Pi * 110 * math.Pow(2, r.Float64()*3) / sampleRate
		phase := 0.0
		for range sampleRate {
			phase += step
			samples = append(samples, int16(8000*math.Sin(phase)+4000*math.Sin(2*phase)+50*r.NormFloat64()))
		}
	}
	return wav(sampleRate, 1, samples)
}

// wav makes a file of interleaved 16-bit samples.
func wav(rate, channels int, samples []int16) []byte {
	return wavClaiming(uint32(2*len(samples)), rate, channels, samples)
}

// wavClaiming makes a wav file whose header claims a data chunk of that many bytes.
func wavClaiming(claim uint32, rate, channels int, samples []int16) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF")
	put(&b, claim+36)
	b.WriteString("WAVEfmt ")
	put(&b, uint32(16), uint16(1), uint16(channels), uint32(rate), uint32(rate*channels*2), uint16(channels*2), uint16(16))
	b.WriteString("data")
	put(&b, claim)
	put(&b, samples)
	return b.Bytes()
}

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic(err) // a bytes.Buffer takes everything
		}
	}
}

// flacFrame holds the samples of a verbatim frame, or one value that is repeated for length samples.
type flacFrame struct {
	samples []int16
	value   int16
	length  int
}

// flac makes a mono 16-bit file at 44.1 kHz, in the format of RFC 9639: stream info without checksum of the audio, then fixed-size frames
// with one subframe each, verbatim or constant.
func flac(total uint64, block int, frames func(yield func(flacFrame) bool)) []byte {
	var b bytes.Buffer
	b.WriteString("fLaC")
	b.Write([]byte{0x80, 0, 0, 34})
	b.Write(binary.BigEndian.AppendUint16(nil, uint16(block)))
	b.Write(binary.BigEndian.AppendUint16(nil, uint16(block)))
	b.Write(make([]byte, 6))
	b.Write(binary.BigEndian.AppendUint64(nil, uint64(sampleRate)<<44|15<<36|total)) // one channel, 16 bits a sample
	b.Write(make([]byte, 16))
	number := rune(0)
	for f := range frames {
		n := max(f.length, len(f.samples))
		frame := []byte{0xff, 0xf8, 0x79, 0x08} // sync, fixed blocks; 16-bit block size, 44.1 kHz; mono, 16 bits
		frame = appendFrameNumber(frame, number)
		frame = binary.BigEndian.AppendUint16(frame, uint16(n-1))
		frame = append(frame, crc8(frame))
		if f.samples == nil {
			frame = binary.BigEndian.AppendUint16(append(frame, 0), uint16(f.value))
		} else {
			frame = append(frame, 2)
			for _, s := range f.samples {
				frame = binary.BigEndian.AppendUint16(frame, uint16(s))
			}
		}
		b.Write(binary.BigEndian.AppendUint16(frame, crc16(frame)))
		number++
	}
	return b.Bytes()
}

// appendFrameNumber writes a number as UTF-8 does, without its gap for surrogates.
func appendFrameNumber(b []byte, n rune) []byte {
	if n >= 0xd800 && n < 0xe000 {
		return append(b, 0xe0|byte(n>>12), 0x80|byte(n>>6)&0x3f, 0x80|byte(n)&0x3f)
	}
	return utf8.AppendRune(b, n)
}

func crc8(data []byte) byte {
	var crc byte
	for _, d := range data {
		crc ^= d
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x07
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func crc16(data []byte) uint16 {
	var crc uint16
	for _, d := range data {
		crc ^= uint16(d) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x8005
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// flacTone is a valid file of a tone.
func flacTone(seconds int) []byte {
	const block = 4096
	total := seconds * sampleRate
	return flac(uint64(total), block, func(yield func(flacFrame) bool) {
		for at := 0; at < total; at += block {
			samples := make([]int16, min(block, total-at))
			for i := range samples {
				samples[i] = int16(8000 * math.Sin(2*math.Pi*440*float64(at+i)/sampleRate))
			}
			if !yield(flacFrame{samples: samples}) {
				return
			}
		}
	})
}

// flacBomb is a valid file of hours of one value: 40 KB an hour that decode to 318 MB.
func flacBomb(hours int) []byte {
	const block = 65_535
	total := hours * 3600 * sampleRate
	return flac(uint64(total), block, func(yield func(flacFrame) bool) {
		for at := 0; at < total; at += block {
			if !yield(flacFrame{value: 1000, length: min(block, total-at)}) {
				return
			}
		}
	})
}
