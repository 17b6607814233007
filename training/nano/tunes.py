"""Pieces of tunes that people composed (peers/tunes.py writes them), in any key, by any instruments, alone or accompanied."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass

from .arrange import BARS, Note, Part, Piece, drums, nearest
from .labels import FAMILIES, TONICS, programs_of

METRE_WEIGHTS = {"2/4": 20, "3/4": 26, "4/4": 24, "6/8": 26, "5/4": 2, "7/8": 2}
TEMPI = {"2/4": (60, 150), "3/4": (76, 190), "4/4": (60, 170), "6/8": (56, 140), "5/4": (80, 180), "7/8": (90, 200)}  # pulses a minute
ENHARMONIC = {"C#": "Db", "D#": "Eb", "G#": "Ab", "A#": "Bb", "Gb": "F#"}


@dataclass
class Tune:
    """A tune as composed: parts of [at, length, keys] and chords of [at, length, root, pitch classes], in quarters."""

    tonic: int
    mode: str
    metre: str
    pickup: float
    parts: list
    chords: list


def read(path: str) -> dict[str, list[Tune]]:
    """Return the tunes of a file by metre."""
    out: dict[str, list[Tune]] = {}
    with open(path, encoding="ascii") as f:
        for line in f:
            t = json.loads(line)
            name = ENHARMONIC.get(t["key"], t["key"])
            out.setdefault(t["metre"], []).append(Tune(TONICS.index(name), t["mode"], t["metre"], t["pickup"], t["parts"], t["chords"]))
    return out


def write_piece(rng: random.Random, tunes: dict[str, list[Tune]], seconds: float) -> Piece:
    """Set a tune for instruments, from one of its bars on, again and again until `seconds` are full."""
    metres = sorted(tunes)
    metre = rng.choices(metres, [METRE_WEIGHTS[m] for m in metres])[0]
    tune, (low, high) = rng.choice(tunes[metre]), TEMPI[metre]
    moved = rng.randrange(-6, 6)
    p = Piece(metre, round(low * (high / low) ** rng.random()), (tune.tonic + moved) % 12, tune.mode, [], [])
    bar = BARS[metre][0]
    bars = int(seconds / (bar * p.quarter_seconds)) + 2
    end = max(at + length for part in tune.parts for at, length, _ in part)
    round_ = max(1, math.ceil((end - tune.pickup) / bar - 0.05)) * bar
    first = tune.pickup + bar * rng.randrange(max(1, int(round_ / bar))) if rng.random() < 0.6 else 0.0

    def placed(items: list) -> list:
        """Return the items of every round as they fall in the piece."""
        times = int((first + bars * bar) / round_) + 1
        found = [[at + k * round_ - first, *rest] for k in range(times) for at, *rest in items]
        return [x for x in found if 0 <= x[0] < bars * bar]

    parts = [placed(part) for part in tune.parts]
    p.parts = [_part(rng, notes, moved, f, velocity=84 if i == 0 else 74) for i, (notes, f) in enumerate(zip(parts, _line_up(rng, len(parts)), strict=True))]
    chords = placed(tune.chords)
    if chords and rng.random() < 0.75:
        p.parts += _accompaniment(rng, p, chords, moved)
    elif len(tune.parts) == 1 and rng.random() < 0.3:
        p.parts.append(_drone(rng, p, bars))
    if rng.random() < 0.3:
        part = drums(rng, Piece(metre, p.tempo, p.tonic, p.mode, [None] * bars, []))
        shift = (tune.pickup - first) % bar
        part.notes = [Note(n.at + shift, n.length, n.key, n.velocity) for n in part.notes]
        p.parts.append(part)
    return p


def _line_up(rng: random.Random, count: int) -> list[str]:
    one = rng.choice(FAMILIES)
    return [one] * count if rng.random() < 0.6 else [rng.choice(FAMILIES) for _ in range(count)]


def _part(rng: random.Random, notes: list, moved: int, name: str, velocity: int) -> Part:
    middle = sorted(k for _, _, keys in notes for k in keys)
    middle = middle[len(middle) // 2] + moved if middle else 60
    wanted = 45 if name == "bass" else middle + rng.choice([0, 0, 0, -12, 12])
    octaves = 12 * round((wanted - middle) / 12)
    short, out = rng.choice([0.95, 0.95, 0.8, 0.55]), Part(name, rng.choice(programs_of(name)))
    for at, length, keys in notes:
        out.notes += [Note(at, length * short, min(108, max(24, k + moved + octaves)), velocity + rng.randrange(-6, 7)) for k in keys]
    return out


def _accompaniment(rng: random.Random, p: Piece, chords: list, moved: int) -> list[Part]:
    """Play the chords: held, at every pulse, after a bass, or broken; a bass may have a part of its own."""
    pulse, kind = BARS[p.metre][1], rng.choice(["held", "pulse", "after", "broken"])
    name = rng.choice([f for f in FAMILIES if f != "bass"])
    part, low = Part(name, rng.choice(programs_of(name))), Part("bass", rng.choice(programs_of("bass")))
    base = rng.choice([48, 52, 55])
    for at, length, root, classes in chords:
        keys = [nearest(base + 4, [(c + moved) % 12]) for c in classes][:4]
        deep = nearest(38, [(root + moved) % 12])
        steps = max(1, round(length / pulse))
        low.notes.append(Note(at, min(length, pulse) * 0.9, deep, 84))
        for k in range(steps):
            when, long = at + k * pulse, min(pulse, length)
            if kind == "held":
                part.notes += [Note(at, length * 0.95, key, 64) for key in keys] if k == 0 else []
            elif kind == "broken":
                part.notes += [Note(when + i * long / 3, long / 3, key, 66) for i, key in enumerate(keys[:3])]
            elif kind == "after" and k == 0:
                part.notes.append(Note(when, long * 0.8, deep + 12, 78))
            else:
                part.notes += [Note(when, long * 0.6, key, 66) for key in keys]
    return [part, low] if rng.random() < 0.4 else [part]


def _drone(rng: random.Random, p: Piece, bars: int) -> Part:
    """Hold tonic and fifth."""
    bar, name = BARS[p.metre][0], rng.choice([f for f in FAMILIES if f not in ("bass", "mallets")])
    root = nearest(46, [p.tonic])
    return Part(name, rng.choice(programs_of(name)), [Note(n * bar, bar * 0.98, k, 60) for n in range(bars) for k in (root, root + 7)])
