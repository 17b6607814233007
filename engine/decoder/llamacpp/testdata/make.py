"""Makes vocab.gguf.gz and tokens.json, the reference for tokenisation; README.md says how and with what.

python make.py PATH/models/ggml-vocab-llama-spm.gguf
"""

import gzip
import json
import os
import sys
import tempfile

import gguf
import sentencepiece
from transformers import LlamaTokenizer, LlamaTokenizerFast, convert_slow_tokenizer
from transformers.utils import sentencepiece_model_pb2 as spm

HERE = os.path.dirname(os.path.abspath(__file__))

# LLark's own tokens, in the order in which its training adds them (m2t/train.py, m2t/models/llamav2.py).
EXTRA = ["[PAD]", "<audio_patch>", "<audio_start>", "<audio_end>"]

PREFIX = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.\n\n### Human: <audio_start>"
)
SUFFIX = "<audio_end>\n{question}\n### Assistant:"
FRAMES = 3

TEXTS = [
    "a", " a", "  a", "a ", "   ", " ", "\n", "\n\n", "\t", " \n ", "\na", "a\n", "a\n\nb", "a  b   c", "\r\n", "\u00a0", "\u3000x",
    "What is the tempo of this song?", " What is the tempo of this song?", "\nWhat is the tempo?\n### Assistant:", "### Human:", "###", " ###", "\n###",
    "F# minor", "B\u266d major", "120.5 BPM", "1234567890", "1/4 = 96", "drum&bass", "don't", "R\u00eaverie", "Re\u0302verie", "\u00c4pfel",
    "\U0001f3b5", "\U0001f3b5\U0001f3b8 music", "\U0001f469\u200d\U0001f3a4", "\U0001f1eb\U0001f1f7", "\u266a", "\u266b\u266c", "\U0001d11e",
    "\u97f3\u697d\u306f\u597d\u304d\u3067\u3059\u304b", "\u97f3\u4e50", "\u043a\u0430\u043a\u043e\u0439 \u0442\u0435\u043c\u043f?", "\u0645\u0627 \u0647\u0630\u0647 \u0627\u0644\u0645\u0648\u0633\u064a\u0642\u0649\u061f", "\u1780\u17b6\u1793\u17cb\u178f\u17c2\u1796\u17b7\u179f\u17c1\u179f",
    "\u0000", "a\u0000b", "\u0001\u001f\u007f", "\ufeffx", "\ufffd", "\u200b", "\u2581", "\u2581a \u2581", "a\u2581b",
    "<unk>", "<s>", "</s>", "<s>a</s>", "[INST] a [/INST]", "<<SYS>>", "<0x0A>", "<0xFF>", "< s >",
    "user@host.example", "https://host.example/a?b=c", "{\"tempo_bpm\":120}", "()[]{}<>", "!!!!!!!!", "........", "-" * 40, "=" * 7, "a" * 50,
    "ied 4 \u00bd months", "w048 7tuijk dsdfhu", "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n",
]

QUESTIONS = [
    "What is the tempo of this song?", "  What?  ", "\n\nWhat key?\n", "\u00a0\u2003What\u3000", "\x1cWhat\x1f", "", " ", "Is it 120 BPM? \U0001f3b5",
    "Say \"###\".", "line one\nline two", "A <b> c", "Repeat: \u2581\u2581",
]


def pieces(path):
    """The vocabulary of a GGUF as (text, score, type)."""
    reader = gguf.GGUFReader(path)
    read = lambda key: reader.fields["tokenizer.ggml." + key].contents()
    return list(zip(read("tokens"), read("scores"), read("token_type")))


def sentencepiece_model(vocab, path):
    """Writes Llama-2's tokenizer.model, of which a GGUF keeps the pieces; its settings are these."""
    model = spm.ModelProto()
    for text, score, kind in vocab:
        model.pieces.add(piece=text, score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = spm.TrainerSpec.BPE
    trainer.vocab_size, trainer.byte_fallback, trainer.split_digits = len(vocab), True, True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", True, False
    normalizer.escape_whitespaces = True
    with open(path, "wb") as f:
        f.write(model.SerializeToString())


def write_gguf(vocab, path):
    """Writes the vocabulary with LLark's tokens behind it, without a model."""
    plain = path.removesuffix(".gz")
    out = gguf.GGUFWriter(plain, "llama")
    out.add_name("Llama-2's vocabulary with LLark's tokens")
    out.add_license("vocabulary: see README.md")
    vocab = vocab + [(name, -1000.0, gguf.TokenType.CONTROL) for name in EXTRA]
    out.add_tokenizer_model("llama")
    out.add_token_list([v[0] for v in vocab])
    out.add_token_scores([v[1] for v in vocab])
    out.add_token_types([int(v[2]) for v in vocab])
    out.add_bos_token_id(1), out.add_eos_token_id(2), out.add_unk_token_id(0)
    out.add_add_bos_token(True), out.add_add_eos_token(False)
    out.write_header_to_file(), out.write_kv_data_to_file(), out.close()
    with open(plain, "rb") as f, open(path, "wb") as to, gzip.GzipFile("", "wb", 9, to, 0) as z:
        z.write(f.read())
    os.remove(plain)


class QuickExtractor(convert_slow_tokenizer.SentencePieceExtractor):
    """Gives what the class above gives, in seconds: it tries all pairs of pieces, this one the splits of each piece."""

    def extract(self, vocab_scores):
        vocab = {self.sp.id_to_piece(i): i for i in range(self.sp.GetPieceSize())}
        merges = []
        for piece, score in dict(vocab_scores).items():
            for at in range(1, len(piece)):
                left, right = vocab.get(piece[:at]), vocab.get(piece[at:])
                if score and left is not None and right is not None:
                    merges.append((-score, left, right, piece[:at], piece[at:]))
        return vocab, [(m[3], m[4]) for m in sorted(merges)]


def tokenizers(path):
    convert_slow_tokenizer.SentencePieceExtractor = QuickExtractor
    slow, fast = LlamaTokenizer(path), LlamaTokenizerFast(path)
    for t in (slow, fast):
        t.add_special_tokens({"pad_token": EXTRA[0]})
        t.add_tokens([EXTRA[1]], special_tokens=True)
        t.add_tokens(EXTRA[2:], special_tokens=True)
        assert t.convert_tokens_to_ids(EXTRA) == [32000, 32001, 32002, 32003]
    return slow, fast


def main():
    vocab = pieces(sys.argv[1])
    write_gguf(vocab, os.path.join(HERE, "vocab.gguf.gz"))
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "tokenizer.model")
        sentencepiece_model(vocab, path)
        reference = sentencepiece.SentencePieceProcessor(model_file=path)
        slow, fast = tokenizers(path)
        plain = [{"text": t, "ids": reference.encode(t), "decoded": reference.decode(reference.encode(t))} for t in TEXTS]
        prompts = []
        for q in QUESTIONS:
            text = PREFIX + "<audio_patch>" * FRAMES + SUFFIX.format(question=q)
            prompts.append({"question": q, "trained": slow(text).input_ids, "verbatim": fast(text).input_ids})
    with open(os.path.join(HERE, "tokens.json"), "w") as f:
        json.dump({"frames": FRAMES, "plain": plain, "prompts": prompts}, f, indent=0)
        f.write("\n")


if __name__ == "__main__":
    main()
