"""Pieces written straight as notes: metre, harmony, a phrase-shaped melody, accompaniments and drums, solo to full band.

Families are drawn evenly for the parts, so that no family is known by the company it keeps.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from . import compose
from .labels import FAMILIES, METRES, programs_of

# Quarters in a bar, quarters in a pulse, and how strongly each eighth of a bar is felt.
BARS = {
    "2/4": (2.0, 1.0, [1, 0.3, 0.6, 0.35]),
    "3/4": (3.0, 1.0, [1, 0.3, 0.6, 0.3, 0.6, 0.35]),
    "4/4": (4.0, 1.0, [1, 0.3, 0.6, 0.3, 0.8, 0.3, 0.6, 0.35]),
    "6/8": (3.0, 1.5, [1, 0.35, 0.6, 0.85, 0.35, 0.6]),
    "5/4": (5.0, 1.0, [1, 0.3, 0.5, 0.3, 0.5, 0.3, 0.85, 0.3, 0.5, 0.3]),
    "7/8": (3.5, 1.0, [1, 0.4, 0.75, 0.4, 0.75, 0.4, 0.45]),
}
METRE_WEIGHTS = {"2/4": 14, "3/4": 22, "4/4": 28, "6/8": 18, "5/4": 9, "7/8": 9}
RANGES = {"bass": (28, 48), "low": (45, 60), "middle": (52, 72), "high": (62, 86)}
DRUM_CHANNEL = 9


@dataclass
class Note:
    """A note: start and length in quarters, MIDI key, velocity."""

    at: float
    length: float
    key: int
    velocity: int


@dataclass
class Part:
    """Notes of one instrument. The family of the drum part is "drums"."""

    family: str
    program: int
    notes: list[Note] = field(default_factory=list)


@dataclass
class Piece:
    """A piece with everything that its label needs. `tempo` counts pulses a minute: dotted quarters in 6/8."""

    metre: str
    tempo: float
    tonic: int
    mode: str
    chords: list[compose.Chord]  # one per bar
    parts: list[Part]

    @property
    def quarter_seconds(self) -> float:
        """Seconds in a quarter."""
        return 60 / self.tempo / BARS[self.metre][1]


def draw_tempo(rng: random.Random) -> int:
    """Draw pulses a minute, 40 to 220, most of them moderate."""
    low, high = (62, 176) if rng.random() < 0.7 else (40, 220)
    return round(low * (high / low) ** rng.random())


def grid_of(metre: str, tempo: float) -> tuple[float, list[float]]:
    """Return the grid's step in quarters and the strength of each place: sixteenths where the music is slow."""
    strength = BARS[metre][2]
    if tempo / BARS[metre][1] < 72:
        return 0.25, [s for x in strength for s in (x, 0.2 * x)]
    return 0.5, list(strength)


def rhythm(rng: random.Random, metre: str, tempo: float, density: float) -> list[tuple[float, float]]:
    """Draw a bar's rhythm as (place, length) in quarters."""
    step, strength = grid_of(metre, tempo)
    places = [i for i, s in enumerate(strength) if rng.random() < s**0.6 * density or i == 0]
    ends = places[1:] + [len(strength)]
    return [(a * step, (b - a) * step) for a, b in zip(places, ends, strict=True)]


def scale_of(tonic: int, mode: str, raised: bool) -> list[int]:
    """Return the pitch classes of the scale; `raised` gives minor its leading note."""
    steps = (0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 11 if raised else 10)
    return [(tonic + s) % 12 for s in steps]


def tones_of(chord: compose.Chord) -> list[int]:
    """Return the pitch classes of a chord."""
    return [(chord.root + t) % 12 for t in compose.TONES[chord.suffix]]


def nearest(key: int, classes: list[int]) -> int:
    """Return the key nearest to `key` whose pitch class is among classes."""
    return min(range(key - 6, key + 7), key=lambda k: (k % 12 not in classes, abs(k - key)))


def melody(rng: random.Random, p: Piece, low: int, high: int, density: float) -> list[Note]:
    """Write a tune in phrases of four bars: motifs return, strong beats take chord notes, phrases close on a long note near the tonic."""
    bar, out = BARS[p.metre][0], []
    motifs = [rhythm(rng, p.metre, p.tempo, density) for _ in range(3)]
    form = rng.choice(["0010", "0120", "0101", "0012"])
    moves = [[rng.choice([-2, -1, -1, 0, 1, 1, 2, rng.choice([-4, 4, 3, -3])]) for _ in range(32)] for _ in range(3)]
    key, rests = nearest((low + high) // 2, [p.tonic]), rng.choice([0, 0, 0.1, 0.25])
    for n, chord in enumerate(p.chords):
        which, tones = int(form[n % 4]), tones_of(chord)
        scale = scale_of(p.tonic, p.mode, (p.tonic + 11) % 12 in tones)
        closing = n % 4 == 3
        if not closing and rng.random() < rests:
            continue
        line = motifs[which] if rng.random() < 0.85 else rhythm(rng, p.metre, p.tempo, density)
        if closing and rng.random() < 0.7:
            cut = rng.choice([0.0, bar / 2])
            line = [x for x in line if x[0] < cut] + [(cut, bar - cut)]
        for i, (at, length) in enumerate(line):
            for _ in range(abs(moves[which][i % 32])):
                key = nearest(key + (2 if moves[which][i % 32] > 0 else -2), scale)
            if closing and i == len(line) - 1 and rng.random() < 0.8:
                key = nearest(key, [p.tonic] if p.tonic in tones or rng.random() < 0.3 else tones)
            elif i == 0 or rng.random() < 0.3:
                key = nearest(key, tones)
            key += 12 if key < low else -12 if key > high else 0
            out.append(Note(n * bar + at, length * rng.choice([0.9, 0.95, 0.6]), key, 84 + (10 if i == 0 else 0)))
    if rng.random() < 0.3:  # a pick-up before the first bar
        out = [Note(x.at + bar, x.length, x.key, x.velocity) for x in out]
        out += [Note(bar - 0.5 * k, 0.45, nearest(out[0].key - 2 * k, scale_of(p.tonic, p.mode, True)), 80) for k in (2, 1)]
    return out


def voicing(chord: compose.Chord, low: int, size: int) -> list[int]:
    """Return `size` keys of the chord from low upwards."""
    classes, out = tones_of(chord), []
    key = low
    while len(out) < size:
        if key % 12 in classes:
            out.append(key)
        key += 1
    return out


def comping(rng: random.Random, p: Piece, low: int, density: float) -> list[Note]:
    """Write chords in a repeated rhythm, after the beat now and then."""
    bar, size = BARS[p.metre][0], rng.choice([3, 3, 4, 2])
    line = rhythm(rng, p.metre, p.tempo, density)
    if rng.random() < 0.35:  # off the first beat: the bass has it
        line = [(a, b) for a, b in line if a > 0] or line
    short = rng.choice([0.35, 0.6, 0.95])
    return [Note(n * bar + a, b * short, k, 70) for n, c in enumerate(p.chords) for a, b in line for k in voicing(c, low, size)]


def arpeggio(rng: random.Random, p: Piece, low: int, density: float) -> list[Note]:
    """Write broken chords on the grid."""
    bar, size = BARS[p.metre][0], rng.choice([3, 4, 5])
    step, strength = grid_of(p.metre, p.tempo)
    if p.tempo > 130 and density < 0.6:
        step *= 2
    count = max(1, int(bar / step))
    order = rng.choice([list(range(size)), list(range(size)) + list(range(size - 2, 0, -1)), [0, size - 1, 1, size - 1], [0, 2, 1, 2]])
    hold, out = rng.choice([1.0, 1.0, 2.5]), []
    for n, c in enumerate(p.chords):
        keys = voicing(c, low, size)
        out += [Note(n * bar + i * step, step * hold, keys[order[i % len(order)] % size], 76 if i == 0 else 66) for i in range(count)]
    return out


def pad(rng: random.Random, p: Piece, low: int, density: float) -> list[Note]:
    """Write held chords."""
    bar, size = BARS[p.metre][0], rng.choice([2, 3, 4])
    return [Note(n * bar, bar * 0.98, k, 64) for n, c in enumerate(p.chords) for k in voicing(c, low, size)]


def bass(rng: random.Random, p: Piece, low: int, density: float) -> list[Note]:
    """Write a bass: roots, root and fifth, walking, or a riff."""
    bar, pulse, strength = BARS[p.metre]
    kind, out = rng.choice(["root", "fifth", "walk", "riff", "fifth"]), []
    riff = rhythm(rng, p.metre, p.tempo, density)
    for n, c in enumerate(p.chords):
        root = nearest(low + 7, [c.root])
        if kind == "root":
            out.append(Note(n * bar, bar * 0.9, root, 88))
        elif kind == "riff":
            out += [Note(n * bar + a, b * 0.85, root + rng.choice([0, 0, 0, 12, 7]), 86) for a, b in riff]
        else:
            after = p.chords[(n + 1) % len(p.chords)].root
            beats = [i * pulse for i in range(int(bar / pulse + 0.01))]
            for i, at in enumerate(beats):
                if kind == "walk":
                    pool = tones_of(c) if i < len(beats) - 1 else [(after + d) % 12 for d in (1, 11, 7)]
                    key = root if i == 0 else nearest(root + rng.choice([-4, 3, 5, 7]), pool)
                else:
                    if p.metre in ("3/4", "5/4") and i not in (0, 3):
                        continue
                    key = root if i in (0, 3) or len(beats) < 2 else nearest(root + rng.choice([7, -5]), [(c.root + 7) % 12])
                out.append(Note(n * bar + at, pulse * 0.85, key, 90 if i == 0 else 80))
    return out


def chorale(rng: random.Random, p: Piece, families: list[str]) -> list[Part]:
    """Write four voices that move together."""
    bar, line = BARS[p.metre][0], rhythm(rng, p.metre, p.tempo, 0.5)
    parts = [Part(f, rng.choice(programs_of(f))) for f in families]
    top = melody(rng, p, 62, 81, 0.6)
    parts[0].notes = [Note(x.at, x.length, x.key, 80) for x in top]
    for v, (part, centre) in enumerate(zip(parts[1:], (62, 55, 45), strict=False)):
        key = centre
        for n, c in enumerate(p.chords):
            for a, b in line if v < 2 or rng.random() < 0.5 else [(0.0, bar)]:
                key = nearest(centre + rng.choice([-3, 0, 3]) if rng.random() < 0.4 else key, [c.root] if v == 2 else tones_of(c))
                key += 12 if key < centre - 9 else -12 if key > centre + 9 else 0
                part.notes.append(Note(n * bar + a, b * 0.95, key, 74))
    return parts


def drums(rng: random.Random, p: Piece) -> Part:
    """Write a drum part: a pattern of the metre with fills, or hand percussion."""
    bar, pulse, strength = BARS[p.metre]
    part, eighths = Part("drums", 0), len(strength)
    strong = [i for i, s in enumerate(strength) if s >= 0.8]
    middle = [i for i, s in enumerate(strength) if 0.5 <= s < 0.8]
    kick = {i for i in range(eighths) if i in strong or rng.random() < 0.12}
    snare = set(middle if rng.random() < 0.8 else middle[-1:]) if p.metre != "4/4" else {2, 6} if rng.random() < 0.8 else {4}
    if p.metre == "6/8":
        kick, snare = {0} | ({2} if rng.random() < 0.3 else set()), {3}
    hat, every = rng.choice([42, 42, 51, 70, 82, 54]), rng.choice([1, 1, 2])
    low, high = rng.choice([(36, 38), (35, 40), (36, 37), (64, 62), (41, 39), (36, 38)])
    four, swing = rng.random() < 0.12, rng.choice([0, 0, 0, 0.16])
    for n in range(len(p.chords)):
        fill = n % 4 == 3 and rng.random() < 0.4
        for i in range(eighths):
            at = n * bar + i * 0.5 + (swing if i % 2 and p.metre != "6/8" else 0)
            if i in kick or (four and i * 0.5 % pulse == 0):
                part.notes.append(Note(at, 0.2, low, 100))
            if i in snare:
                part.notes.append(Note(at, 0.2, high, 96))
            if i % every == 0 or (p.metre == "6/8" and every == 2 and i % 3 == 0):
                part.notes.append(Note(at, 0.2, hat, 60 + int(30 * strength[i])))
            if fill and i >= eighths // 2:
                part.notes += [Note(at + d, 0.2, rng.choice([45, 47, 48, 38]), 90) for d in (0, 0.25)]
        if n % 8 == 0 and rng.random() < 0.5:
            part.notes.append(Note(n * bar, 0.5, 49, 90))
    return part


TEXTURES = [(comping, "middle"), (arpeggio, "middle"), (pad, "middle"), (arpeggio, "high"), (comping, "low"), (pad, "low")]


def _solo(rng: random.Random, p: Piece, name: str, density: float) -> list[Part]:
    part = Part(name, rng.choice(programs_of(name)))
    if name == "bass":
        part.notes = bass(rng, p, 28, density) if rng.random() < 0.5 else melody(rng, p, 33, 55, density)
        return [part]
    low, high = rng.choice([RANGES["high"], RANGES["middle"], (55, 79)])
    part.notes = melody(rng, p, low, high, density)
    if rng.random() < 0.4 and name in ("piano", "guitar", "organ", "mallets", "synth", "strings"):
        write, place = rng.choice(TEXTURES)
        part.notes += write(rng, p, 43, 0.5)
    return [part]


def _band(rng: random.Random, p: Piece, size: int, density: float) -> list[Part]:
    names = rng.sample(FAMILIES, min(size, len(FAMILIES)))
    if rng.random() < 0.35:
        names[-1] = rng.choice(names[:-1] or names)  # two parts of a family
    out = []
    for n, name in enumerate(names):
        part = Part(name, rng.choice(programs_of(name)))
        if name == "bass" or (n == 1 and size > 2 and "bass" not in names):
            part.notes = bass(rng, p, RANGES["bass"][0] if name == "bass" else 36, density)
        elif n == 0 or (n == size - 1 and size > 4 and rng.random() < 0.5):
            part.notes = melody(rng, p, *RANGES[rng.choice(["high", "high", "middle"])], density)
        else:
            write, place = rng.choice(TEXTURES)
            part.notes = write(rng, p, RANGES[place][0], density * rng.uniform(0.5, 1))
        loud = rng.uniform(0.65, 1.15) if n else 1.0
        for x in part.notes:
            x.velocity = max(25, min(120, int(x.velocity * loud)))
        out.append(part)
    return out


def write_parts(rng: random.Random, p: Piece) -> list[Part]:
    """Draw a line-up, solo to full, and write its parts."""
    kind, density = rng.choices(["solo", "duo", "chorale", "small", "full"], [22, 18, 14, 26, 20])[0], rng.uniform(0.45, 1.0)
    if kind == "solo":
        parts = _solo(rng, p, rng.choice(FAMILIES), density)
    elif kind == "chorale":
        one = rng.choice([f for f in FAMILIES if f != "bass"])
        parts = chorale(rng, p, [one] * 4 if rng.random() < 0.6 else [rng.choice(FAMILIES) for _ in range(4)])
    else:
        parts = _band(rng, p, {"duo": 2, "small": rng.choice([3, 4]), "full": rng.choice([5, 6])}[kind], density)
    likely = {"solo": 0.12, "duo": 0.3, "chorale": 0.1, "small": 0.55, "full": 0.75}[kind]
    if rng.random() < likely:
        parts.append(drums(rng, p))
    return parts


def write_piece(rng: random.Random, split: str, seconds: float) -> Piece:
    """Write a piece of at least `seconds`."""
    metre = rng.choices(METRES, [METRE_WEIGHTS[m] for m in METRES])[0]
    p = Piece(metre, draw_tempo(rng), rng.randrange(12), rng.choice(["major", "minor"]), [], [])
    a, b = compose.progression(rng, p.mode, split), compose.progression(rng, p.mode, split)
    form = a * 2 + b * 2 if rng.random() < 0.5 else a
    hold = 2 if BARS[metre][0] * p.quarter_seconds < 1.3 and rng.random() < 0.5 else 1
    bars = int(seconds / (BARS[metre][0] * p.quarter_seconds)) + 3
    p.chords = [compose.parse_chord(form[i // hold % len(form)], p.tonic, p.mode) for i in range(bars)]
    p.parts = write_parts(rng, p)
    return p
