"""Packing several questions behind one audio prefix, as the service shares the prefix between questions."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from . import questions
from .labels import FAMILIES, METRES, MODES, TEMPO_MAX, TEMPO_MIN, TONICS
from .tokenizer import MARK, SPECIAL, Tokenizer

PAD, BOS, EOS, AUDIO_START, AUDIO_END, ASK, ANSWER = range(len(SPECIAL))
KIND_WEIGHTS = {"tempo": 0.9, "key": 1.2, "metre": 0.9, "drums": 0.8, "instruments": 4.5, "describe": 0.6, "has": 1.2, "tempo_key": 0.3, "cannot": 1.3}
# A greedy list keeps to what is likeliest: families that are in most pieces would push out the others, so they weigh less.
FAMILY_WEIGHTS = {
    "piano": 4, "mallets": 7, "organ": 4, "guitar": 5, "bass": 3, "strings": 8, "choir": 14, "brass": 12, "reeds": 14, "flutes": 10, "synth": 14, "folk": 10,
}  # fmt: skip
TEMPO_WIDTH = 0.02  # standard deviation of the tempo target, in natural log


@dataclass
class Packed:
    """One row of tokens with what the loss needs. Segment -1 is padding; places count from the first token after the audio."""

    ids: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    segment: np.ndarray
    place: np.ndarray


def token_weights(tok: Tokenizer) -> np.ndarray:
    """Return the weight of each target token: those that carry the facts count most."""
    w = np.full(len(tok.vocab), 0.5, np.float32)
    for word, weight in (
        [(f"{n}", 5) for n in range(TEMPO_MIN, TEMPO_MAX + 1)] + [(t, 6) for t in TONICS] + [(m, 5) for m in MODES]
        + [(m, 8) for m in METRES] + [("Yes", 7), ("No", 7), ("drums", 3), ("no", 2), ("I", 3), ("can't", 4), ("hear", 4), ("The", 4), ("A", 4), ("tempo", 3), ("key", 3), ("metre", 3)] + [(f, FAMILY_WEIGHTS[f]) for f in FAMILIES] + [("and", 3)]
    ):  # fmt: skip
        w[tok.id[MARK + word]] = weight
    w[tok.id["."]] = w[EOS] = 1.0
    return w


def tempo_ids(tok: Tokenizer) -> np.ndarray:
    """Return the ids of the tempo tokens in order."""
    return np.array([tok.id[f"{MARK}{n}"] for n in range(TEMPO_MIN, TEMPO_MAX + 1)])


def soft_targets(tok: Tokenizer) -> np.ndarray:
    """Return [V, V]: the target distribution of each token; a tempo shares its weight with its neighbours."""
    out, ids = np.eye(len(tok.vocab), dtype=np.float32), tempo_ids(tok)
    tempi = np.arange(TEMPO_MIN, TEMPO_MAX + 1)
    near = np.exp(-0.5 * (np.log(tempi[:, None] / tempi[None]) / TEMPO_WIDTH) ** 2)
    out[np.ix_(ids, ids)] = near / near.sum(1, keepdims=True)
    return out


def prompt(tok: Tokenizer, question: str) -> list[int]:
    """Return the ids after the audio and its end: <q> question <a>."""
    return [ASK, *tok.encode(question), ANSWER]


def pack(rng: random.Random, tok: Tokenizer, label: dict, weights: np.ndarray, length: int, split: str = "train") -> Packed:
    """Fill a row of `length` tokens with questions about one clip."""
    out = Packed(np.zeros(length, np.int32), np.zeros(length, np.int32), np.zeros(length, np.float32), np.full(length, -1, np.int32), np.zeros(length, np.int32))
    kinds, at, segment = list(KIND_WEIGHTS), 0, 0
    while True:
        kind = rng.choices(kinds, list(KIND_WEIGHTS.values()))[0]
        asked, answered = questions.draw(rng, kind, label, split)
        before, after = prompt(tok, asked), tok.encode(answered, lower=False) + [EOS]
        ids = before + after[:-1]
        if len(ids) > length - at:
            return out
        here = slice(at, at + len(ids))
        out.ids[here], out.segment[here], out.place[here] = ids, segment, np.arange(len(ids))
        heads = slice(at + len(before) - 1, at + len(ids))
        out.target[heads], out.weight[heads] = after, weights[after]
        at, segment = at + len(ids), segment + 1
