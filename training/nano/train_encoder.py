"""Train the encoder: python -m nano.train_encoder --data DIR --out encoder.npz --minutes M.

Every frame must carry the labels of the whole window: linear heads read them from single frames, which makes the decoder's work easy.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from . import encoder
from .data import FRAMES, PER_CHORD, Batch, Clips, key_of, make_batch
from .labels import METRES, TEMPO_MAX, TEMPO_MIN

BATCH = 32
READ_EVERY = 8  # the heads read every eighth frame: every second harmony step
QUIET, RECORDED = 3, 4  # windows of a batch that are not music, and that are recordings of which little is labelled
TEMPI = np.arange(TEMPO_MIN, TEMPO_MAX + 1)
PRESENT = 0.6  # extra weight of a family that is there: F1 gains more from finding it than from staying silent
TEMPO_WIDTH = 0.015  # standard deviation of the tempo target, in natural log
BEAT_WIDTH = 0.6  # standard deviation of the beat target, in rows of the pulse


def as_dict(b: Batch) -> dict[str, np.ndarray]:
    """Return a batch as a dict that jit accepts."""
    return dataclasses.asdict(b)


def tempo_target(tempo):
    """Return a soft class distribution over the whole tempi."""
    t = jnp.exp(-0.5 * (jnp.log(TEMPI / jnp.maximum(tempo, 1)[..., None]) / TEMPO_WIDTH) ** 2) + 1e-9
    return t / t.sum(-1, keepdims=True)


def beat_target(tempo, metre):
    """Return a class distribution [B, 65, 6] over beats with metres."""
    t = jnp.exp(-0.5 * ((jnp.arange(len(encoder.BEATS)) - encoder.beat_place(tempo)[:, None]) / BEAT_WIDTH) ** 2) + 1e-9
    return (t / t.sum(-1, keepdims=True))[..., None] * jax.nn.one_hot(metre, len(METRES))[:, None]


def losses(p, b, key):
    """Return the loss terms of a batch."""
    y, inner = encoder.frames(p, b, key)
    h = encoder.heads(p, y[:, ::READ_EVERY])
    active = b["active"][:, :: READ_EVERY // PER_CHORD]
    music, whole = b["music"], b["whole"]

    def classes(logits, target):
        got = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(target, 0)[..., None], -1)[..., 0]
        return -jnp.where(target >= 0, got, 0)

    def over(x, told=whole):  # mean over the frames read, then over the clips of which that is told
        return (x.reshape(x.shape[0], -1).mean(1) * told).sum() / jnp.maximum(told.sum(), 1)

    def spread(x):
        return jnp.broadcast_to(x[:, None], h["key"].shape[:2])

    soft = tempo_target(b["tempo"])[:, None]
    joint = jax.nn.log_softmax(inner["joint"].reshape(len(music), -1)).reshape(inner["joint"].shape)
    steps = (b["chords"] >= 0).sum()
    present = lambda target: 1 + PRESENT * target  # noqa: E731
    return {
        "tempo": over(-(soft * jax.nn.log_softmax(h["tempo"])).sum(-1), music * (b["tempo"] > 0)),
        "key": over(classes(h["key"], spread(b["key"])), music * (b["key"] >= 0)),
        "tonal": over(classes(inner["tonal"], b["key"])[:, None], music * (b["key"] >= 0)),
        "chord": 0.5 * classes(inner["chord"], b["chords"]).sum() / jnp.maximum(steps, 1),
        "joint": over(-(beat_target(b["tempo"], b["metre"]) * joint).sum((1, 2))[:, None]),
        "metre": over(classes(h["metre"], spread(b["metre"]))),
        "drums": over(optax.sigmoid_binary_cross_entropy(h["drums"][..., 0], spread(b["drums"]))),
        "families": 6 * over(optax.sigmoid_binary_cross_entropy(h["families"], b["families"][:, None]) * present(b["families"][:, None])),
        "active": 4 * over(optax.sigmoid_binary_cross_entropy(h["active"], active) * present(active)),
        "inner active": 4 * over(optax.sigmoid_binary_cross_entropy(inner["active"], b["active"]) * present(b["active"])),
        "inner families": 6 * over(optax.sigmoid_binary_cross_entropy(inner["there"], b["families"]) * present(b["families"])),
        "sound": classes(h["sound"], spread(b["sound"])).mean(),
    }


def auc(score: np.ndarray, true: np.ndarray) -> float:
    """Return how often a clip that has it scores above one that has it not."""
    rank = score.argsort().argsort() + 1
    n = true.sum()
    return (rank[true].sum() - n * (n + 1) / 2) / (n * (len(true) - n))


def measure(p, clips: Clips, which: np.ndarray, predict) -> dict[str, float]:
    """Measure the heads, averaged over frames, on whole clips."""
    got = [predict(p, as_dict(make_batch(clips, part, FRAMES, None))) for part in np.array_split(which, max(1, len(which) // 30))]
    out = {k: np.concatenate([np.asarray(g[k]) for g in got]) for k in got[0]}
    labels = make_batch(clips, which, FRAMES, None)
    ratio = TEMPI[out["tempo"].argmax(1)] / labels.tempo
    octaves = [abs(ratio / f - 1) < 0.04 for f in (1, 2, 0.5, 3, 1 / 3)]
    pred, true = out["families"] > 0, labels.families > 0
    hits = 2 * (pred & true).sum(0) / np.maximum(1, pred.sum(0) + true.sum(0))
    metre = out["metre"].argmax(1) == labels.metre
    both = np.exp(out["joint"] - out["joint"].max((1, 2), keepdims=True))
    beat, inner_metre = both.sum(2).argmax(1), both.sum(1).argmax(1) == labels.metre
    return {
        "beat1": (np.abs(beat - np.asarray(encoder.beat_place(labels.tempo))) < 1.5).mean(),
        "joint metre": np.mean([inner_metre[labels.metre == m].mean() for m in set(labels.metre)]),
        "tempo1": octaves[0].mean(), "tempo2": np.any(octaves, 0).mean(), "key": (out["key"].argmax(1) == labels.key).mean(),
        "tonal": (out["tonal"].argmax(1) == labels.key).mean(),
        "mode": np.mean([key_of(a)[1] == key_of(b)[1] for a, b in zip(out["key"].argmax(1), labels.key, strict=True)]),
        "metre": metre.mean(), "metre balanced": np.mean([metre[labels.metre == m].mean() for m in set(labels.metre)]), "drums": ((out["drums"][:, 0] > 0) == labels.drums).mean(),
        "f1": 2 * (pred & true).sum() / (pred.sum() + true.sum()), "macro f1": hits[true.any(0)].mean(),
        "inner auc": np.mean([auc(out["there"][:, f], true[:, f]) for f in range(true.shape[1]) if 0 < true[:, f].sum() < len(true)]),
        "auc": np.mean([auc(out["families"][:, f], true[:, f]) for f in range(true.shape[1]) if 0 < true[:, f].sum() < len(true)]),
    }  # fmt: skip


@jax.jit
def predict_heads(p, b):
    """Return the heads' logits averaged over the frames."""
    y, inner = encoder.frames(p, b)
    return {k: v.mean(1) for k, v in encoder.heads(p, y).items()} | {k: inner[k] for k in ("tonal", "there", "joint")}


def save(path: str, params) -> None:
    """Write parameters, whole or not at all."""
    np.savez(path + ".part.npz", **{k: np.asarray(v) for k, v in params.items()})
    os.replace(path + ".part.npz", path)


def load(path: str) -> dict[str, jax.Array]:
    """Read parameters."""
    return {k: jnp.asarray(v) for k, v in np.load(path).items()}


def grown(fresh: dict, old: dict) -> dict:
    """Return fresh weights with the old ones in place: a matrix that has grown keeps what it had, and new columns start at 0."""
    out = {}
    for name, value in fresh.items():
        have = old.get(name)
        if have is None or have.ndim != value.ndim or any(h > v for h, v in zip(have.shape, value.shape, strict=True)):
            out[name] = value
            continue
        grew = jnp.pad(have, [(0, v - h) for h, v in zip(have.shape, value.shape, strict=True)])
        out[name] = grew.at[have.shape[0] :].set(value[have.shape[0] :]) if value.shape[0] > have.shape[0] else grew
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--data", required=True, help="folder with train/, noise/, if there are recordings real/, and, for progress, test/")
    args.add_argument("--out", required=True)
    args.add_argument("--resume", help="start from these weights")
    args.add_argument("--minutes", type=float, default=1e9)
    args.add_argument("--steps", type=int, default=10**9, help="stop after so many, if the minutes are not over before")
    args.add_argument("--must-fall", action="store_true", help="fail unless the loss has fallen")
    args.add_argument("--rate", type=float, default=1.5e-3)
    args.add_argument("--seed", type=int, default=1)
    a = args.parse_args()
    rng = np.random.default_rng(a.seed)
    clips, noise, real = (Clips(os.path.join(a.data, n)) for n in ("train", "noise", "real"))
    held = np.arange(min(60, len(clips) // 2))  # the first training clips watch for overfitting
    watched = Clips(os.path.join(a.data, "test"))
    params = grown(encoder.init(a.seed), load(a.resume)) if a.resume else encoder.init(a.seed)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=a.rate, b2=0.98, weight_decay=0.05)
    )
    state, key = optimiser.init(params), jax.random.key(a.seed)

    @jax.jit
    def step(params, state, b, key):
        def total(p):
            terms = losses(p, b, key)
            return sum(terms.values()), terms

        grads, terms = jax.grad(total, has_aux=True)(params)
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, terms

    began, done, shown, smooth = time.monotonic(), 0, time.monotonic(), {}
    first = None
    while done < a.steps and (part := (time.monotonic() - began) / (60 * a.minutes)) < 1:
        frames = 160 if rng.random() < 0.8 else 64
        parts = [(noise, rng.integers(0, len(noise), QUIET))]
        if len(real):
            parts.append((real, rng.integers(0, len(real), RECORDED)))
        parts.append((clips, rng.integers(len(held), len(clips), BATCH - sum(len(which) for _, which in parts))))
        made = [as_dict(make_batch(c, which, frames, rng)) for c, which in parts]
        b = {k: np.concatenate([m[k] for m in made]) for k in made[0]}
        state[1].hyperparams["learning_rate"] = jnp.asarray(a.rate * min(1, (done + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * part)) + 1e-5)
        key, use = jax.random.split(key)
        params, state, terms = step(params, state, b, use)
        first = first or sum(map(float, terms.values()))
        smooth = {k: 0.98 * smooth.get(k, float(v)) + 0.02 * float(v) for k, v in terms.items()}
        done += 1
        if time.monotonic() - shown > 200:
            shown = time.monotonic()
            clips.refresh()
            watched.refresh()
            save(a.out, params)
            print(f"{shown - began:.0f} s, step {done}, {BATCH * done / (shown - began):.0f} windows/s, {len(clips)} clips,", {k: round(v, 2) for k, v in smooth.items()})
            for name, c, which in (("held", clips, held), ("test", watched, np.arange(len(watched)))):
                if len(which):
                    print("  ", name, {k: round(float(v), 3) for k, v in measure(params, c, which, predict_heads).items()}, flush=True)
    save(a.out, params)
    last = sum(map(float, terms.values()))
    print(f"loss {first:.3f} -> {last:.3f} in {done} steps")
    if a.must_fall and not last < first:
        raise SystemExit("the encoder's loss has not fallen")


if __name__ == "__main__":
    main()
