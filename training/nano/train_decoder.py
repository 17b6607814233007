"""Train projector and decoder on a frozen encoder: python -m nano.train_decoder --data DIR --encoder encoder.npz --out decoder.npz --minutes M.

A step encodes freshly augmented clips, keeps up to `--slots` frames of each at their true positions among a random number
of frames, and asks several questions behind them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from . import decoder, encoder, packing, questions
from .data import FRAMES, Clips, key_of, make_batch
from .labels import METRES, MODES, TEMPO_MAX, TEMPO_MIN, TONICS
from .packing import AUDIO_END, AUDIO_START, BOS
from .tokenizer import MARK, Tokenizer
from .tokenizer import load as load_tokenizer
from .train_encoder import as_dict, load, save

LENGTH = 208  # tokens of questions and answers per window
FEWEST_FRAMES = 10
FRAME_NOISE = 0.1


@jax.jit
def encode(p, b):
    """Return the frames of a batch."""
    return encoder.frames(p, b["semitones"], b["mel"], b["tempograms"])[0]


def readouts(frozen) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the encoder's read-outs of metre, drums, families and music."""
    names = ("metre", "drums", "families", "music")
    weight, bias = ([np.asarray(frozen[f"head.{n}.{part}"]) for n in names] for part in ("weight", "bias"))
    weight[0], bias[0] = weight[0][1:] - weight[0][:1], bias[0][1:] - bias[0][:1]
    return np.concatenate(weight), np.concatenate(bias)


def choose_frames(rng: np.random.Generator, rows: int, slots: int, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frame indices [rows, slots], whether each slot is used, and the number of frames of each row's window."""
    index, used = np.zeros((rows, slots), np.int32), np.zeros((rows, slots), bool)
    count = np.full(rows, FRAMES) if whole else rng.integers(FEWEST_FRAMES, FRAMES + 1, rows)
    for r, n in enumerate(count):
        kept = np.sort(rng.choice(n, min(slots, n), replace=False))
        index[r, : len(kept)], used[r, : len(kept)] = kept, True
    return index, used, count.astype(np.int32)


def layout(index, used, count, segment, place):
    """Return positions [B, L] and attention bias [B, L, L] of the row <s> <audio_start> frames <audio_end> questions.

    The frames kept stand for all frames of their window: each gets the weight of count/kept of them.
    """
    b, slots = index.shape
    first = jnp.broadcast_to(jnp.arange(2), (b, 2))
    end = count[:, None] + 2
    positions = jnp.concatenate([first, index + 2, end, end + 1 + place], 1)
    prefix = slots + 3
    valid = jnp.concatenate([jnp.ones((b, 2), bool), used, jnp.ones((b, 1), bool), segment >= 0], 1)
    group = jnp.concatenate([jnp.full((b, prefix), -1), segment], 1)
    order = jnp.arange(group.shape[1])
    mine = (group[:, None, :] == group[:, :, None]) | (order[None, None, :] < prefix)
    seen = mine & (order[None, :, None] >= order[None, None, :]) & valid[:, None, :]
    stands_for = jnp.log(count / jnp.maximum(used.sum(1), 1))[:, None]
    weight = jnp.concatenate([jnp.zeros((b, 2)), jnp.broadcast_to(stands_for, (b, slots)), jnp.zeros((b, 1 + segment.shape[1]))], 1)
    return positions, jnp.where(seen, weight[:, None, :], decoder.HIDDEN)


def embed(p, frames, index, ids):
    """Return the embeddings of the row; frames [B, T, 192] are taken at index."""
    b = ids.shape[0]
    table = p["model.embed_tokens.weight"]
    head = jnp.broadcast_to(table[jnp.array([BOS, AUDIO_START])], (b, 2, table.shape[1]))
    audio = decoder.project(p, jnp.take_along_axis(frames, index[..., None], 1))
    end = jnp.broadcast_to(table[AUDIO_END], (b, 1, table.shape[1]))
    return jnp.concatenate([head, audio, end, table[ids]], 1)


def predict(p, shape, row, frames):
    """Return logits [B, L, V] at the question and answer tokens."""
    x = embed(p, frames, row["index"], row["ids"])
    positions, bias = layout(row["index"], row["used"], row["count"], row["segment"], row["place"])
    return decoder.logits(p, decoder.run(p, shape, x, positions, bias)[:, row["index"].shape[1] + 3 :])


def make_rows(rng, tok, weights, labels, slots, whole, split="train", length=LENGTH):
    """Return the arrays of a batch of packed rows."""
    words = random.Random(int(rng.integers(2**31)))
    rows = [packing.pack(words, tok, label, weights, length, split) for label in labels]
    out = {k: np.stack([getattr(r, k) for r in rows]) for k in ("ids", "target", "weight", "segment", "place")}
    out["index"], out["used"], out["count"] = choose_frames(rng, len(rows), slots, whole)
    return out


def augmented_labels(clips: Clips, which: np.ndarray, b) -> list[dict]:
    """Return labels that follow what augmentation did to tempo and key."""
    out = []
    for row, i in enumerate(which):
        label = dict(clips.labels[i])
        if label.get("music", True):
            tonic, mode = key_of(int(b.key[row]))
            label |= {"tempo_bpm": float(b.tempo[row]), "key": TONICS[tonic], "mode": MODES[mode]}
        out.append(label)
    return out


def fact_ids(tok: Tokenizer) -> dict[str, np.ndarray]:
    """Return the ids of the tokens that carry each kind of fact."""
    at = lambda words: np.array([tok.id[MARK + w] for w in words])  # noqa: E731
    return {"tempo": packing.tempo_ids(tok), "tonic": at(TONICS), "mode": at(MODES), "metre": at(METRES), "yes/no": at(["Yes", "No"])}


def measure(p, shape, tok, step, clips: Clips, frames: list, slots: int, rng) -> dict[str, float]:
    """Measure the next-token answers on test clips with test wordings, the answer's beginning being given."""
    facts, right, total = fact_ids(tok), {}, {}
    weights = packing.token_weights(tok)
    for start in range(0, len(frames), 16):
        part = range(start, min(start + 16, len(frames)))
        rows = make_rows(rng, tok, weights, [clips.labels[i] for i in part], slots, True, "test")
        guess = np.asarray(step(p, rows, np.stack([frames[i] for i in part]))).argmax(-1)
        for name, ids in facts.items():
            hit = np.isin(rows["target"], ids) & (rows["weight"] > 0)
            a, b = guess[hit], rows["target"][hit]
            ok = a == b
            if name == "tempo":
                value = {int(t): n for n, t in zip(range(TEMPO_MIN, TEMPO_MAX + 1), ids, strict=True)}
                ratio = np.array([value.get(int(x), 1) / value[int(y)] for x, y in zip(a, b, strict=True)])
                ok = np.any([abs(ratio / f - 1) < 0.04 for f in (1, 2, 0.5, 3, 1 / 3)], 0)
                right["tempo1"] = right.get("tempo1", 0) + (abs(ratio - 1) < 0.04).sum()
                total["tempo1"] = total.get("tempo1", 0) + len(ok)
            right[name], total[name] = right.get(name, 0) + ok.sum(), total.get(name, 0) + len(ok)
        whole = (guess == rows["target"]) | (rows["weight"] == 0)
        for r in range(len(rows["ids"])):
            for s in range(rows["segment"][r].max() + 1):
                mine = rows["segment"][r] == s
                text = tok.decode(list(rows["target"][r][mine & (rows["weight"][r] > 0)]))
                name = "cannot" if text == questions.CANNOT else "instruments=" if text.startswith("I hear") else None
                if name:
                    right[name], total[name] = right.get(name, 0) + whole[r][mine].all(), total.get(name, 0) + 1
    return {k: round(right[k] / total[k], 3) for k in right if total[k]}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--data", required=True)
    args.add_argument("--encoder", required=True)
    args.add_argument("--tokenizer", required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--resume", help="start from these weights")
    args.add_argument("--carry", action="store_true", help="write the encoder's read-outs into the projector also when resuming")
    args.add_argument("--minutes", type=float, required=True)
    args.add_argument("--rate", type=float, default=2e-3)
    args.add_argument("--slots", type=int, default=32, help="frames kept of each window")
    args.add_argument("--batch", type=int, default=16)
    args.add_argument("--seed", type=int, default=2)
    a = args.parse_args()
    rng = np.random.default_rng(a.seed)
    clips, noise, test = (Clips(os.path.join(a.data, n)) for n in ("train", "noise", "test"))
    tok = load_tokenizer(a.tokenizer)
    shape = decoder.Shape(len(tok.vocab))
    frozen = load(a.encoder)
    if a.resume:
        params = load(a.resume)
    else:
        params = decoder.init(a.seed, shape)
        decoder.smooth_numbers(params, packing.tempo_ids(tok), np.arange(TEMPO_MIN, TEMPO_MAX + 1))
    if a.carry or not a.resume:
        some = encode(frozen, as_dict(make_batch(clips, rng.integers(0, len(clips), 32), FRAMES, rng)))
        decoder.carry_readouts(params, *readouts(frozen), np.asarray(some).reshape(-1, some.shape[-1]))
    weights, soft = packing.token_weights(tok), jnp.asarray(packing.soft_targets(tok))
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=a.rate, b2=0.98, weight_decay=0.02)
    )
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, row, frames):
        def total(p):
            logp = jax.nn.log_softmax(predict(p, shape, row, frames))
            per = -(soft[row["target"]] * logp).sum(-1) * row["weight"]
            return per.sum() / row["weight"].sum()

        loss, grads = jax.value_and_grad(total)(params)
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    guess = jax.jit(lambda p, row, frames: predict(p, shape, row, frames))
    watched: list[np.ndarray] = []
    for part in np.array_split(np.arange(min(len(test), 64)), 4):
        watched += list(np.asarray(encode(frozen, as_dict(make_batch(test, part, FRAMES, None)))))
    began, done, shown, smooth = time.monotonic(), 0, time.monotonic(), None
    while (part := (time.monotonic() - began) / (60 * a.minutes)) < 1:
        which, quiet = rng.integers(0, len(clips), a.batch - 1), rng.integers(0, len(noise), 1)
        b = make_batch(clips, which, FRAMES, rng)
        n = make_batch(noise, quiet, FRAMES, rng)
        labels = augmented_labels(clips, which, b) + [noise.labels[quiet[0]]]
        b, n = as_dict(b), as_dict(n)
        frames = encode(frozen, {k: np.concatenate([b[k], n[k]]) for k in b})
        frames = frames + FRAME_NOISE * rng.standard_normal(frames.shape, np.float32)
        row = make_rows(rng, tok, weights, labels, a.slots, rng.random() < 0.3)
        state[1].hyperparams["learning_rate"] = jnp.asarray(a.rate * min(1, (done + 1) / 40) * (0.5 + 0.5 * np.cos(np.pi * part)) + 1e-5)
        params, state, loss = step(params, state, row, frames)
        smooth = float(loss) if smooth is None else 0.98 * smooth + 0.02 * float(loss)
        done += 1
        if time.monotonic() - shown > 150:
            shown = time.monotonic()
            clips.refresh()
            save(a.out, params)
            got = measure(params, shape, tok, guess, test, watched, a.slots, np.random.default_rng(5))
            print(f"{shown - began:.0f} s, step {done}, {a.batch * done / (shown - began):.1f} windows/s, loss {smooth:.3f}", json.dumps(got), flush=True)
    save(a.out, params)


if __name__ == "__main__":
    main()
