"""What happens to music on its way to a listener: equaliser, room, compression, noise, voices over it, codecs, pauses, tuning."""

from __future__ import annotations

import random
import subprocess

import numpy as np
from scipy import signal

from .synth import RATE


def _shelf(x: np.ndarray, hz: float, decibels: float, high: bool) -> np.ndarray:
    b, a = signal.butter(1, hz / (RATE / 2), "high" if high else "low")
    return x + (10 ** (decibels / 20) - 1) * signal.lfilter(b, a, x)


def equalise(x: np.ndarray, rng: random.Random) -> np.ndarray:
    """Raise or lower bass and treble; sometimes leave a telephone's or a small speaker's band."""
    if rng.random() < 0.15:
        low, high = rng.choice([(300, 3400), (200, 6000), (120, 9000), (30, 2500)])
        return signal.sosfilt(signal.butter(2, [low, high], "band", fs=RATE, output="sos"), x)
    return _shelf(_shelf(x, rng.uniform(100, 400), rng.uniform(-9, 7), False), rng.uniform(2000, 6000), rng.uniform(-10, 8), True)


def room(x: np.ndarray, gen: np.random.Generator) -> np.ndarray:
    """Add a room: decaying noise, darker as it dies."""
    decay, n = gen.uniform(0.15, 1.2), int(1.5 * RATE)
    t = np.arange(n) / RATE
    tail = gen.standard_normal(n) * np.exp(-t / (decay / 2.5))
    tail = signal.lfilter([0.4], [1, -0.6], tail)
    tail /= np.sqrt((tail**2).sum())
    return x + gen.uniform(0.15, 0.7) * signal.fftconvolve(x, tail)[: len(x)]


def compress(x: np.ndarray, amount: float) -> np.ndarray:
    """Even out loudness over 50 ms."""
    step = RATE // 20
    level = np.sqrt(np.add.reduceat(x * x, np.arange(0, len(x), step)) / step) + 1e-4
    gain = (level / level.max()) ** -amount
    return x * np.interp(np.arange(len(x)), np.arange(len(gain)) * step, np.minimum(gain, 20))


def codec(x: np.ndarray, kbit: int) -> np.ndarray:
    """Return what is left after MP3."""
    pcm = (np.clip(x, -1, 1) * 32767).astype("<i2").tobytes()
    raw = ["-f", "s16le", "-ar", str(RATE), "-ac", "1"]
    quiet = ["ffmpeg", "-v", "error"]
    coded = subprocess.run([*quiet, *raw, "-i", "-", "-b:a", f"{kbit}k", "-f", "mp3", "-"], input=pcm, capture_output=True, check=True).stdout
    back = subprocess.run([*quiet, "-f", "mp3", "-i", "-", *raw, "-"], input=coded, capture_output=True, check=True).stdout
    y = np.frombuffer(back, "<i2").astype(np.float64) / 32768
    return np.pad(y, (0, max(0, len(x) - len(y))))[: len(x)]


def retune(x: np.ndarray, cents: float) -> np.ndarray:
    """Play faster or slower, so that pitch moves by cents and tempo by the same factor."""
    factor = 2 ** (cents / 1200)
    return np.interp(np.arange(int(len(x) / factor)) * factor, np.arange(len(x)), x)


def pause(x: np.ndarray, rng: random.Random) -> np.ndarray:
    """Silence a stretch, or fade in or out."""
    kind, n = rng.choice(["begin", "middle", "end", "fade in", "fade out"]), len(x)
    ramp, y = np.ones(n), int(rng.uniform(0.05, 0.4) * n)
    if kind == "begin":
        ramp[:y] = 0
    elif kind == "end":
        ramp[n - y :] = 0
    elif kind == "middle":
        first = rng.randrange(n - y)
        ramp[first : first + y // 3] = 0
    else:
        ramp[:y] = np.linspace(0, 1, y)
        ramp = ramp[::-1] if kind == "fade out" else ramp
    return x * ramp


def process(x: np.ndarray, rng: random.Random, gen: np.random.Generator, voice: np.ndarray | None) -> np.ndarray:
    """Send peak-normalised samples through a random chain; `voice` speaks over the music where given."""
    if rng.random() < 0.45:
        x = equalise(x, rng)
    if rng.random() < 0.3:
        x = room(x, gen)
    if rng.random() < 0.25:
        x = compress(x, rng.uniform(0.2, 0.7))
    x = x / (np.abs(x).max() + 1e-9)
    if rng.random() < 0.1:
        x = np.tanh(rng.uniform(1.5, 5) * x)
    power = np.sqrt((x * x).mean())
    if voice is not None:
        said = np.resize(voice, len(x))
        x = x + said / (np.sqrt((said * said).mean()) + 1e-9) * power * rng.uniform(0.2, 0.9)
    if rng.random() < 0.25:
        noise = gen.standard_normal(len(x))
        if rng.random() < 0.5:
            noise = signal.lfilter([0.1], [1, -0.9], noise)
        x = x + noise / np.sqrt((noise * noise).mean()) * power * 10 ** (-rng.uniform(12, 45) / 20)
    if rng.random() < 0.08:
        x = pause(x, rng)
    x = x / (np.abs(x).max() + 1e-9) * rng.uniform(0.5, 0.95)
    return codec(x, rng.choice([48, 64, 96])) if rng.random() < 0.08 else x
