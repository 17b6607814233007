"""Fit how the decoder's probabilities become confidences, and from where on a family counts as heard, on clips that no training saw:
python -m nano.judge --data DIR --encoder encoder.npz --decoder decoder.npz --tokenizer tokenizer.json --out judged.json
"""

from __future__ import annotations

import argparse
import json
import os

import jax
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from . import decoder, facts, packing
from .data import FRAMES, Clips, make_batch
from .labels import FAMILIES, TEMPO_MIN
from .tokenizer import load as load_tokenizer
from .train_decoder import encode, make_rows, noted_ids, predict
from .train_encoder import as_dict, load

# A value is noted as sure from this confidence on.
SURE = {"tempo": 0.35, "key": 0.4, "metre": 0.45}
RIDGE = 3.0  # pulls the fit to the decoder's own probability: as if that had been right on so many clips
SLOTS_KEPT = 64
RESAMPLES = 200


def note_logits(params, frozen, shape, tok, clips: Clips) -> dict[str, np.ndarray]:
    """Return for each slot the logits [N, values] of its values behind the true notes before it."""
    slot, out = noted_ids(tok), {s: [] for s in facts.SLOTS}
    guess = jax.jit(lambda p, row, frames: predict(p, shape, row, frames))
    weights, rng = packing.token_weights(tok), np.random.default_rng(3)
    for start in range(0, len(clips), 16):
        which = np.arange(start, min(start + 16, len(clips)))
        frames = encode(frozen, as_dict(make_batch(clips, which, FRAMES, None)))
        row = make_rows(rng, tok, weights, [clips.labels[i] for i in which], SLOTS_KEPT, True, length=40)
        logits = np.asarray(guess(params, row, frames))
        for s, (at, ids) in slot.items():
            out[s].append(logits[:, at][:, ids])
    return {s: np.concatenate(v).astype(np.float64) for s, v in out.items()}


def platt(chance: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return scale and shift of the logit by logistic regression (Platt 1999), pulled towards 1 and 0."""
    x, prior = np.stack([np.log(chance / (1 - chance)), np.ones(len(chance))], 1), np.array([1.0, 0.0])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z, away = x @ w, w - prior
        return (np.logaddexp(0, z) - right * z).sum() + RIDGE / 2 * away @ away, x.T @ (expit(z) - right) + RIDGE * away

    w = minimize(loss, prior, jac=True).x
    return float(w[0]), float(w[1])


def chances(slot: str, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest value of each clip and its probability; tempi near it count for it."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    best = p.argmax(1)
    if slot != "tempo":
        return best, np.clip(p.max(1), 1e-6, 1 - 1e-6)
    tempi = TEMPO_MIN + np.arange(p.shape[1])
    near = np.abs(tempi[None] / tempi[best][:, None] - 1) <= facts.NEAR
    return best, np.clip((p * near).sum(1), 1e-6, 1 - 1e-6)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: how far confidence and share of right answers differ in bins of equal width, by clips."""
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(sum(abs(confidence[at == b].mean() - right[at == b].mean()) * (at == b).mean() for b in range(bins) if (at == b).any()))


def is_right(slot: str, logits: np.ndarray, clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each clip's likeliest value is right, and its probability."""
    best, chance = chances(slot, logits)
    words = facts.values_of(slot)
    if slot == "tempo":
        return np.array([abs(float(words[b]) / c["tempo_bpm"] - 1) <= facts.NEAR for b, c in zip(best, clips.labels, strict=True)]), chance
    name = (lambda c: f"{c['key']} {c['mode']}") if slot == "key" else (lambda c: c["metre"])
    return np.array([words[b] == name(c) for b, c in zip(best, clips.labels, strict=True)]), chance


def check(logits: dict[str, np.ndarray], clips: Clips, judged: dict) -> dict:
    """Return calibration error and share of right answers by quarters of confidence, on clips that the fit did not see."""
    out = {}
    for slot in SURE:
        right, chance = is_right(slot, logits[slot], clips)
        confidence = 1 / (1 + np.exp(-judged[slot]["scale"] * np.log(chance / (1 - chance)) - judged[slot]["shift"]))
        quarters = np.array_split(right[np.argsort(confidence)], 4)
        unsure = confidence < judged[slot]["sure"]
        out[slot] = {
            "clips": len(right), "right": right.mean(), "ece": calibration_error(confidence, right), "right by quarters of confidence": [float(q.mean()) for q in quarters],
            "unsure": unsure.mean(), "right of unsure": right[unsure].mean() if unsure.any() else None,
        }  # fmt: skip
    return out


def best_bias(margin: np.ndarray, true: np.ndarray) -> float:
    """Return what to add to yes minus no so that F1 is best: the mean over resampled clips, since the best point of a few clips is a matter of chance where F1 is flat.

    It is not below 0: the probability from which on yes is best for F1 is half of the best F1 (Lipton, Elkan and Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014).
    """
    grid, rng, best = np.linspace(0, 3, 31), np.random.default_rng(4), []
    for _ in range(RESAMPLES):
        i = rng.integers(0, len(true), len(true))
        yes, there = margin[i][:, None] + grid > 0, true[i][:, None]
        f1 = 2 * (yes & there).sum(0) / np.maximum(1, yes.sum(0) + there.sum())
        best.append(grid[f1 >= f1.max() - 0.005].mean())
    return round(float(np.mean(best)), 3)


def judge(logits: dict[str, np.ndarray], clips: Clips) -> dict:
    """Return the judgement of each slot."""
    out = {}
    for slot, sure in SURE.items():
        right, chance = is_right(slot, logits[slot], clips)
        scale, shift = platt(chance, right.astype(float))
        print(f"{slot}: right {right.mean():.3f}, own probability {chance.mean():.3f}, scale {scale:.2f}, shift {shift:.2f}")
        out[slot] = {"sure": sure, "scale": round(scale, 3), "shift": round(shift, 3)}
    for f in [*FAMILIES, "drums"]:
        true = np.array([c["drums"] if f == "drums" else f in c["families"] for c in clips.labels])
        out[f] = {"bias": best_bias(logits[f][:, 0] - logits[f][:, 1], true) if f != "drums" else 0.0}
    print({f: out[f]["bias"] for f in FAMILIES})
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "encoder", "decoder", "tokenizer", "out"):
        args.add_argument("--" + name, required=True)
    a = args.parse_args()
    tok = load_tokenizer(a.tokenizer)
    params, frozen, shape = load(a.decoder), load(a.encoder), decoder.Shape(len(tok.vocab))
    clips = Clips(os.path.join(a.data, "dev"))
    judged = judge(note_logits(params, frozen, shape, tok, clips), clips)
    with open(a.out, "w", encoding="utf-8") as f:
        json.dump(judged, f, indent=1)
    test = Clips(os.path.join(a.data, "test"))
    print(json.dumps(check(note_logits(params, frozen, shape, tok, test), test, judged), indent=1))


if __name__ == "__main__":
    main()
