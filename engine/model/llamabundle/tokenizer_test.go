package llamabundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
)

func TestSentencePieceIsReadBack(t *testing.T) {
	t.Parallel()
	v, err := synthetic(700)
	require.NoError(t, err)
	got, err := parseSentencePiece(v.sentencePiece(696))
	require.NoError(t, err)
	require.Equal(t, v.tokens[:696], got.tokens)
	require.Equal(t, v.scores[:696], got.scores)
	require.Equal(t, v.kinds[:696], got.kinds)
	require.Equal(t, []int{0, 1, 2}, []int{got.unk, got.bos, got.eos})
	require.False(t, got.noPrefix)
}

func TestSentencePieceNamesItsFaults(t *testing.T) {
	t.Parallel()
	v, err := synthetic(400)
	require.NoError(t, err)
	good := v.sentencePiece(396)
	with := func(field protowire.Number, sub protowire.Number, value uint64) []byte {
		message := protowire.AppendVarint(protowire.AppendTag(nil, sub, protowire.VarintType), value)
		return protowire.AppendBytes(protowire.AppendTag(slices.Clone(good), field, protowire.BytesType), message)
	}
	twice := protowire.AppendBytes(protowire.AppendTag(nil, pieceText, protowire.BytesType), []byte("<s>"))
	charsmap := protowire.AppendBytes(protowire.AppendTag(nil, normalizerCharsmap, protowire.BytesType), []byte("map"))
	for want, raw := range map[string][]byte{
		"reading field 7":              []byte("<html>"),
		"reading a field":              append(slices.Clone(good), 0xff),
		"reading field 1":              good[:len(v.sentencePiece(300))+1],
		"its type is 1, where BPE":     with(modelTrainer, trainerModelType, 1),
		"bos_id is 396":                with(modelTrainer, trainerBos, 396),
		"drops spaces":                 with(modelNormalizer, normalizerDropSpace, 1),
		"changes characters":           protowire.AppendBytes(protowire.AppendTag(slices.Clone(good), modelNormalizer, protowire.BytesType), charsmap),
		"tokens 1 and 396 are both":    protowire.AppendBytes(protowire.AppendTag(slices.Clone(good), modelPieces, protowire.BytesType), twice),
		"has the kind 9":               with(modelPieces, pieceKind, 9),
		"both \"\"":                    with(modelPieces, pieceKind, 1),
		"no token for the byte 11":     v.sentencePiece(14),
		"its type is 1, where BPE (2)": nil,
	} {
		if raw == nil {
			_, err = parseSentencePiece(nil)
			require.ErrorContains(t, err, want)
			continue
		}
		_, err := parseSentencePiece(raw)
		require.ErrorContains(t, err, want)
	}
}

// fast writes a vocabulary as tokenizer.json, as transformers converts a SentencePiece model: all pairs that make a piece are merges, those of the
// highest score first (convert_slow_tokenizer.py: generate_merges).
func fast(tb testing.TB, v *vocab, n int, asPairs bool) map[string]any {
	tb.Helper()
	ids := map[string]int{}
	for id := range n {
		ids[v.tokens[id]] = id
	}
	type merge struct {
		left, right string
		score       float32
	}
	var merges []merge
	for id := range n {
		piece := v.tokens[id]
		for at := range piece {
			_, left := ids[piece[:at]]
			if _, right := ids[piece[at:]]; left && right {
				merges = append(merges, merge{piece[:at], piece[at:], v.scores[id]})
			}
		}
	}
	slices.SortStableFunc(merges, func(a, b merge) int { return cmp.Compare(b.score, a.score) })
	var list []any
	for _, m := range merges {
		if asPairs {
			list = append(list, []string{m.left, m.right})
		} else {
			list = append(list, m.left+" "+m.right)
		}
	}
	return map[string]any{
		"model": map[string]any{"type": "BPE", "byte_fallback": true, "vocab": ids, "merges": list},
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": "▁"}, map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		}},
		"pre_tokenizer": nil,
		"added_tokens":  []any{map[string]any{"id": 1, "content": "<s>", "special": true}, map[string]any{"id": n, "content": "<audio_start>", "special": true}},
	}
}

func encoded(tb testing.TB, v any) []byte {
	tb.Helper()
	raw, err := json.Marshal(v)
	require.NoError(tb, err)
	return raw
}

// The scores that tokenizer.json lost come back in the same order.
func TestTokenizerJSONEqualsTheSentencePieceModel(t *testing.T) {
	t.Parallel()
	v, err := synthetic(4000)
	require.NoError(t, err)
	for id := 1000; id < 1010; id++ {
		v.scores[id] = -1e9 // Llama-2's runs of spaces have one score together
	}
	for _, asPairs := range []bool{false, true} {
		got, err := parseTokenizerJSON(encoded(t, fast(t, v, 3996, asPairs)))
		require.NoError(t, err)
		require.Equal(t, v.tokens[:3996], got.tokens)
		require.Equal(t, v.kinds[:3996], got.kinds)
		require.Equal(t, []int{0, 1, 2}, []int{got.unk, got.bos, got.eos})
		require.False(t, got.noPrefix)
		var made []int // ids of pieces that are made of others
		for id := range 3996 {
			if len([]rune(v.tokens[id])) > 1 && v.kinds[id] == normal {
				made = append(made, id)
			}
		}
		require.Greater(t, len(made), 3000)
		for i, a := range made[1:] {
			b := made[i]
			if v.scores[a] == v.scores[b] {
				continue // any order will do
			}
			require.Equal(t, v.scores[a] < v.scores[b], got.scores[a] < got.scores[b], "%q and %q", v.tokens[a], v.tokens[b])
		}
		require.Less(t, got.scores[1000], got.scores[3900], "the lowest score")
	}
}

// Files of transformers are laid out over many lines.
func TestTokenizerJSONMayBeIndented(t *testing.T) {
	t.Parallel()
	v, err := synthetic(400)
	require.NoError(t, err)
	raw, err := json.MarshalIndent(fast(t, v, 396, false), "", "  ")
	require.NoError(t, err)
	_, err = parseTokenizerJSON(raw)
	require.NoError(t, err)
}

func TestTokenizerJSONNamesItsFaults(t *testing.T) {
	t.Parallel()
	v, err := synthetic(700)
	require.NoError(t, err)
	inner := func(key string, value any) func(map[string]any) {
		return func(m map[string]any) { m["model"].(map[string]any)[key] = value }
	}
	outer := func(key string, value any) func(map[string]any) {
		return func(m map[string]any) { m[key] = value }
	}
	for want, change := range map[string]func(map[string]any){
		`its model is "Unigram"`:          inner("type", "Unigram"),
		"with byte_fallback false":        inner("byte_fallback", false),
		"not numbered from 0":             inner("vocab", map[string]int{"a": 0, "b": 2}),
		"no token for the byte 0":         inner("vocab", map[string]int{"a": 0, "b": 1}),
		"parsing the merges":              inner("merges", 3),
		"is no pair":                      inner("merges", []string{"ab"}),
		"makes no piece":                  inner("merges", []string{"▁q ▁q"}),
		"make a piece but are no merge":   inner("merges", []string{}),
		"its pre-tokenizer is \"ByteLev":  outer("pre_tokenizer", map[string]any{"type": "ByteLevel"}),
		"its normalizer has a step \"NFC": outer("normalizer", map[string]any{"type": "NFC"}),
		"does not turn spaces into":       outer("normalizer", nil),
		"parsing":                         outer("model", 7),
	} {
		file := fast(t, v, 696, false)
		change(file)
		_, err := parseTokenizerJSON(encoded(t, file))
		require.ErrorContains(t, err, want)
	}
	file := fast(t, v, 696, false)
	file["normalizer"], file["pre_tokenizer"] = nil, map[string]any{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false}
	got, err := parseTokenizerJSON(encoded(t, file))
	require.NoError(t, err)
	require.True(t, got.noPrefix)
}

func TestAddedTokensComeFromAllFiles(t *testing.T) {
	t.Parallel()
	v, err := synthetic(400)
	require.NoError(t, err)
	dir := t.TempDir()
	put := func(name string, content any) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), encoded(t, content), 0o600))
	}
	put("tokenizer.json", fast(t, v, 396, false)) // 396: <audio_start>
	put("added_tokens.json", map[string]int{"[PAD]": 397, "word": 399})
	put("tokenizer_config.json", map[string]any{"added_tokens_decoder": map[string]any{"1": map[string]any{"content": "<s>", "special": true}, "401": map[string]any{"content": "<audio_end>", "special": true}}})
	got, err := readVocab(dir, 404)
	require.NoError(t, err)
	require.Equal(t, []string{"<audio_start>", "[PAD]", "[PAD398]", "word", "[PAD400]", "<audio_end>", "[PAD402]", "[PAD403]"}, got.tokens[396:])
	require.Equal(t, []int32{control, control, unused, userDefined, unused, control, unused, unused}, got.kinds[396:])
	require.Equal(t, 397, got.pad)
	require.True(t, got.audio())

	_, err = readVocab(dir, 401)
	require.ErrorContains(t, err, "is 401, but the model has 401 rows")
	_, err = readVocab(dir, 300)
	require.ErrorContains(t, err, "do not belong together")
	put("added_tokens.json", map[string]int{"other": 396})
	_, err = readVocab(dir, 404)
	require.ErrorContains(t, err, "in one file and")
}

func FuzzSentencePiece(f *testing.F) {
	v, err := synthetic(400)
	require.NoError(f, err)
	good := v.sentencePiece(396)
	f.Add(good)
	f.Add(good[:1000])
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v *vocab
		var err error
		alloctest.Bound(t, len(raw), 64<<10, 400, func() { v, err = parseSentencePiece(raw) })
		if err == nil {
			require.Len(t, v.ids, len(v.tokens))
			require.GreaterOrEqual(t, len(v.tokens), 256)
		}
	})
}

func FuzzTokenizerJSON(f *testing.F) {
	v, err := synthetic(336)
	require.NoError(f, err)
	good := encoded(f, fast(f, v, 332, true))
	f.Add(good)
	f.Add(encoded(f, fast(f, v, 332, false)))
	f.Add([]byte(`{"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0},"merges":[["a"]]},"normalizer":{"type":"Replace"}}`))
	f.Add(fmt.Appendf(nil, "%s", good[:500]))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var v *vocab
		var err error
		alloctest.Bound(t, len(raw), 64<<10, 200, func() { v, err = parseTokenizerJSON(raw) })
		if err == nil {
			require.Len(t, v.ids, len(v.tokens))
		}
	})
}

// FuzzConfig: whatever config.json holds, a shape that passes is one that can be computed with.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":96,"vocab_size":400}`))
	f.Add([]byte(`{"hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"intermediate_size":96,"vocab_size":400,` +
		`"rms_norm_eps":1e-5,"rope_parameters":{"rope_theta":1e6,"rope_type":"default"},"rope_scaling":null,"sliding_window":4096}`))
	f.Add([]byte(`{"hidden_size":-1,"rope_scaling":{"type":"linear"},"hidden_act":"gelu"}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600))
		var shape Shape
		var err error
		alloctest.Bound(t, len(raw), 128<<10, 200, func() { _, shape, err = readConfig(dir) })
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), len(dir)+4000)
			return
		}
		require.NoError(t, shape.Validate())
		require.Positive(t, shape.head())
	})
}
