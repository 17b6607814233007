"""Generate labelled clips: python -m nano.generate OUT --split train|test|noise --count N --seed S.

Clip i depends on the seed, the split and i alone, so that a stopped run goes on where it was. Two processes may share the work with --start.
A clip is composed by `arrange` or by a groove of MMA, sounds through a soundfont, `wavetable`, or for each part a source of its own, and then goes through `effects`.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from scipy import signal

from . import arrange as pieces
from . import compose, effects, midi, nomusic, patches, recorded, tunes, wavetable
from .labels import FAMILIES, METRES, TONICS, family, programs_of
from .synth import RATE, Synth, write_wav

SPAN = 25.0
SPLIT_SOUNDFONTS = {"train": ["fluidr3", "musescore", "opl3"], "test": ["timgm6mb"]}
SOUNDFONT_WEIGHTS = {"train": [45, 35, 20], "test": [1]}
ROOM = 1.035  # a clip that is played sharp is this much longer before
STEPS, STEP_SECONDS = 68, 4 * 2048 / 22050  # the encoder's harmony steps
MIN_NOTES = 5
GROOVES = {"train": 0.25, "test": 0.5}  # share of clips that MMA writes
WAVETABLES = {"train": 0.12, "test": 0.0}
MIXED = {"train": 0.75, "test": 0.0}  # share of clips whose parts sound through instruments of different sources, wavetables included
SOURCES = {"font": 54, "recorded": 20, "patch": 14, "wavetable": 12}  # of a part of a mixed clip
VOICES = {"recorded": (recorded.Voice, patches.Kit), "patch": (patches.Voice, patches.Kit), "wavetable": (wavetable.Voice, wavetable.Kit)}  # and drums
# Programs of these fonts whose recordings TimGM6mb has not (python -m nano.shared_samples). Their percussion is in part TimGM6mb's. The other fonts share none.
OWN = {
    "merlin": {0, 1, 9, 10, 12, 13, 14, 21, 22, 23, 24, 25, 26, *range(40, 52), 53, 54, 56, 60, 61, 62, 63, 65, 66, 68, 71, 73, 75, 82, 83, 86, 89, 90, 94, 95, 96, 97, 110},
    "generaluser": set(range(112)) - {31, 34, 79, 91, 101, 111},
}
FONTS = {"fluidr3": 1, "musescore": 1, "opl3": 1, "merlin": 2, "generaluser": 3}  # how often a part of a mixed clip sounds through each


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


def heard(sounding: list[midi.Sounding]) -> tuple[list[str], bool, list[int]]:
    """Return the families heard, whether drums are, and for each harmony step the families that sound in it as bits."""
    count, steps = collections.Counter(), [0] * STEPS
    for n in sounding:
        if n.velocity < 20 or n.end <= 0 or n.start >= SPAN or n.family is None:
            continue
        count[n.family] += n.start >= 0
        if n.family in FAMILIES:
            for k in range(max(0, int(n.start / STEP_SECONDS)), min(STEPS, int(max(n.end, n.start + 0.2) / STEP_SECONDS) + 1)):
                steps[k] |= 1 << FAMILIES.index(n.family)
    there = [f for f in FAMILIES if count[f] >= MIN_NOTES]
    mask = sum(1 << FAMILIES.index(f) for f in there)
    return there, count["drums"] >= MIN_NOTES, [s & mask for s in steps]


def chord_times(chords: list[compose.Chord], bar: float, start: float) -> list[list]:
    """Return [from, to, root, suffix] in seconds of the clip for each chord, one a bar of `bar` seconds."""
    out = []
    for i, chord in enumerate(chords):
        a, b = max(i * bar - start, 0.0), min((i + 1) * bar - start, SPAN)
        if b > a:
            out.append([round(a, 3), round(b, 3), chord.root, chord.suffix])
    return out


def groove_clip(rng: random.Random, split: str, grooves: list[compose.Groove], synths: dict[str, Synth], folder: str):
    """Have MMA write a piece; returns (samples, label), or None where this draw cannot be used."""
    start = rng.uniform(0, 3.5)
    piece = compose.compose(rng, split, grooves, SPAN * ROOM + start)
    raw = run_mma(piece.source, folder)
    if raw is None:
        return None
    score = midi.parse(raw)
    if len({round(t, 1) for t in midi.tempi(score)}) != 1:
        return None
    arrange(rng, score)
    families, drums, steps = heard(midi.sounding(score, start))
    font = rng.choices(SPLIT_SOUNDFONTS[split], SOUNDFONT_WEIGHTS[split])[0]
    pcm = synths[font].render(bytes(score.raw), start, SPAN * ROOM)
    return pcm, {
        "tempo_bpm": piece.tempo, "key": compose.key_name(piece), "mode": piece.mode,
        "metre": METRES[0] if piece.beats == 4 else METRES[1], "families": families, "drums": drums, "steps": steps,
        "chords": chord_times(piece.chords, piece.beats * 60 / piece.tempo, start), "groove": piece.groove.name, "soundfont": font,
    }  # fmt: skip


def humanise(rng: random.Random, piece: pieces.Piece) -> None:
    """Swing the eighths now and then, let the tempo breathe, and let notes fall a little beside the grid."""
    swing = rng.choice([0.6, 0.66]) if piece.metre in ("4/4", "2/4", "3/4") and rng.random() < 0.15 else 0.5
    breath, wave = (rng.uniform(0, 0.35), rng.uniform(16, 48)) if rng.random() < 0.2 else (0.0, 1.0)
    loose = rng.choice([0.0, 0.004, 0.01, 0.02]) / piece.quarter_seconds

    def moved(q: float) -> float:
        whole, part = divmod(q, 1.0)
        part = part * swing / 0.5 if part < 0.5 else swing + (part - 0.5) * (1 - swing) / 0.5
        return whole + part + breath * math.sin(2 * math.pi * q / wave)

    for part in piece.parts:
        for n in part.notes:
            end = moved(n.at + n.length)
            n.at = max(0.0, moved(n.at) + rng.gauss(0, loose))
            n.length = max(0.05, end - n.at)


def mixed(rng: random.Random, parts: list[pieces.Part], quarter: float, start: float, synths: dict[str, Synth]) -> np.ndarray:
    """Play each part through an instrument of a source of its own, and mix them about equally loud."""
    gen, length = np.random.default_rng(rng.randrange(2**32)), int(SPAN * ROOM * RATE)
    out = np.zeros(length)
    for part in parts:
        source = rng.choices(list(SOURCES), list(SOURCES.values()))[0]
        if source == "recorded" and part.family not in [*recorded.INSTRUMENTS, "drums"]:
            source = "font"
        if source == "font":
            fonts = [f for f in FONTS if f not in OWN or (part.family != "drums" and part.program in OWN[f])]
            font = rng.choices(fonts, [FONTS[f] for f in fonts])[0]
            y = synths[font].render(midi.write([part], quarter), start, SPAN * ROOM).astype(np.float64)
        else:
            half = wavetable.render([part], quarter, start + SPAN * ROOM, gen, 0.0, *VOICES[source])
            y = signal.resample_poly(half[int(start * wavetable.RATE) :], 2, 1)
        y = np.pad(y, (0, max(0, length - len(y))))[:length]
        power = np.sqrt((y * y).mean())
        if power > 0:
            out += y / power * 10 ** (-rng.uniform(0, 11) / 20)
    return out


def own_clip(rng: random.Random, split: str, synths: dict[str, Synth], known: dict[str, list[tunes.Tune]] | None):
    """Write a piece note by note, or set one of the known tunes; returns (samples, label)."""
    start = rng.uniform(0, 3.0)
    piece = tunes.write_piece(rng, known, SPAN * ROOM + start + 1) if known else pieces.write_piece(rng, split, SPAN * ROOM + start + 1)
    humanise(rng, piece)
    quarter = piece.quarter_seconds
    found = [
        midi.Sounding(n.at * quarter - start, (n.at + n.length) * quarter - start, p.family, n.velocity)
        for p in piece.parts for n in p.notes
    ]  # fmt: skip
    families, drums, steps = heard(found)
    source = rng.random()
    if source < WAVETABLES[split]:
        font, gen = "wavetable", np.random.default_rng(rng.randrange(2**32))
        half = wavetable.render(piece.parts, quarter, start + SPAN * ROOM, gen, 0.0)[int(start * wavetable.RATE) :]
        pcm = signal.resample_poly(half, 2, 1)
    elif source < MIXED[split]:
        font, pcm = "mixed", mixed(rng, piece.parts, quarter, start, synths)
    else:
        font = rng.choices(SPLIT_SOUNDFONTS[split], SOUNDFONT_WEIGHTS[split])[0]
        pcm = synths[font].render(midi.write(piece.parts, quarter), start, SPAN * ROOM)
    bar = pieces.BARS[piece.metre][0] * quarter
    return pcm, {
        "tempo_bpm": piece.tempo, "key": TONICS[piece.tonic], "mode": piece.mode, "metre": piece.metre, "families": families,
        "drums": drums, "steps": steps, "chords": chord_times(piece.chords, bar, start), "soundfont": font,
    }  # fmt: skip


def make_clip(rng: random.Random, split: str, grooves: list[compose.Groove], synths: dict[str, Synth], folder: str, known: dict[str, list[tunes.Tune]] | None = None):
    """Make one clip, of a known tune if there are any; returns (pcm, label), or None where this draw cannot be used."""
    if known is None and rng.random() < GROOVES[split]:
        clip = groove_clip(rng, split, grooves, synths, folder)
    else:
        clip = own_clip(rng, split, synths, known)
    if clip is None or not clip[1]["families"] or not clip[0].any():
        return None
    x, label = clip
    x = x / (np.abs(x).max() + 1e-9)
    cents = rng.uniform(-50, 50) if rng.random() < 0.45 else 0.0
    if cents:
        x, label = effects.retune(x, cents), sped_up(label, 2 ** (cents / 1200))
    gen = np.random.default_rng(rng.randrange(2**32))
    if rng.random() < 0.7:
        voice = nomusic.speak(rng, 8.0) if rng.random() < 0.08 else None
        x = effects.process(x, rng, gen, voice)
    else:
        x = x * rng.uniform(0.3, 0.95)
    x = np.resize(x, int(SPAN * RATE)) if len(x) < SPAN * RATE else x[: int(SPAN * RATE)]
    return (np.clip(x, -1, 1) * 32767).astype(np.int16), label | {"cents": round(cents, 1)}


def sped_up(label: dict, factor: float) -> dict:
    """Return the label of a clip that is played `factor` times as fast."""
    chords = [[round(a / factor, 3), round(min(b / factor, SPAN), 3), *rest] for a, b, *rest in label["chords"] if a / factor < SPAN]
    return label | {"tempo_bpm": round(label["tempo_bpm"] * factor, 2), "chords": chords}


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
    args.add_argument("--tunes", help="set the tunes of this file (peers/tunes.py) instead of composing")
    a = args.parse_args()
    os.makedirs(a.out, exist_ok=True)
    kind, known = ("tune", tunes.read(a.tunes)) if a.tunes else (a.split, None)
    bases = {i: os.path.join(a.out, f"{kind}{i:05d}") for i in range(a.start, a.start + a.count)}
    missing = {i: base for i, base in bases.items() if not os.path.exists(base + ".json")}
    fonts = list(FONTS) if a.split == "train" else SPLIT_SOUNDFONTS.get(a.split, [])
    synths = {n: Synth(n) for n in fonts if missing}
    grooves, began, made, refused = compose.library() if missing else [], time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for i, base in missing.items():
            rng = random.Random(f"{a.seed}-{kind}-{i}")
            while (clip := nomusic.make(rng, SPAN) if a.split == "noise" else make_clip(rng, a.split, grooves, synths, folder, known)) is None:
                refused += 1
            write_clip(base, *clip)
            made += 1
            if made % 50 == 0:
                print(f"{kind}: {made} clips, {refused} draws refused, {(time.monotonic() - began) / made:.2f} s each", flush=True)
    write_manifest(a.out)
    print(f"{kind}: made {made}, refused {refused}, {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
