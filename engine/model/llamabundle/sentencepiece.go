package llamabundle

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of fields in sentencepiece_model.proto (https://github.com/google/sentencepiece) that matter here.
const (
	modelPieces     = 1
	modelTrainer    = 2
	modelNormalizer = 3

	pieceText  = 1
	pieceScore = 2
	pieceKind  = 3

	trainerModelType = 3
	trainerUnk       = 40
	trainerBos       = 41
	trainerEos       = 42

	normalizerCharsmap  = 2
	normalizerPrefix    = 3
	normalizerDropSpace = 4

	typeBPE = 2 // TrainerSpec.ModelType
)

// parseSentencePiece reads tokenizer.model. llama.cpp joins pieces as SentencePiece's BPE does; what it would do otherwise is refused.
func parseSentencePiece(raw []byte) (*vocab, error) {
	v := newVocab()
	v.unk, v.bos, v.eos = 0, 1, 2 // the defaults of the format
	kind := uint64(1)             // UNIGRAM, the default
	err := fields(raw, func(field protowire.Number, number uint64, data []byte) error {
		switch field {
		case modelPieces:
			return v.addPiece(data)
		case modelTrainer:
			return fields(data, func(field protowire.Number, number uint64, _ []byte) error {
				switch field {
				case trainerModelType:
					kind = number
				case trainerUnk:
					v.unk = int(int32(number))
				case trainerBos:
					v.bos = int(int32(number))
				case trainerEos:
					v.eos = int(int32(number))
				}
				return nil
			})
		case modelNormalizer:
			return v.normalizer(data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if kind != typeBPE {
		return nil, fmt.Errorf("its type is %d, where BPE (%d) is expected, as in Llama-2", kind, typeBPE)
	}
	for name, id := range map[string]int{"unk_id": v.unk, "bos_id": v.bos, "eos_id": v.eos} {
		if id < -1 || id >= len(v.tokens) {
			return nil, fmt.Errorf("%s is %d, but it has %d pieces", name, id, len(v.tokens))
		}
	}
	return v, v.checkBytes()
}

// fields passes the fields of a message: number for integers and floats (as bits), data for the others.
func fields(raw []byte, each func(field protowire.Number, number uint64, data []byte) error) error {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return fmt.Errorf("reading a field: %w", protowire.ParseError(n))
		}
		raw = raw[n:]
		var number uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(raw)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(raw)
			number = uint64(bits)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(raw)
		default:
			n = protowire.ConsumeFieldValue(field, kind, raw)
		}
		if n < 0 {
			return fmt.Errorf("reading field %d: %w", field, protowire.ParseError(n))
		}
		raw = raw[n:]
		if err := each(field, number, data); err != nil {
			return err
		}
	}
	return nil
}

// addPiece reads a SentencePiece; its kinds have the numbers of llama.cpp's.
func (v *vocab) addPiece(raw []byte) error {
	if len(v.tokens) >= maxVocab {
		return fmt.Errorf("it has more than %d pieces", maxVocab)
	}
	text, score, kind := "", float32(0), uint64(normal)
	err := fields(raw, func(field protowire.Number, number uint64, data []byte) error {
		switch field {
		case pieceText:
			text = string(data)
		case pieceScore:
			score = math.Float32frombits(uint32(number))
		case pieceKind:
			kind = number
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("piece %d: %w", len(v.tokens), err)
	case kind < normal || kind > byteToken || score-score != 0:
		return fmt.Errorf("piece %d has the kind %d and the score %v", len(v.tokens), kind, score)
	}
	return v.add(text, score, int32(kind))
}

func (v *vocab) normalizer(raw []byte) error {
	dropSpace, charsmap := true, 0 // spaces are dropped by default
	err := fields(raw, func(field protowire.Number, number uint64, data []byte) error {
		switch field {
		case normalizerCharsmap:
			charsmap = len(data)
		case normalizerPrefix:
			v.noPrefix = number == 0
		case normalizerDropSpace:
			dropSpace = number != 0
		}
		return nil
	})
	if err == nil && (dropSpace || charsmap > 0) {
		err = errors.New("it changes characters or drops spaces before it cuts a text, which Llama-2's tokenizer and llama.cpp do not")
	}
	return err
}

const maxVocab = 1 << 20

// checkBytes demands a token for every byte, which stands for what has no piece.
func (v *vocab) checkBytes() error {
	for b := range 256 {
		id, ok := v.ids[byteName(byte(b))]
		if !ok || v.kinds[id] != byteToken {
			return fmt.Errorf("it has no token for the byte %d: Llama-2's tokenizer has one for each", b)
		}
	}
	return nil
}
