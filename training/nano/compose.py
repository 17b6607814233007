"""Random labelled pieces: an MMA groove, a harmony with a known key and, mostly, a melody over it."""

from __future__ import annotations

import os
import random
import re
import zlib
from dataclasses import dataclass

from .labels import TONICS

MMA_LIBRARY = "/usr/share/mma/lib"
# Spellings that MMA reads as chord roots, index 0 = C.
ROOTS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
NOTE_NAMES = ["c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b"]
MELODY_VOICES = [
    "Flute", "Violin", "TenorSax", "Trumpet", "Clarinet", "Oboe", "Harmonica", "JazzGuitar", "NylonGuitar",
    "CleanGuitar", "Piano1", "Vibraphone", "Accordion", "Organ1", "ChoirAahs", "AltoSax", "Cello", "Piccolo",
]  # fmt: skip

# Chord progressions in Roman numerals. The test banks never occur in training, in any rotation.
TRAIN_MAJOR = """I V vi IV|I vi IV V|I IV V I|I IV I V|ii7 V7 IM7 IM7|IM7 vi7 ii7 V7|I iii IV V|vi IV I V|I bVII IV I
I V IV I|I ii V I|IM7 IVM7 ii7 V7|I I IV V|I II7 ii V7|I I7 IV iv|I vi iii IV|I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"""
TRAIN_MINOR = """i bVI bIII bVII|i iv V7 i|i bVII bVI V7|i7 iv7 i7 V7|ii0 V7 i i|i bVI iv V|i bIII bVII iv|i v iv i|i i iv V7
i bVII bIII bVI|i iv i V7|i i bVI bVII|i7 i7 i7 i7 iv7 iv7 i7 i7 bVI V7 i7 V7|i bVII bVI bVII"""
TEST_MAJOR = "I IV vi V|IV V iii vi|IM7 iii7 ii7 V7|I vi ii V7|I bVI bVII I|I iii vi IV|I V ii IV|I ii IV V"
TEST_MINOR = "i iv bVII bIII|i bVI ii0 V7|i bVI bVII v|i v bVI bVII|i iv bVI V7|i bVII i V7"

DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
TONES = {"": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10), "M7": (0, 4, 7, 11), "m7b5": (0, 3, 6, 10)}
RANDOM_CHORDS = {
    "major": (["I", "IV", "V", "vi", "ii", "iii", "V7", "IM7", "ii7", "bVII"], [5, 4, 4, 3, 2, 1.5, 2, 1, 1, 0.7]),
    "minor": (["i", "iv", "V7", "bVI", "bVII", "bIII", "v", "i7", "iv7", "ii0"], [5, 4, 3, 3, 3, 2, 1, 1, 1, 0.7]),
}
SLOW = re.compile(r"ballad|bald|slow|lullaby|serenade|dirge", re.I)
FAST = re.compile(r"fast|bluegrass|polka|punk|bebop|march|samba|jive|quickstep|metal|charleston|viennese|vienese", re.I)
NOT_A_GROOVE = re.compile(r"intro|end$|ending|fill|metronome|count|none", re.I)


@dataclass
class Groove:
    """One groove of the MMA library."""

    file: str
    name: str
    beats: int


@dataclass
class Chord:
    """A chord symbol with its root pitch class and quality suffix."""

    symbol: str
    root: int
    suffix: str


@dataclass
class Piece:
    """A piece as MMA source with everything that the label needs."""

    source: str
    tempo: int
    tonic: int
    mode: str
    beats: int
    chords: list[Chord]
    groove: Groove


def library(root: str = MMA_LIBRARY) -> list[Groove]:
    """List the library's grooves in plain 3/4 and 4/4 time."""
    out = []
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(n for n in names if n.endswith(".mma")):
            path = os.path.join(folder, name)
            text = open(path, encoding="latin-1").read()
            key = os.path.relpath(path, root)[:-4]
            times = set(re.findall(r"(?mi)^\s*Time\s+(\d+)", text))
            signatures = {" ".join(s) for s in re.findall(r"(?mi)^\s*TimeSig\s+(\d+)[ /]+(\d+)", text)}
            if NOT_A_GROOVE.search(os.path.basename(key)) or re.search(r"68|128|12-8|54|arpegg", key):
                continue
            if times == {"3"} and signatures <= {"3 4"} and key != "stdlib/afro-cuban":
                beats = 3
            elif times == {"4"} and signatures <= {"4 4"}:
                beats = 4
            else:
                continue
            found = re.findall(r"(?mi)^\s*DefGroove\s+(\S+)", text)
            out += [Groove(key, g, beats) for g in found if not NOT_A_GROOVE.search(g)]
    return out


def split_of(groove: Groove) -> str:
    """Whole groove files are held out for the test split, one in six of those in 4/4 and one in three in 3/4."""
    return "test" if zlib.crc32(groove.file.encode()) % (6 if groove.beats == 4 else 3) == 0 else "train"


def parse_chord(numeral: str, tonic: int, mode: str) -> Chord:
    """Turn a Roman numeral such as bVII, ii7, IM7 or ii0 into a chord in the key."""
    accidental, roman, extension = re.fullmatch(r"(b?)([iv]+|[IV]+)(0|M7|7)?", numeral).groups()
    root = (tonic + DEGREES[roman.lower()] - (1 if accidental else 0)) % 12
    suffix = "" if roman.isupper() else "m"
    suffix = {"0": "m7b5", "M7": "M7", "7": suffix + "7", None: suffix}[extension]
    return Chord(ROOTS[root] + suffix, root, suffix)


def _bank(text: str) -> list[list[str]]:
    return [line.split() for line in re.split(r"[|\n]", text)]


def _random_progression(rng: random.Random, mode: str) -> list[str]:
    chords, weights = RANDOM_CHORDS[mode]
    out = [chords[0]] + rng.choices(chords, weights, k=3)
    if rng.random() < 0.5:
        out[3] = "V7" if rng.random() < 0.6 else chords[1]
    return out


def _rotations(bank: list[list[str]]) -> set[tuple[str, ...]]:
    return {tuple(p[i:] + p[:i]) for p in bank for i in range(len(p))}


def progression(rng: random.Random, mode: str, split: str) -> list[str]:
    """Draw a progression of the split: from the test bank, or from the training bank and at random."""
    test = _bank(TEST_MAJOR if mode == "major" else TEST_MINOR)
    if split == "test":
        return rng.choice(test)
    if rng.random() < 0.4:
        return rng.choice(_bank(TRAIN_MAJOR if mode == "major" else TRAIN_MINOR))
    held = _rotations(test)
    while tuple(p := _random_progression(rng, mode)) in held:
        pass
    return p


def _note_name(key: int) -> str:
    octave = (key - 60) // 12
    return NOTE_NAMES[key % 12] + ("+" * octave if octave > 0 else "-" * -octave)


RHYTHMS = {
    4: ["4 4 4 4", "4 8 8 4 4", "8 8 8 8 4 4", "2 4 4", "4 4 2", "4. 8 4 4", "4. 8 2", "8 8 4 8 8 4", "2 2"],
    3: ["4 4 4", "2 4", "4 8 8 4", "4. 8 4", "4 2", "8 8 4 4"],
}


def melody(rng: random.Random, chords: list[Chord], tonic: int, mode: str, beats: int) -> list[str]:
    """Compose one line of MMA notes per bar: a random walk on the scale that leans on chord tones; '' is a rest bar."""
    scale = [(tonic + s) % 12 for s in ((0, 2, 4, 5, 7, 9, 11) if mode == "major" else (0, 2, 3, 5, 7, 8, 10))]
    motifs = [rng.choice(RHYTHMS[beats]) for _ in range(2)]
    key, bars = rng.randint(62, 72), []
    for bar, chord in enumerate(chords):
        if rng.random() < 0.12:
            bars.append("")
            continue
        rhythm = motifs[bar % 2] if rng.random() < 0.7 else rng.choice(RHYTHMS[beats])
        tones, line = [(chord.root + t) % 12 for t in TONES[chord.suffix]], []
        for i, length in enumerate(rhythm.split()):
            pool = tones if i == 0 or rng.random() < 0.45 else scale
            key += rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3])
            while key % 12 not in pool:
                key += rng.choice([-1, 1])
            key -= 12 if key > 82 else 0
            key += 12 if key < 56 else 0
            line.append(f"{length}r" if rng.random() < 0.08 else length + _note_name(key))
        bars.append("{" + ";".join(line) + ";}")
    return bars


def _tempo(rng: random.Random, name: str) -> int:
    low, high = (52, 100) if SLOW.search(name) else (100, 200) if FAST.search(name) else (68, 172)
    return round(low * (high / low) ** rng.random())


def compose(rng: random.Random, split: str, grooves: list[Groove], seconds: float) -> Piece:
    """Compose a piece of at least `seconds`: 3/4 in 38 % of the cases, keys uniform over the 24."""
    own = [g for g in grooves if split_of(g) == split]
    beats = 3 if rng.random() < 0.38 else 4
    # There are few waltzes in the library: half of the training pieces in 3/4 are 4/4 grooves cut after three beats.
    cut = beats == 3 and split == "train" and rng.random() < 0.5
    files = sorted({g.file for g in own if g.beats == (4 if cut else beats)})
    file = rng.choice(files)
    groove = rng.choice([g for g in own if g.file == file])
    tempo, tonic, mode = _tempo(rng, groove.file), rng.randrange(12), rng.choice(["major", "minor"])
    a, b = progression(rng, mode, split), progression(rng, mode, split)
    form = a * 2 + b * 2 if rng.random() < 0.5 else a
    bars = int(seconds / (beats * 60 / tempo)) + 2
    chords = [parse_chord(form[i % len(form)], tonic, mode) for i in range(bars)]
    lines = [f"Tempo {tempo}", f"Groove {groove.name}"]
    notes = [""] * bars
    if rng.random() < 0.75:
        volume, voice = rng.choice(["mf", "f", "ff"]), rng.choice(MELODY_VOICES)
        lines += ["Begin Solo", f" Voice {voice}", " Octave 5", f" Volume {volume}", " Articulate 90", "End"]
        notes = melody(rng, chords, tonic, mode, beats)
    for i, chord in enumerate(chords):
        lines += (["Truncate 3"] if cut else []) + [f"{i + 1} {chord.symbol} {notes[i]}".strip()]
    return Piece("\n".join(lines) + "\n", tempo, tonic, mode, beats, chords, groove)


def key_name(piece: Piece) -> str:
    """Return the tonic's name as labels spell it."""
    return TONICS[piece.tonic]
