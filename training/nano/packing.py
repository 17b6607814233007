"""Packing several questions behind one audio prefix, as the service shares the prefix between questions."""

from __future__ import annotations

import random
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from . import facts, questions
from .facts import Notes
from .labels import TEMPO_MAX, TEMPO_MIN
from .tokenizer import MARK, SPECIAL, Tokenizer

PAD, BOS, EOS, AUDIO_START, AUDIO_END, ASK, ANSWER = range(len(SPECIAL))
TEMPO_WIDTH = 0.02  # standard deviation of the tempo target, in natural log


NOTES = len(facts.invented(random.Random(0)).line())  # tokens of the notes


@dataclass
class Packed:
    """One row of tokens with what the loss needs: the notes, then questions. Segment -1 is padding; places count from the first token after the notes."""

    notes: np.ndarray  # [NOTES] ids
    noted: np.ndarray  # [NOTES] weight of each note as a target; 0 where the model does not choose it
    ids: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    segment: np.ndarray
    place: np.ndarray


SLOT_WEIGHTS = {"sound": 2.0, "tempo": 2.0, "key": 3.0, "metre": 2.0, "drums": 1.5}
VALUE_WEIGHT, WORD_WEIGHT, CHOICE_WEIGHT = 0.3, 0.3, 2.0
CHOICES = 3  # tokens at the beginning of a sentence in which the answer is chosen


def token_weights(tok: Tokenizer) -> np.ndarray:
    """Return the weight of each token of an answer outside the beginnings of sentences: values are given by the notes."""
    w = np.full(len(tok.vocab), WORD_WEIGHT, np.float32)
    for slot in facts.SLOTS:
        for v in facts.values_of(slot):
            w[tok.id[facts.piece(v)]] = VALUE_WEIGHT
    return w


def tempo_ids(tok: Tokenizer) -> np.ndarray:
    """Return the ids of the tempo tokens in order."""
    return np.array([tok.id[f"{MARK}{n}"] for n in range(TEMPO_MIN, TEMPO_MAX + 1)])


def near_tempi(tok: Tokenizer) -> dict:
    """Return [tempi, V], the target distribution of each tempo, which shares its weight with its neighbours, and the first tempo's id."""
    ids, tempi = tempo_ids(tok), np.arange(TEMPO_MIN, TEMPO_MAX + 1)
    near = np.exp(-0.5 * (np.log(tempi[:, None] / tempi[None]) / TEMPO_WIDTH) ** 2)
    out = np.zeros((len(ids), len(tok.vocab)), np.float32)
    out[:, ids] = near / near.sum(1, keepdims=True)
    if (np.diff(ids) != 1).any():
        raise ValueError("the tempo tokens do not follow each other in the vocabulary")
    return {"near": jnp.asarray(out), "first": int(ids[0])}


def prompt(tok: Tokenizer, question: str) -> list[int]:
    """Return the ids after the notes: <q> question <a>."""
    return [ASK, *tok.encode(question), ANSWER]


def note_row(tok: Tokenizer, notes: Notes, true: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the notes and their weights as targets: none of invented notes, and of a window without music the sound only."""
    line = notes.line()
    ids = np.array([tok.id[p] for _, p in line], np.int32)
    music = notes.value["sound"] == "music"
    told = [0.0 if not true or what in ("label", "second", "sure") or (what != "sound" and not music) else SLOT_WEIGHTS.get(what, 1.0) for what, _ in line]
    return ids, np.array(told, np.float32)


def answer_weights(tok: Tokenizer, after: list[int], weights: np.ndarray) -> np.ndarray:
    """Return the weights of an answer's tokens: where a sentence begins or could begin, the answer is chosen."""
    w = weights[after].copy()
    begins = [0] + [i + 1 for i, t in enumerate(after[:-1]) if t == tok.id["."]]
    for b in begins:
        w[b : b + CHOICES] = CHOICE_WEIGHT
    w[-1] = CHOICE_WEIGHT
    return w


def pack(rng: random.Random, tok: Tokenizer, label: dict | None, weights: np.ndarray, length: int, split: str = "train") -> Packed:
    """Fill a row of `length` tokens with questions about one clip, or about invented notes."""
    notes = facts.of_label(label, rng) if label else facts.invented(rng)
    out = Packed(
        *note_row(tok, notes, label is not None), np.zeros(length, np.int32), np.zeros(length, np.int32), np.zeros(length, np.float32),
        np.full(length, -1, np.int32), np.zeros(length, np.int32),
    )  # fmt: skip
    kinds, at, segment = list(questions.KINDS), 0, 0
    while True:
        kind = rng.choices(kinds, list(questions.KINDS.values()))[0]
        asked, answered = questions.draw(rng, kind, notes, split)
        before, after = prompt(tok, asked), tok.encode(answered, lower=False) + [EOS]
        ids = before + after[:-1]
        if len(ids) > length - at:
            return out
        here = slice(at, at + len(ids))
        out.ids[here], out.segment[here], out.place[here] = ids, segment, np.arange(len(ids))
        heads = slice(at + len(before) - 1, at + len(ids))
        out.target[heads], out.weight[heads] = after, answer_weights(tok, after, weights)
        at, segment = at + len(ids), segment + 1
