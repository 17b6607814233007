"""Train projector and decoder on a frozen encoder (without --encoder, answers only): python -m nano.train_decoder --data DIR --encoder encoder.npz --out decoder.npz --minutes M.

Most steps learn to take notes of augmented windows, of which SLOTS frames are kept at their true positions among a random number of
frames; the others learn to answer questions from notes, half of which are invented, behind the frames of a window.
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

from . import decoder, encoder, facts, packing
from .data import FRAMES, Clips, key_of, make_batch
from .labels import MODES, TEMPO_MAX, TEMPO_MIN, TONICS
from .packing import AUDIO_END, AUDIO_START, BOS, NOTES
from .tokenizer import Tokenizer
from .tokenizer import load as load_tokenizer
from .train_encoder import as_dict, load, save

LENGTH = 208  # tokens of questions and answers per row of invented notes
WORDS_BATCH, WORDS_SLOTS = 8, 8  # rows of invented notes in a step, and frames that mean nothing before them
SLOTS = 32  # frames kept of each window
FEWEST_FRAMES = 10
FRAME_NOISE = 0.1
MISTAKEN = 0.2  # share of families that are wrong among the notes before the one that is learnt


@jax.jit
def encode(p, b):
    """Return the frames of a batch."""
    return encoder.frames(p, b)[0]


def readouts(frozen) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the encoder's read-outs of metre, drums, families and what the window holds."""
    names = ("metre", "drums", "families", "active", "sound")
    weight, bias = ([np.asarray(frozen[f"head.{n}.{part}"]) for n in names] for part in ("weight", "bias"))
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
    """Return positions [B, L] and attention bias [B, L, L] of the row <s> <audio_start> frames <audio_end> notes questions.

    The frames kept stand for all frames of their window: each gets the weight of count/kept of them.
    """
    b, slots = index.shape
    first = jnp.broadcast_to(jnp.arange(2), (b, 2))
    end = count[:, None] + 2
    noted = end + 1 + jnp.arange(NOTES)[None]
    positions = jnp.concatenate([first, index + 2, end, noted, end + 1 + NOTES + place], 1)
    prefix = slots + 3 + NOTES
    valid = jnp.concatenate([jnp.ones((b, 2), bool), used, jnp.ones((b, 1 + NOTES), bool), segment >= 0], 1)
    group = jnp.concatenate([jnp.full((b, prefix), -1), segment], 1)
    order = jnp.arange(group.shape[1])
    mine = (group[:, None, :] == group[:, :, None]) | (order[None, None, :] < prefix)
    seen = mine & (order[None, :, None] >= order[None, None, :]) & valid[:, None, :]
    stands_for = jnp.log(count / jnp.maximum(used.sum(1), 1))[:, None]
    rest = 1 + NOTES + segment.shape[1]
    weight = jnp.concatenate([jnp.zeros((b, 2)), jnp.broadcast_to(stands_for, (b, slots)), jnp.zeros((b, rest))], 1)
    return positions, jnp.where(seen, weight[:, None, :], decoder.HIDDEN)


def embed(p, frames, index, notes, ids):
    """Return the embeddings of the row; frames [B, T, 192] are taken at index."""
    b = ids.shape[0]
    table = p["model.embed_tokens.weight"]
    head = jnp.broadcast_to(table[jnp.array([BOS, AUDIO_START])], (b, 2, table.shape[1]))
    audio = decoder.project(p, jnp.take_along_axis(frames, index[..., None], 1))
    end = jnp.broadcast_to(table[AUDIO_END], (b, 1, table.shape[1]))
    return jnp.concatenate([head, audio, end, table[notes], table[ids]], 1)


def predict(p, shape, row, frames):
    """Return logits [B, NOTES + L, V] at what comes before each note, and at the question and answer tokens."""
    x = embed(p, frames, row["index"], row.get("given", row["notes"]), row["ids"])
    positions, bias = layout(row["index"], row["used"], row["count"], row["segment"], row["place"])
    first = row["index"].shape[1] + 2  # <audio_end>, which comes before the first note
    hidden = decoder.run(p, shape, x, positions, bias)[:, first:]
    return decoder.logits(p, jnp.concatenate([hidden[:, :NOTES], hidden[:, NOTES + 1 :]], 1))


def make_rows(rng, tok, weights, labels, slots, whole, split="train", length=LENGTH):
    """Return the arrays of a batch of packed rows. Where a label is None the notes are invented."""
    words = random.Random(int(rng.integers(2**31)))
    rows = [packing.pack(words, tok, label, weights, length, split) for label in labels]
    out = {k: np.stack([getattr(r, k) for r in rows]) for k in ("notes", "noted", "ids", "target", "weight", "segment", "place")}
    out["index"], out["used"], out["count"] = choose_frames(rng, len(rows), slots, whole)
    return out


def mistaken(rng: np.random.Generator, notes: np.ndarray, slot: dict[str, tuple[int, np.ndarray]]) -> np.ndarray:
    """Return notes in which some families are wrong, as the notes before one are when the decoder takes them itself."""
    out = notes.copy()
    for f in facts.FAMILIES:
        at, (yes, no) = slot[f]
        wrong = (rng.random(len(out)) < MISTAKEN) & np.isin(out[:, at], (yes, no))
        out[wrong, at] = yes + no - out[wrong, at]
    return out


def losses(p, shape, row, frames, soft):
    """Return the mean loss of the notes and of the answers. A tempo shares its target with its neighbours (soft [tempi, V])."""
    logp = jax.nn.log_softmax(predict(p, shape, row, frames))
    noted, asked = logp[:, :NOTES], logp[:, NOTES:]
    at = lambda lp, ids: jnp.take_along_axis(lp, ids[..., None], -1)[..., 0]  # noqa: E731
    hard = -(at(noted, row["notes"]) * row["noted"])
    place, first = TEMPO_PLACE, soft["first"]
    tempo = row["notes"][:, place] - first
    smeared = -(soft["near"][tempo] * noted[:, place]).sum(-1) * row["noted"][:, place]
    notes = (hard.sum() - hard[:, place].sum() + smeared.sum()) / jnp.maximum(row["noted"].sum(), 1)
    answers = -(at(asked, row["target"]) * row["weight"]).sum() / jnp.maximum(row["weight"].sum(), 1)
    return notes, answers


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


def noted_ids(tok: Tokenizer) -> dict[str, tuple[int, np.ndarray]]:
    """Return for each slot its place in the notes and the ids of its values."""
    line = facts.invented(random.Random(0)).line()
    place = {what: i for i, (what, _) in enumerate(line)}
    return {s: (place[s], np.array([tok.id[facts.piece(v)] for v in facts.values_of(s)])) for s in facts.SLOTS}


TEMPO_PLACE = 3  # of the tempo's value in the notes


def measure(p, shape, tok, step, clips: Clips, frames: list, slots: int, rng) -> dict[str, float]:
    """Measure the notes on test clips, each with the true notes before it, and whole answers to test wordings."""
    right, total, slot = {}, {}, noted_ids(tok)
    weights, found, true = packing.token_weights(tok), [], []

    def count(name: str, ok) -> None:
        right[name], total[name] = right.get(name, 0) + int(np.sum(ok)), total.get(name, 0) + np.size(ok)

    for start in range(0, len(frames), 16):
        part = range(start, min(start + 16, len(frames)))
        rows = make_rows(rng, tok, weights, [clips.labels[i] for i in part], slots, True, "test")
        logits = np.asarray(step(p, rows, np.stack([frames[i] for i in part])))
        picks = {s: ids[logits[:, at][:, ids].argmax(-1)] for s, (at, ids) in slot.items()}
        for s in ("sound", "key", "metre", "drums"):
            count(s, picks[s] == rows["notes"][:, slot[s][0]])
        ratio = (picks["tempo"] - slot["tempo"][1][0] + TEMPO_MIN) / (rows["notes"][:, TEMPO_PLACE] - slot["tempo"][1][0] + TEMPO_MIN)
        near = [abs(ratio / f - 1) < 0.04 for f in (1, 2, 0.5, 3, 1 / 3)]
        count("tempo1", near[0])
        count("tempo2", np.any(near, 0))
        yes = tok.id[facts.piece("yes")]
        found += [np.stack([picks[f] == yes for f in facts.FAMILIES], 1)]
        true += [np.stack([rows["notes"][:, slot[f][0]] == yes for f in facts.FAMILIES], 1)]
        guess = logits[:, NOTES:].argmax(-1)
        fits = (guess == rows["target"]) | (rows["weight"] == 0)
        for r in range(len(rows["ids"])):
            for s in range(rows["segment"][r].max() + 1):
                count("answers", fits[r][rows["segment"][r] == s].all())
    a, b = np.concatenate(found), np.concatenate(true)
    macro = [2 * (a & b)[:, f].sum() / max(1, (a[:, f].sum() + b[:, f].sum())) for f in range(a.shape[1]) if b[:, f].any()]
    return {k: round(right[k] / total[k], 3) for k in right} | {"macro f1": round(float(np.mean(macro)), 3)}


class Sounds:
    """Gives frames and labels of augmented windows, some of them without music. Encoded windows are kept and drawn again while new ones come in."""

    KEPT, FRESH = 2000, 8  # windows kept, and windows encoded anew for each batch

    def __init__(self, folder: str, frozen, rng: np.random.Generator):
        self.clips, self.noise, self.test = (Clips(os.path.join(folder, n)) for n in ("train", "noise", "test"))
        self.frozen, self.rng = frozen, rng
        self.frames: list[np.ndarray] = []
        self.labels: list[dict] = []

    def encode(self, count: int) -> None:
        """Encode `count` windows anew; the oldest go."""
        quiet = max(1, count // 12)
        which, still = self.rng.integers(0, len(self.clips), count - quiet), self.rng.integers(0, len(self.noise), quiet)
        b, n = make_batch(self.clips, which, FRAMES, self.rng), make_batch(self.noise, still, FRAMES, self.rng)
        labels = augmented_labels(self.clips, which, b) + [self.noise.labels[i] for i in still]
        b, n = as_dict(b), as_dict(n)
        frames = np.asarray(encode(self.frozen, {k: np.concatenate([b[k], n[k]]) for k in b})).astype(np.float16)
        self.frames, self.labels = [*self.frames, *frames][-self.KEPT :], [*self.labels, *labels][-self.KEPT :]

    def draw(self, count: int) -> tuple[np.ndarray, list[dict]]:
        """Return frames [count, 269, 192] and their labels."""
        while len(self.frames) < 8 * count:
            self.encode(self.FRESH)
        self.encode(self.FRESH)
        which = self.rng.integers(0, len(self.frames), count)
        return np.stack([self.frames[i] for i in which]).astype(np.float32), [self.labels[i] for i in which]

    def again(self, count: int) -> tuple[np.ndarray, list[dict | None]]:
        """Return frames of windows that were encoded before; half of the labels are left out, so that notes of no window are told from the notes alone."""
        which = self.rng.integers(0, len(self.frames), count)
        labels = [self.labels[i] if self.rng.random() < 0.5 else None for i in which]
        return np.stack([self.frames[i] for i in which]).astype(np.float32), labels

    def watched(self) -> list[np.ndarray]:
        """Return the frames of test clips that show the progress."""
        shown = min(len(self.test), 64)
        parts = np.array_split(np.arange(shown), max(1, shown // 8))
        return [f for part in parts for f in np.asarray(encode(self.frozen, as_dict(make_batch(self.test, part, FRAMES, None))))]


class Words:
    """Gives frames that mean nothing, so that questions are learnt from invented notes before there is an encoder."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def draw(self, count: int) -> tuple[np.ndarray, list[None]]:
        """Return frames and no labels."""
        return self.rng.standard_normal((count, FRAMES, encoder.WIDTH), np.float32), [None] * count


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--data", required=True)
    args.add_argument("--encoder", help="absent: learn words from invented notes only")
    args.add_argument("--tokenizer", required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--resume", help="start from these weights")
    args.add_argument("--carry", action="store_true", help="write the encoder's read-outs into the projector also when resuming")
    args.add_argument("--minutes", type=float, default=1e9)
    args.add_argument("--steps", type=int, default=10**9, help="stop after so many, if the minutes are not over before")
    args.add_argument("--must-fall", action="store_true", help="fail unless the loss has fallen")
    args.add_argument("--rate", type=float, default=2e-3)
    args.add_argument("--batch", type=int, default=32, help="windows of a step that learns notes")
    args.add_argument("--words", type=float, default=1 / 3, help="share of steps that learn answers from invented notes")
    args.add_argument("--seed", type=int, default=2)
    a = args.parse_args()
    rng = np.random.default_rng(a.seed)
    tok = load_tokenizer(a.tokenizer)
    shape = decoder.Shape(len(tok.vocab))
    source, invented = Sounds(a.data, load(a.encoder), rng) if a.encoder else None, Words(rng)
    if a.resume:
        params = load(a.resume)
    else:
        params = decoder.init(a.seed, shape)
        decoder.smooth_numbers(params, packing.tempo_ids(tok), np.arange(TEMPO_MIN, TEMPO_MAX + 1))
    if a.encoder and (a.carry or not a.resume):
        some = np.asarray(source.draw(32)[0])
        decoder.carry_readouts(params, *readouts(source.frozen), some.reshape(-1, some.shape[-1]))
    if source:
        source.draw(32)
    weights, soft, slot = packing.token_weights(tok), packing.near_tempi(tok), noted_ids(tok)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adamw)(learning_rate=a.rate, b2=0.98, weight_decay=0.02)
    )
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, row, frames):
        def total(p):
            parts = losses(p, shape, row, frames, soft)
            return sum(parts), parts

        grads, parts = jax.grad(total, has_aux=True)(params)
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, jnp.stack(parts)

    guess = jax.jit(lambda p, row, frames: predict(p, shape, row, frames))
    watched = source.watched() if a.encoder else []
    began, done, shown, smooth = time.monotonic(), 0, time.monotonic(), None
    first = None
    while done < a.steps and (part := (time.monotonic() - began) / (60 * a.minutes)) < 1:
        # Notes are learnt from many windows without questions, and answers from notes behind a few windows: either is cheap alone. An answer that was
        # learnt behind frames that mean nothing is not given behind those of music.
        if source and rng.random() >= a.words:
            frames, labels = source.draw(a.batch)
            frames = frames + FRAME_NOISE * rng.standard_normal(frames.shape, np.float32)
            row = make_rows(rng, tok, weights, labels, SLOTS, rng.random() < 0.5, length=0)
            row["given"] = mistaken(rng, row["notes"], slot)
        elif source:
            frames, labels = source.again(WORDS_BATCH)
            row = make_rows(rng, tok, weights, labels, SLOTS, rng.random() < 0.5, length=LENGTH)
        else:
            frames, labels = invented.draw(WORDS_BATCH)
            row = make_rows(rng, tok, weights, labels, WORDS_SLOTS, False, length=LENGTH)
        state[1].hyperparams["learning_rate"] = jnp.asarray(a.rate * min(1, (done + 1) / 40) * (0.5 + 0.5 * np.cos(np.pi * part)) + 1e-5)
        params, state, loss = step(params, state, row, frames)
        first = np.asarray(loss) if first is None else np.where(first > 0, first, np.asarray(loss))
        now = np.asarray(loss)
        smooth = now if smooth is None else np.where(now > 0, np.where(smooth > 0, 0.95 * smooth + 0.05 * now, now), smooth)
        done += 1
        if time.monotonic() - shown > 180:
            shown = time.monotonic()
            save(a.out, params)
            got = measure(params, shape, tok, guess, source.test, watched, SLOTS, np.random.default_rng(5)) if watched else {}
            print(f"{shown - began:.0f} s, step {done}, loss {smooth.round(3)}", json.dumps(got), flush=True)
    save(a.out, params)
    print(f"loss of notes and answers {first.round(3)} -> {smooth.round(3)} in {done} steps")
    if a.must_fall and not (smooth < first)[first > 0].all():
        raise SystemExit("the decoder's loss has not fallen")


if __name__ == "__main__":
    main()
