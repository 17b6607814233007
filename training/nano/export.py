"""Write the bundle: python -m nano.export --encoder encoder.npz --decoder decoder.npz --data DIR --bundle models/lark-nano [--quality quality.json]."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from safetensors.numpy import save_file

from . import decoder, encoder
from .data import FRAME_RATE, GROUPS, LAGS, MEL, SEMITONES, Clips
from .packing import AUDIO_END, AUDIO_START, BOS, EOS, prompt
from .tokenizer import Tokenizer
from .tokenizer import load as load_tokenizer

LICENCE = "Apache-2.0 (weights). Trained on music that this project generated; see README.md."
PROMPT = {
    "revision": "nano-1", "prefix": "<s><audio_start>", "suffix": "<audio_end>", "question": "<q>{question}<a>",
    "stop": ["</s>"], "max_tokens": 64,
}  # fmt: skip
CONTEXT = 512
GOLDEN_QUESTIONS = [("What is the tempo?", 45), ("Which key is this in?", 45), ("Describe the music, please!", 24), ("Who wrote this song?", 10)]
GOLDEN_ROWS = 4
MOST_ROWS = 128  # of a golden case: prompt and answer


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hex."""
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_tensors(path: str, tensors: dict) -> None:
    """Write a safetensors file that everyone may read."""
    save_file(tensors, path)
    os.chmod(path, 0o644)


def write_weights(bundle: str, enc: dict, dec: dict) -> tuple[dict, dict]:
    """Write the three weight files; returns the weights as a reader of the files sees them."""
    enc = {k: np.asarray(v, np.float32) for k, v in enc.items()}
    proj = {k: np.asarray(v, np.float32) for k, v in dec.items() if "mm_projector" in k}
    llm = {k: np.asarray(v, np.float16) for k, v in dec.items() if "mm_projector" not in k}
    for name, tensors in (("encoder", enc), ("projector", proj), ("llm", llm)):
        if not all(np.isfinite(v).all() for v in tensors.values()):
            raise ValueError(f"exporting {name}: weights are not finite")
        write_tensors(os.path.join(bundle, name + ".safetensors"), tensors)
    return enc, proj | {k: v.astype(np.float32) for k, v in llm.items()}


@partial(jax.jit, static_argnums=1)
def next_logits(p, shape: decoder.Shape, x, last):
    """Return the logits after row `last` of embeddings x [L, d]; later rows are padding, which a causal model never sees."""
    at = jnp.arange(x.shape[0])
    hidden = decoder.run(p, shape, x[None], at[None], decoder.causal(x.shape[0]))
    return decoder.logits(p, hidden[0, last])


def greedy(p, shape: decoder.Shape, frames: np.ndarray, ids: list[int], limit: int = 40) -> tuple[list[int], list[np.ndarray]]:
    """Return the greedy answer's ids and the logits of every step, computing all from the start each time."""
    table = np.asarray(p["model.embed_tokens.weight"])
    start = np.concatenate([table[[BOS, AUDIO_START]], np.asarray(decoder.project(p, frames)), table[ids]])
    x = np.zeros((MOST_ROWS, table.shape[1]), np.float32)
    x[: len(start)] = start
    out, rows = [], []
    for last in range(len(start) - 1, min(MOST_ROWS, len(start) + limit) - 1):
        rows.append(np.asarray(next_logits(p, shape, x, last)))
        out.append(int(rows[-1].argmax()))
        x[last + 1] = table[out[-1]]
        if out[-1] == EOS:
            break
    return out, rows


def write_golden(bundle: str, enc: dict, dec: dict, shape: decoder.Shape, tok: Tokenizer, clips: Clips) -> None:
    """Write the golden cases from the beginning of some clips."""
    tensors, index = {}, {"encoder": [], "decoder": []}
    for i, count in enumerate((45, 10)):
        grams = encoder.tempograms_for(count)
        given = [clips.semitones[i][:count], clips.mel[i][:count], clips.tempograms[i][:grams]]
        given = [g.astype(np.float32) for g in given]
        frames = np.asarray(encoder.frames(enc, *(jnp.asarray(g)[None] for g in given))[0][0])
        for name, value in zip(("semitones", "mel", "tempogram", "frames"), [*given, frames], strict=True):
            tensors[f"encoder.{i}.{name}"] = value
        index["encoder"].append({"name": f"{count} frames", "frames": count, "windows": grams})
    whole = np.asarray(tensors["encoder.0.frames"])
    for i, (question, count) in enumerate(GOLDEN_QUESTIONS):
        ids = [AUDIO_END, *prompt(tok, question)]
        answer, rows = greedy(dec, shape, whole[:count], ids)
        tensors[f"decoder.{i}.frames"] = whole[:count]
        tensors[f"decoder.{i}.logits"] = np.stack(rows[:GOLDEN_ROWS])
        index["decoder"].append(
            {"name": question, "frames": count, "question": question, "prompt_ids": ids, "answer_ids": answer, "text": tok.decode(answer)}
        )
    os.makedirs(os.path.join(bundle, "golden"), exist_ok=True)
    write_tensors(os.path.join(bundle, "golden", "golden.safetensors"), {k: np.ascontiguousarray(v) for k, v in tensors.items()})
    with open(os.path.join(bundle, "golden", "golden.json"), "w", encoding="utf-8") as f:
        json.dump(index, f, indent=1)
    for case in index["decoder"]:
        print(case["question"], "->", case["text"])


def manifest(bundle: str, shape: decoder.Shape, quality: dict) -> dict:
    """Return model.yaml's content for the files in the bundle."""
    sha = {n: digest(os.path.join(bundle, n)) for n in ("encoder.safetensors", "projector.safetensors", "llm.safetensors", "tokenizer.json")}
    return {
        "format": "larkstream.bundle/v1", "name": "lark-nano", "version": "0", "random": False, "licence": LICENCE,
        "encoder": {
            "engine": "nano", "file": "encoder.safetensors", "sha256": sha["encoder.safetensors"], "width": encoder.WIDTH,
            "frame_rate_hz": round(FRAME_RATE, 4), "span_s": 25.0, "id": "nano-0", "precision": "f32",
            "config": {"semitones": SEMITONES, "mel": MEL, "lags": LAGS, "groups": GROUPS},
        },
        "projector": {"file": "projector.safetensors", "sha256": sha["projector.safetensors"], "in": encoder.WIDTH, "out": shape.hidden},
        "llm": {
            "engine": "reference", "file": "llm.safetensors", "sha256": sha["llm.safetensors"], "layers": shape.layers, "hidden": shape.hidden,
            "heads": shape.heads, "kv_heads": shape.heads, "ffn": shape.ffn, "vocab": shape.vocab, "rope_base": 10000, "norm_eps": 1.0e-5,
            "context": CONTEXT, "tokenizer": "tokenizer.json", "tokenizer_sha256": sha["tokenizer.json"],
        },
        "prompt": PROMPT,
        "quality": quality,
    }  # fmt: skip


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--encoder", required=True)
    args.add_argument("--decoder", required=True)
    args.add_argument("--data", required=True, help="folder with test/")
    args.add_argument("--bundle", required=True, help="folder that holds tokenizer.json")
    args.add_argument("--quality", help="measured quality as JSON")
    a = args.parse_args()
    tok = load_tokenizer(os.path.join(a.bundle, "tokenizer.json"))
    shape = decoder.Shape(len(tok.vocab))
    enc, dec = write_weights(a.bundle, dict(np.load(a.encoder)), dict(np.load(a.decoder)))
    write_golden(a.bundle, enc, dec, shape, tok, Clips(os.path.join(a.data, "test")))
    quality = {}
    if a.quality:
        with open(a.quality, encoding="utf-8") as f:
            quality = json.load(f)
    with open(os.path.join(a.bundle, "model.yaml"), "w", encoding="utf-8") as f:
        yaml.safe_dump(manifest(a.bundle, shape, quality), f, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
