"""Write the bundle: python -m nano.export --encoder encoder.npz --decoder decoder.npz --data DIR --judged judged.json --bundle models/lark-nano [--quality quality.json]."""

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

from . import decoder, encoder, facts
from .data import FRAME_RATE, GROUPS, LAGS, MEL, PULSE_COLS, PULSE_LAGS, SEMITONES, Clips
from .facts import Notes
from .packing import AUDIO_END, AUDIO_START, BOS, EOS, prompt
from .tokenizer import Tokenizer
from .tokenizer import load as load_tokenizer

LICENCE = "Apache-2.0 (weights). Trained on music that this project generated; see README.md."
PROMPT = {
    "revision": "nano-2", "prefix": "<s><audio_start>", "suffix": "<audio_end>", "question": "<q>{question}<a>",
    "stop": ["</s>"], "max_tokens": 96,
}  # fmt: skip
CONTEXT = 512
GOLDEN_QUESTIONS = [
    ("What is the tempo?", 45), ("Which key is this in?", 45), ("tempo + key pls", 45), ("Describe the music, please!", 24), ("is it faster than 100", 24), ("Who wrote this song?", 10),
]  # fmt: skip
GOLDEN_ROWS = 4
MOST_ROWS = 192  # of a golden case: prompt, notes and answer


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


class Reader:
    """Computes the logits behind a growing row, all from the start each time."""

    def __init__(self, p, shape: decoder.Shape, frames: np.ndarray):
        self.p, self.shape = p, shape
        self.table = np.asarray(p["model.embed_tokens.weight"])
        start = np.concatenate([self.table[[BOS, AUDIO_START]], np.asarray(decoder.project(p, frames))])
        self.x, self.at = np.zeros((MOST_ROWS, self.table.shape[1]), np.float32), len(start)
        self.x[: self.at] = start

    def read(self, ids: list[int]) -> np.ndarray:
        """Append tokens and return the logits behind the last."""
        self.x[self.at : self.at + len(ids)] = self.table[ids]
        self.at += len(ids)
        return np.asarray(next_logits(self.p, self.shape, self.x, self.at - 1))


def take_notes(reader: Reader, tok: Tokenizer, judged: dict) -> tuple[Notes, list[int]]:
    """Take the notes greedily; returns them and their tokens."""
    value, second, unsure, line = {}, "", set(), []
    new = [AUDIO_END]
    for slot in facts.SLOTS:
        label = tok.id[facts.piece(slot)]
        words = facts.values_of(slot)
        logits = reader.read([*new, label])[[tok.id[facts.piece(v)] for v in words]].astype(np.float64)
        logits[0] += judged.get(slot, {}).get("bias", 0.0)
        order = np.argsort(-logits, kind="stable")
        value[slot], new = words[order[0]], [tok.id[facts.piece(words[order[0]])]]
        if slot == "key":
            second = words[order[1]]
            new.append(tok.id[facts.piece(second)])
        if slot in facts.SURE:
            if confidence(slot, words, logits, judged) < judged[slot]["sure"]:
                unsure.add(slot)
            new.append(tok.id[facts.piece("unsure" if slot in unsure else "sure")])
        line += [label, *new]
    reader.read(new)
    return Notes(value, second, frozenset(unsure)), line


def confidence(slot: str, words: list[str], logits: np.ndarray, judged: dict) -> float:
    """Return the calibrated probability of the likeliest value."""
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    best = int(chances.argmax())
    chance = chances[best]
    if slot == "tempo":
        tempi = np.array([float(w) for w in words])
        chance = chances[np.abs(tempi / tempi[best] - 1) <= facts.NEAR].sum()
    chance = float(np.clip(chance, 1e-6, 1 - 1e-6))
    j = judged.get(slot, {})
    return float(1 / (1 + np.exp(-j.get("scale", 1.0) * np.log(chance / (1 - chance)) - j.get("shift", 0.0))))


def greedy(reader: Reader, tok: Tokenizer, notes: Notes, question: str) -> tuple[list[int], list[np.ndarray]]:
    """Return the ids of the greedy answer within what the notes allow, and the logits of every step."""
    names = facts.allowed(notes, question.lower())
    rest = {n: tok.encode(facts.say(n, notes), lower=False) for n in names}
    logits, out, rows, at, said = reader.read(prompt(tok, question)), [], [], 0, 0
    open_ = dict(rest)
    while True:
        rows.append(logits)
        may = {ids[at] for ids in open_.values()} | ({EOS} if at == 0 and said else set())
        best = int(logits.argmax())
        out.append(best if best in may else max(sorted(may), key=lambda i: logits[i]))
        if out[-1] == EOS:
            return out, rows
        open_ = {n: ids for n, ids in open_.items() if ids[at] == out[-1]}
        at += 1
        if whole := [n for n, ids in open_.items() if len(ids) == at]:
            said, at, rest = said + 1, 0, {n: ids for n, ids in rest.items() if n != whole[0]}
            open_ = dict(rest) if said < facts.MOST_SENTENCES else {}
        logits = reader.read([out[-1]])


def write_golden(bundle: str, enc: dict, dec: dict, shape: decoder.Shape, tok: Tokenizer, clips: Clips, judged: dict) -> None:
    """Write the golden cases from the beginning of some clips."""
    tensors, index = {}, {"encoder": [], "decoder": []}
    for i, count in enumerate((45, 10)):
        grams = encoder.tempograms_for(count)
        given = {
            "semitones": clips.semitones[i][:count], "mel": clips.mel[i][:count], "tempograms": clips.tempograms[i][:grams], "pulse": clips.pulse[i],
            "keys": clips.keys[i], "beats": clips.beats[i],
        }  # fmt: skip
        given = {name: value.astype(np.float32) for name, value in given.items()}
        given["frames"] = np.asarray(encoder.frames(enc, {name: jnp.asarray(value)[None] for name, value in given.items()})[0][0])
        given["tempogram"] = given.pop("tempograms")
        for name, value in given.items():
            tensors[f"encoder.{i}.{name}"] = value
        index["encoder"].append({"name": f"{count} frames", "frames": count, "windows": grams})
    whole = np.asarray(tensors["encoder.0.frames"])
    for i, (question, count) in enumerate(GOLDEN_QUESTIONS):
        reader = Reader(dec, shape, whole[:count])
        notes, line = take_notes(reader, tok, judged)
        ids = [AUDIO_END, *line, *prompt(tok, question)]
        answer, rows = greedy(reader, tok, notes, question)
        tensors[f"decoder.{i}.frames"] = whole[:count]
        tensors[f"decoder.{i}.logits"] = np.stack(rows[:GOLDEN_ROWS])
        index["decoder"].append(
            {"name": question, "frames": count, "question": question, "notes": line, "prompt_ids": ids, "answer_ids": answer, "text": tok.decode(answer)}
        )
    os.makedirs(os.path.join(bundle, "golden"), exist_ok=True)
    write_tensors(os.path.join(bundle, "golden", "golden.safetensors"), {k: np.ascontiguousarray(v) for k, v in tensors.items()})
    with open(os.path.join(bundle, "golden", "golden.json"), "w", encoding="utf-8") as f:
        json.dump(index, f, indent=1)
    for case in index["decoder"]:
        print(case["question"], "->", case["text"])


def manifest(bundle: str, shape: decoder.Shape, quality: dict) -> dict:
    """Return model.yaml's content for the files in the bundle."""
    names = ("encoder.safetensors", "projector.safetensors", "llm.safetensors", "tokenizer.json", "notes.json")
    sha = {n: digest(os.path.join(bundle, n)) for n in names}
    return {
        "format": "larkstream.bundle/v1", "name": "lark-nano", "version": "3", "random": False, "licence": LICENCE,
        "encoder": {
            "engine": "nano", "file": "encoder.safetensors", "sha256": sha["encoder.safetensors"], "width": encoder.WIDTH,
            "frame_rate_hz": round(FRAME_RATE, 4), "span_s": 25.0, "id": "nano-3", "precision": "f32",
            "config": {"semitones": SEMITONES, "mel": MEL, "lags": LAGS, "groups": GROUPS, "pulse_lags": PULSE_LAGS, "pulse_columns": PULSE_COLS},
        },
        "projector": {"file": "projector.safetensors", "sha256": sha["projector.safetensors"], "in": encoder.WIDTH, "out": shape.hidden},
        "llm": {
            "engine": "reference", "file": "llm.safetensors", "sha256": sha["llm.safetensors"], "layers": shape.layers, "hidden": shape.hidden,
            "heads": shape.heads, "kv_heads": shape.heads, "ffn": shape.ffn, "vocab": shape.vocab, "rope_base": 10000, "norm_eps": 1.0e-5,
            "context": CONTEXT, "tokenizer": "tokenizer.json", "tokenizer_sha256": sha["tokenizer.json"],
            "notes": "notes.json", "notes_sha256": sha["notes.json"],
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
    args.add_argument("--judged", required=True, help="what nano.judge wrote")
    args.add_argument("--quality", help="measured quality as JSON")
    a = args.parse_args()
    tok = load_tokenizer(os.path.join(a.bundle, "tokenizer.json"))
    shape = decoder.Shape(len(tok.vocab))
    enc, dec = write_weights(a.bundle, dict(np.load(a.encoder)), dict(np.load(a.decoder)))
    with open(a.judged, encoding="utf-8") as f:
        judged = json.load(f)
    facts.write(os.path.join(a.bundle, "notes.json"), judged)
    write_golden(a.bundle, enc, dec, shape, tok, Clips(os.path.join(a.data, "test")), judged)
    quality = {}
    if a.quality:
        with open(a.quality, encoding="utf-8") as f:
            quality = json.load(f)
    with open(os.path.join(a.bundle, "model.yaml"), "w", encoding="utf-8") as f:
        yaml.safe_dump(manifest(a.bundle, shape, quality), f, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
