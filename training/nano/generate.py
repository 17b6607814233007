"""Generate labelled clips: python -m nano.generate OUT --split train|test --count N --seed S.

Clip i depends on the seed, the split and i alone, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np

from . import compose, midi
from .labels import FAMILIES, METRES, family, programs_of
from .synth import RATE, Synth, write_wav

SPAN = 25.0
SPLIT_SOUNDFONTS = {"train": ["fluidr3", "musescore", "opl3"], "test": ["timgm6mb"]}
SOUNDFONT_WEIGHTS = {"train": [45, 35, 20], "test": [1]}
MIN_NOTES = 5


def run_mma(source: str, folder: str) -> bytes | None:
    """Run MMA on the source and return the MIDI file, None where MMA refuses the groove or the chords."""
    path, out = os.path.join(folder, "piece.mma"), os.path.join(folder, "piece.mid")
    with open(path, "w", encoding="ascii") as f:
        f.write(source)
    if os.path.exists(out):
        os.remove(out)
    done = subprocess.run(["mma", "-w", path, "-f", out], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or not os.path.exists(out):
        return None
    with open(out, "rb") as f:
        return f.read()


def arrange(rng: random.Random, score: midi.Score) -> None:
    """Vary the arrangement in place: drop the drums or a part, give parts other instruments."""
    if rng.random() < 0.45:
        midi.silence(score, midi.DRUM_CHANNEL)
    parts = sorted({(n.channel, n.program) for n in midi.notes(score) if n.channel != midi.DRUM_CHANNEL})
    channels = sorted({c for c, _ in parts})
    if len(channels) > 2 and rng.random() < 0.35:
        midi.silence(score, rng.choice(channels))
    mapping = {}
    for part in parts:
        if rng.random() < 0.4:
            bass = family(part[1]) == "bass"
            name = "bass" if bass and rng.random() < 0.8 else rng.choice(FAMILIES)
            mapping[part] = rng.choice(programs_of(name))
    midi.reprogram(score, mapping)


def heard(score: midi.Score, start: float, seconds: float) -> tuple[list[str], bool]:
    """Return the instrument families and whether drums are heard between start and start + seconds."""
    count: collections.Counter[str] = collections.Counter()
    for n in midi.notes(score):
        if start <= n.seconds < start + seconds and n.velocity >= 20:
            name = "drums" if n.channel == midi.DRUM_CHANNEL else family(n.program)
            if name:
                count[name] += 1
    return [f for f in FAMILIES if count[f] >= MIN_NOTES], count["drums"] >= MIN_NOTES


def chord_times(piece: compose.Piece, start: float) -> list[list]:
    """Return [from, to, root, suffix] in seconds of the clip for each chord."""
    bar, out = piece.beats * 60 / piece.tempo, []
    for i, chord in enumerate(piece.chords):
        a, b = max(i * bar - start, 0.0), min((i + 1) * bar - start, SPAN)
        if b > a:
            out.append([round(a, 3), round(b, 3), chord.root, chord.suffix])
    return out


def make_clip(rng: random.Random, split: str, grooves: list[compose.Groove], synths: dict[str, Synth], folder: str):
    """Compose and render one clip; returns (pcm, label), or None where this draw cannot be used."""
    start = rng.uniform(0, 3.5)
    piece = compose.compose(rng, split, grooves, SPAN + start)
    raw = run_mma(piece.source, folder)
    if raw is None:
        return None
    score = midi.parse(raw)
    if len({round(t, 1) for t in midi.tempi(score)}) != 1:
        return None
    arrange(rng, score)
    families, drums = heard(score, start, SPAN)
    if not families:
        return None
    font = rng.choices(SPLIT_SOUNDFONTS[split], SOUNDFONT_WEIGHTS[split])[0]
    pcm = synths[font].render(bytes(score.raw), start, SPAN)
    if not pcm.any():
        return None
    label = {
        "tempo_bpm": piece.tempo, "key": compose.key_name(piece), "mode": piece.mode,
        "metre": METRES[0] if piece.beats == 4 else METRES[1], "families": families, "drums": drums,
        "chords": chord_times(piece, start), "groove": piece.groove.name, "soundfont": font,
    }  # fmt: skip
    return pcm, label


NOISES = ["silence", "white", "brown", "hum", "clicks"]


def make_noise(rng: random.Random) -> tuple[np.ndarray, dict]:
    """Make a clip without music: silence, noise, mains hum or a few clicks, 3 to 25 s."""
    kind, n = rng.choice(NOISES), int(rng.uniform(3, SPAN) * RATE)
    gen = np.random.default_rng(rng.randrange(2**32))
    white, t = gen.standard_normal(n), np.arange(n) / RATE
    if kind == "white":
        x = white
    elif kind == "brown":
        x = np.cumsum(white)
        x -= np.convolve(x, np.ones(2205) / 2205, "same")
    elif kind == "hum":
        f = rng.choice([50, 60])
        x = sum(np.sin(2 * np.pi * f * k * t) / k**rng.uniform(0.5, 2) for k in (1, 2, 3, 5)) + 0.01 * white
    elif kind == "clicks":
        x = 0.002 * white
        x[gen.integers(0, n, rng.randint(1, 6))] = 1
    else:
        x = np.zeros(n)
    peak = np.abs(x).max()
    pcm = np.zeros(n) if peak == 0 else x / peak * rng.uniform(0.02, 0.8) * 32767
    return pcm.astype(np.int16), {"music": False, "noise": kind}


def write_clip(base: str, pcm: np.ndarray, label: dict) -> None:
    """Write base.wav, then base.json, whose presence says that the clip is whole."""
    write_wav(base + ".wav", pcm)
    with open(base + ".json.part", "w", encoding="ascii") as f:
        json.dump(label, f)
    os.replace(base + ".json.part", base + ".json")


def write_manifest(out: str) -> None:
    """Write manifest.jsonl: one line per clip with music, which `lark eval import manifest` makes a set of."""
    keys = ["tempo_bpm", "key", "mode", "metre", "families", "drums"]
    with open(os.path.join(out, "manifest.jsonl"), "w", encoding="ascii") as f:
        for name in sorted(n for n in os.listdir(out) if n.endswith(".json")):
            with open(os.path.join(out, name), encoding="ascii") as g:
                label = json.load(g)
            if "tempo_bpm" in label:
                f.write(json.dumps({"file": name[:-5] + ".wav", **{k: label[k] for k in keys}}) + "\n")


def main() -> int:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("--split", choices=["train", "test", "noise"], required=True)
    args.add_argument("--start", type=int, default=0)
    args.add_argument("--count", type=int, required=True)
    args.add_argument("--seed", type=int, default=1)
    a = args.parse_args()
    os.makedirs(a.out, exist_ok=True)
    synths = {n: Synth(n) for n in SPLIT_SOUNDFONTS.get(a.split, [])}
    grooves, began, made, refused = compose.library(), time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(a.start, a.start + a.count):
            base = os.path.join(a.out, f"{a.split}{i:05d}")
            if os.path.exists(base + ".json"):
                continue
            rng = random.Random(f"{a.seed}-{a.split}-{i}")
            while (clip := make_noise(rng) if a.split == "noise" else make_clip(rng, a.split, grooves, synths, folder)) is None:
                refused += 1
            write_clip(base, *clip)
            made += 1
            if made % 50 == 0:
                print(f"{a.split}: {made} clips, {refused} draws refused, {(time.monotonic() - began) / made:.2f} s each", flush=True)
    write_manifest(a.out)
    print(f"{a.split}: made {made}, refused {refused}, {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
