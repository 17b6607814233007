"""A second way to sound: wavetables, plucked decays, formants and noise drums in numpy, drawn anew for every piece.

It shares no samples with the soundfonts, so that families are learnt by how they sound and not by a font's recordings.
"""

from __future__ import annotations

import numpy as np

RATE = 22050
TABLE = 1024
HARMONICS = np.arange(1, 41)
VOWELS = [(730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240), (530, 1840, 2480)]


class Voice:
    """A random timbre of a family: partials at the attack and later, envelope and vibrato."""

    def __init__(self, family: str, gen: np.random.Generator):
        self.family, self.gen = family, gen
        u = gen.uniform
        n = HARMONICS
        self.attack, self.decay, self.release = 0.004, 0.0, 0.06  # decay 0: sustained
        self.vibrato, self.detune, self.noise, self.formants, self.drive = 0.0, [0.0], 0.0, None, 0.0
        early, late = n ** -u(1.0, 1.6), n ** -u(1.6, 2.4)
        if family == "piano":
            early, late, self.decay, self.noise = n ** -u(1.1, 1.6), n ** -u(2.0, 2.8), u(0.6, 1.6), 0.02
        elif family == "mallets":
            early, late = np.zeros(40), np.zeros(40)
            for k, level in zip((1, u(3, 5), u(9, 12)), (1, u(0.2, 0.6), u(0.02, 0.3)), strict=True):
                early[int(k) - 1] = level
            late[0], self.decay, self.noise = 1, u(0.15, 0.8), 0.05
        elif family == "organ":
            early = np.zeros(40)
            for k in (1, 2, 3, 4, 6, 8):
                early[k - 1] = u(0, 1)
            early[0] += 0.4
            late, self.attack, self.release = early, u(0.005, 0.03), 0.03
        elif family == "guitar":
            early = np.abs(np.sin(np.pi * n * u(0.1, 0.35))) * n ** -u(0.9, 1.4)
            late, self.decay = early * n ** -u(0.4, 0.9), u(0.4, 1.1)
            self.drive = u(2, 6) if u(0, 1) < 0.3 else 0.0
        elif family == "bass":
            early, late, self.decay = n ** -u(1.2, 2.0), n ** -u(2.0, 3.0), u(0.4, 1.2)
        elif family == "strings":
            early = late = n ** -u(0.9, 1.3) * (1 + 0.5 * np.cos(n * u(0.5, 2)))
            self.attack, self.release, self.vibrato = u(0.05, 0.18), 0.15, u(0.002, 0.006)
            self.detune = [0.0] if u(0, 1) < 0.4 else [-0.003, 0.0, 0.004]
        elif family == "choir":
            self.formants, self.attack, self.release, self.vibrato = VOWELS[int(gen.integers(5))], u(0.06, 0.2), 0.2, u(0.004, 0.01)
            self.detune = [0.0] if u(0, 1) < 0.3 else [-0.004, 0.001, 0.005]
            self.noise = u(0, 0.03)
        elif family == "brass":
            early, late, self.attack, self.release = n ** -u(1.8, 2.6), n ** -u(0.6, 1.1) * np.exp(-n / u(8, 20)), u(0.02, 0.06), 0.07
        elif family == "reeds":
            odd = np.where(n % 2 == 1, 1.0, u(0.02, 0.6))
            early = late = odd * n ** -u(0.7, 1.3)
            self.formants = (u(700, 1400), u(1500, 3200), 3500) if u(0, 1) < 0.5 else None
            self.attack, self.vibrato, self.noise = u(0.02, 0.06), u(0, 0.004), u(0, 0.03)
        elif family == "flutes":
            early = late = np.where(n == 1, 1.0, n ** -u(2.2, 3.5))
            self.attack, self.vibrato, self.noise = u(0.03, 0.09), u(0.001, 0.005), u(0.03, 0.12)
        elif family == "synth":
            shape = int(gen.integers(3))
            early = [1.0 / n, np.where(n % 2 == 1, 1.0 / n, 0), np.abs(np.sin(np.pi * n * u(0.1, 0.5))) / n][shape]
            late = early * (np.exp(-n / u(3, 30)))
            self.attack, self.detune = gen.choice([0.003, 0.1]), [-0.006, 0.006] if u(0, 1) < 0.6 else [0.0]
        elif family == "folk":
            if u(0, 1) < 0.5:  # plucked: banjo, koto, sitar
                early, late, self.decay = np.abs(np.sin(np.pi * n * u(0.03, 0.12))) * n ** -0.7, n ** -1.2, u(0.15, 0.7)
            else:  # pipe or fiddle
                early = late = n ** -u(0.3, 0.8) * (1 + np.cos(n * u(1, 3)))
                self.attack, self.vibrato = 0.02, u(0, 0.005)
        self.early, self.late = early, late

    def _table(self, partials: np.ndarray, hz: float) -> np.ndarray:
        level = partials.copy()
        if self.formants is not None:
            f = HARMONICS * hz
            level = (0.3 if self.family == "choir" else 0.5) * level + sum(np.exp(-0.5 * ((f - c) / (90 + 0.08 * c)) ** 2) * level[0] for c in self.formants) * HARMONICS**-0.3
        level[HARMONICS * hz > RATE * 0.45] = 0
        spectrum = np.zeros(TABLE // 2 + 1, complex)
        spectrum[HARMONICS] = level * np.exp(2j * np.pi * self.gen.random(len(HARMONICS)))
        x = np.fft.irfft(spectrum, TABLE)
        return x / (np.sqrt((x * x).mean()) + 1e-9)

    def sound(self, key: int, seconds: float, velocity: int) -> np.ndarray:
        """Return one note."""
        hz, total = 440 * 2 ** ((key - 69) / 12), seconds + self.release
        n = int(total * RATE)
        t = np.arange(n) / RATE
        first, second = self._table(self.early, hz), self._table(self.late, hz)
        shift = np.exp(-t / (0.25 * (self.decay or 0.3)))
        out = np.zeros(n)
        for d in self.detune:
            wobble = self.vibrato * np.minimum(1, t / 0.3) * np.sin(2 * np.pi * 5.5 * t + d * 900)
            phase = np.cumsum(hz * (1 + d + wobble)) / RATE
            at = (phase % 1 * TABLE).astype(np.int64)
            out += shift * first[at] + (1 - shift) * second[at]
        if self.noise:
            out += self.noise * 6 * self.gen.standard_normal(n) * (np.exp(-t / 0.02) if self.decay else 1)
        if self.decay:
            out *= np.exp(-t / (self.decay * min(2.0, (440 / hz) ** 0.5)))
        if self.drive:
            out = np.tanh(self.drive * out) * 0.8
        out *= np.minimum(1, t / self.attack) * np.clip((total - t) / self.release, 0, 1)
        return out * (velocity / 100) ** 1.5 / len(self.detune) ** 0.5


def drum(key: int, gen: np.random.Generator, tone: float) -> np.ndarray:
    """Return one stroke of General MIDI percussion."""
    t = np.arange(int(0.35 * RATE)) / RATE
    noise = gen.standard_normal(len(t))
    bright = np.diff(noise, prepend=0.0)
    if key in (35, 36, 41, 64):
        return 2.2 * np.sin(2 * np.pi * (50 * tone * t + 3.5 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.12)
    if key in (45, 47, 48, 62):
        return 1.5 * np.sin(2 * np.pi * (110 * tone * t + 3 * (1 - np.exp(-t / 0.03)))) * np.exp(-t / 0.13)
    if key in (37, 38, 39, 40):
        return (noise * np.exp(-t / 0.07) + 0.5 * np.sin(2 * np.pi * 190 * tone * t) * np.exp(-t / 0.05)) * 0.9
    return bright * np.exp(-t / (0.4 if key in (49, 51) else 0.03)) * 0.5


class Kit:
    """Drums of noise and sines; `sound` is what Voice has."""

    def __init__(self, gen: np.random.Generator):
        self.gen, self.tone = gen, gen.uniform(0.8, 1.3)

    def sound(self, key: int, seconds: float, velocity: int) -> np.ndarray:
        """Return one stroke, however long it is held."""
        return drum(key, self.gen, self.tone) * (velocity / 100) ** 1.5


def render(parts: list, quarter: float, seconds: float, gen: np.random.Generator, jitter: float, voices=Voice, kit=Kit) -> np.ndarray:
    """Return float samples at 22,050 Hz of parts of `arrange`, a quarter lasting `quarter` seconds. `voices` makes the voice of a family, `kit` drums."""
    out = np.zeros(int((seconds + 3) * RATE))
    for part in parts:
        gain, cache = gen.uniform(0.5, 1.2), {}
        voice = kit(gen) if part.family == "drums" else voices(part.family, gen)
        for x in part.notes:
            at = x.at * quarter + gen.normal(0, jitter)
            if at >= seconds or at < -0.05:
                continue
            length = round(min(8.0, max(0.08, x.length * quarter)), 2)
            name = (x.key, length, x.velocity)
            if name not in cache:
                cache[name] = voice.sound(*name)
            first, y = max(0, int(at * RATE)), cache[name]
            y = y[: len(out) - first]
            out[first : first + len(y)] += gain * y
    return out[: int(seconds * RATE)]
