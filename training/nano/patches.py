"""Instruments of Gravis patch files (.pat), as `recordings` fetched them: recordings with loops and envelopes."""

from __future__ import annotations

import functools
import glob
import os
import struct

import numpy as np

from .labels import FAMILIES, family
from .synth import FETCHED
from .wavetable import RATE

HEADER = 239  # bytes before the first sample: file, instrument and layer
SAMPLE = struct.Struct("<7xBIIIHIIIHB6s6s6xBhH36x")
SIXTEEN_BITS, UNSIGNED, LOOPED, BACK_AND_FORTH, BACKWARDS = 1, 2, 4, 8, 16
FULL_SCALE = 1 << 30  # of an envelope's level
DEPTH = 6  # octaves of loudness that an envelope spans
RELEASE = 0.15
HALVES = {"piano": 1.2, "mallets": 1.0, "guitar": 1.2, "bass": 1.0}  # seconds in which a looped note of a struck or plucked instrument falls by half


class Sample:
    """One recording: float samples at `rate`, sounding at `root` Hz; played as `begin`..`end` again and again where it is looped."""

    def __init__(self, head: tuple, data: bytes):
        fractions, _, begin, end, self.rate, low, high, root, _, _, rates, offsets, modes, _, _ = head
        if modes & SIXTEEN_BITS:
            x = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if modes & UNSIGNED else "<i2").astype(np.float64)
            begin, end, middle = begin / 2, end / 2, 32768
        else:
            x, middle = np.frombuffer(data, "u1" if modes & UNSIGNED else "i1").astype(np.float64), 128
        x = x - middle if modes & UNSIGNED else x
        if modes & BACKWARDS:
            x, begin, end = x[::-1], len(x) - end, len(x) - begin
        begin, end = begin + (fractions & 15) / 16, end + (fractions >> 4) / 16
        if modes & BACK_AND_FORTH and end <= len(x):
            turned = x[int(begin) : int(end)][::-1]
            x, end = np.concatenate([x[: int(end)], turned]), int(end) + len(turned)
        self.x, self.begin, self.end = x, begin, min(end, len(x) - 1)
        self.loops = bool(modes & LOOPED) and self.end > self.begin + 1
        self.low, self.high, self.root = low / 1000, high / 1000, root / 1000
        self.envelope = list(zip(rates, offsets, strict=True))[:3]

    def level(self, t: np.ndarray) -> np.ndarray:
        """Return the envelope while the key is held, 0 to 1."""
        times, levels, now = [0.0], [0.0], 0.0
        for rate, offset in self.envelope:
            goal = offset * (1 << 22) / FULL_SCALE
            speed = 44100 * ((rate & 63) << (3 * (3 - (rate >> 6)))) * 512 / FULL_SCALE
            now += abs(goal - levels[-1]) / max(speed, 1e-3)
            times.append(now + 1e-6 * len(times))
            levels.append(goal)
        return 2 ** (DEPTH * (np.interp(t, times, levels) - 1))


@functools.lru_cache(maxsize=24)
def samples(path: str) -> list[Sample]:
    """Read a patch file."""
    with open(path, "rb") as f:
        raw = f.read()
    if not raw.startswith(b"GF1PATCH"):
        raise ValueError(f"{path} is no patch file")
    at, out = HEADER, []
    for _ in range(raw[198]):
        head = SAMPLE.unpack_from(raw, at)
        at += SAMPLE.size
        out.append(Sample(head, raw[at : at + head[1]]))
        at += head[1]
    return out


@functools.cache
def instruments() -> dict[str, list[str]]:
    """Return the patch files of each family."""
    out = {f: [] for f in FAMILIES}
    for program, path in numbered("Tone_000").items():
        if name := family(program):
            out[name].append(path)
    return out


@functools.cache
def numbered(folder: str) -> dict[int, str]:
    """Return the patch files of a folder by the number that their name begins with: a General MIDI program, or a key of its percussion."""
    found = {int(os.path.basename(path)[:3]): path for path in sorted(glob.glob(os.path.join(FETCHED, "freepats", folder, "*.pat")))}
    if not found:
        raise FileNotFoundError(f"no patch files in {FETCHED}/freepats/{folder}: run ./train.sh deps")
    return found


class Kit:
    """Percussion; `sound` is what wavetable.Voice has."""

    def __init__(self, gen: np.random.Generator):
        self.speed = gen.uniform(0.85, 1.2)

    def sound(self, key: int, seconds: float, velocity: int) -> np.ndarray:
        """Return one stroke, however long it is held."""
        keys = numbered("Drum_000")
        s = samples(keys[min(keys, key=lambda k: abs(k - key))])[0]
        y = np.interp(np.arange(0, len(s.x) - 1, s.rate * self.speed / RATE), np.arange(len(s.x)), s.x)
        return y / (np.abs(y).max() + 1e-9) * (velocity / 100) ** 1.5


class Voice:
    """One instrument of a family; `sound` is what wavetable.Voice has."""

    def __init__(self, name: str, gen: np.random.Generator):
        self.samples = samples(str(gen.choice(instruments()[name])))
        self.half = HALVES.get(name, np.inf) * gen.uniform(0.6, 1.6)

    def sound(self, key: int, seconds: float, velocity: int) -> np.ndarray:
        """Return one note."""
        hz = 440 * 2 ** ((key - 69) / 12)
        s = min(self.samples, key=lambda s: (not s.low <= hz <= s.high, abs(np.log(hz / s.root))))
        t = np.arange(int((seconds + RELEASE) * RATE)) / RATE
        at = t * s.rate * hz / s.root
        if s.loops:
            at = np.where(at < s.end, at, s.begin + (at - s.begin) % (s.end - s.begin))
        y = np.interp(at, np.arange(len(s.x)), s.x, right=0)
        loud = np.sqrt((s.x[: int(s.rate) // 2] ** 2).mean()) + 1e-9
        level = s.level(t) * 2 ** (-t / self.half if s.loops else 0)
        return 0.5 * y / loud * level * np.clip((seconds + RELEASE - t) / RELEASE, 0, 1) * (velocity / 100) ** 1.5
