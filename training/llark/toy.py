"""Make a decoder from nothing: python -m llark.toy --shards DIR --out DIR. Its vocabulary is learnt from the shards' text, its weights are random."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter

import torch
from safetensors.torch import save_file

from . import data, model
from .tokens import SYSTEM

SPACE = "▁"


def vocabulary(texts: list[str], size: int) -> list[str]:
    """Pieces in the order in which byte-pair encoding finds them, as SentencePiece does: words begin with ▁ and no piece spans two words."""
    words = Counter(SPACE + w for t in texts for w in t.split(" "))
    chars = sorted({c for w in words for c in w} - {"\n"})  # a newline is its byte, as in Llama-2
    pieces, split = list(chars), {w: list(w) for w in words}
    while len(pieces) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for w, parts in split.items():
            for a, b in zip(parts, parts[1:]):
                pairs[a, b] += words[w]
        pairs = Counter({p: n for p, n in pairs.items() if "\n" not in p[0] + p[1] and p[0] + p[1] not in pieces})
        if not pairs:
            break
        (a, b), _ = min(pairs.items(), key=lambda x: (-x[1], x[0]))
        pieces.append(a + b)
        for w, parts in split.items():
            i = 0
            while i + 1 < len(parts):
                if parts[i] == a and parts[i + 1] == b:
                    parts[i : i + 2] = [a + b]
                i += 1
    # Characters are last of all in a SentencePiece model: whatever joins goes before.
    return pieces[len(chars) :] + chars


def tokenizer(pieces: list[str]) -> dict:
    """tokenizer.json as transformers writes it of a SentencePiece model: every pair that makes a piece is a merge, in the order of the pieces."""
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + pieces
    ids = {name: i for i, name in enumerate(names)}
    merges = [[p[:k], p[k:]] for p in pieces for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
    normalizers = [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]  # fmt: skip
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [{"id": i, "content": names[i]} | special for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "vocab": ids, "merges": merges,
        },
    }  # fmt: skip


def kv_heads(heads: int) -> int:
    """Half of the heads have keys and values of their own."""
    return max(1, heads // 2)


def config(vocab: int, hidden: int, layers: int, heads: int, kind: str) -> dict:
    return {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[kind]], "model_type": kind, "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": hidden * 5 // 2, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads(heads), "vocab_size": vocab,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip


def write(folder: str, texts: list[str], size: int, hidden: int, layers: int, heads: int, seed: int, kind: str = "llama") -> None:
    os.makedirs(folder, exist_ok=True)
    tokens = tokenizer(vocabulary([SYSTEM, "\n\n### Human:", "\n### Assistant:", "\n###", *texts], size))
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokens, f, ensure_ascii=False)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config(len(tokens["model"]["vocab"]), hidden, layers, heads, kind), f, indent=1)
    torch.manual_seed(seed)
    net = model.Llark(model.Shape.read(folder), 1, 0, 0)
    tensors = {n: p.detach() for n, p in net.named_parameters() if "mm_projector" not in n and "audio_rows" not in n}
    for name, value in tensors.items():
        if value.dim() > 1:
            value.normal_(0, 0.02 if "embed" not in name else 0.5)
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--shards", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--vocab", type=int, default=800, help="pieces beside the bytes")
    p.add_argument("--hidden", type=int, default=192)
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--heads", type=int, default=6)
    p.add_argument("--kind", choices=["llama", "qwen2"], default="llama")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args(argv)
    if a.heads % kv_heads(a.heads) or a.hidden % (2 * a.heads):
        p.error(f"--heads {a.heads} does not fit: half of the heads have keys, each shared by as many, and --hidden {a.hidden} must be an even number for each head")
    pairs = data.Shards(a.shards, "train").pairs
    write(a.out, [t for q in pairs for t in (q.question, q.answer)], a.vocab, a.hidden, a.layers, a.heads, a.seed, a.kind)
    print(f"wrote {a.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
