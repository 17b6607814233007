"""Notes of real instruments, as `recordings` fetched them, played at other pitches by resampling."""

from __future__ import annotations

import functools
import glob
import os
import re
import subprocess

import numpy as np

from .synth import FETCHED
from .wavetable import RATE

INSTRUMENTS = {
    "piano": ["piano"], "mallets": ["xylophone"], "organ": ["organ", "harmonium"], "guitar": ["guitar-acoustic", "guitar-electric", "guitar-nylon"],
    "bass": ["bass-electric"], "strings": ["violin", "cello", "contrabass", "harp"], "brass": ["trumpet", "trombone", "tuba", "french-horn"],
    "reeds": ["bassoon", "clarinet", "saxophone"], "flutes": ["flute"],
}  # fmt: skip
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
NAME = re.compile(r"^([A-G])(s?)(\d)\.mp3$")
LONGEST = 6  # seconds of a recording that are kept
RELEASE = 0.12
FARTHEST = 9  # semitones by which a recording is moved; farther notes sound in another octave


@functools.lru_cache(maxsize=24)
def notes(instrument: str) -> dict[int, np.ndarray]:
    """Return the recordings of an instrument by MIDI key: float samples at 22,050 Hz, from the attack on, all about equally loud."""
    out = {}
    for path in sorted(glob.glob(os.path.join(FETCHED, "recorded", instrument, "*.mp3"))):
        named = NAME.match(os.path.basename(path))
        if not named:
            continue
        key = 12 * (int(named[3]) + 1) + STEPS[named[1]] + (named[2] == "s")
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", path, "-ac", "1", "-ar", str(RATE), "-t", str(LONGEST + 1), "-f", "f32le", "-"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        x = np.frombuffer(raw, "<f4").astype(np.float64)
        if not len(x) or not x.any():
            continue
        begin = int(np.argmax(np.abs(x) > 0.05 * np.abs(x).max()))
        x = x[max(0, begin - RATE // 200) :][: LONGEST * RATE]
        out[key] = x / np.sqrt((x[: RATE // 2] ** 2).mean())
    if not out:
        raise FileNotFoundError(f"no recordings of {instrument} in {FETCHED}: run ./train.sh deps")
    return out


class Voice:
    """One instrument of a family; `sound` is what wavetable.Voice has."""

    def __init__(self, family: str, gen: np.random.Generator):
        self.notes = notes(str(gen.choice(INSTRUMENTS[family])))
        self.attack = gen.uniform(0.002, 0.01)

    def sound(self, key: int, seconds: float, velocity: int) -> np.ndarray:
        """Return one note; it is not longer than its recording."""
        while key > max(self.notes) + FARTHEST:
            key -= 12
        while key < min(self.notes) - FARTHEST:
            key += 12
        nearest = min(self.notes, key=lambda k: abs(k - key))
        x, factor = self.notes[nearest], 2 ** ((key - nearest) / 12)
        n = int(min(seconds + RELEASE, len(x) / factor / RATE - 0.01) * RATE)
        y = np.interp(np.arange(n) * factor, np.arange(len(x)), x)
        t = np.arange(n) / RATE
        return 0.5 * y * np.minimum(1, t / self.attack) * np.clip((n / RATE - t) / RELEASE, 0, 1) * (velocity / 100) ** 1.5
