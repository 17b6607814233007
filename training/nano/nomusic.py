"""Clips that are not music: silence, noise, weather, applause, tones, signals and speech."""

from __future__ import annotations

import io
import random
import subprocess
import wave

import numpy as np
from scipy import signal

from .synth import RATE

# What a listener would call each kind; the encoder tells these apart and the answer names them.
KINDS = {
    "silence": "silence", "white": "noise", "brown": "noise", "hum": "tone", "clicks": "noise", "wind": "noise", "rain": "noise",
    "applause": "noise", "engine": "noise", "sine": "tone", "sweep": "tone", "beeps": "tone", "speech": "speech", "crowd": "speech",
}  # fmt: skip
WORDS = """the of and to a in that it is was for on are as with his they at be this from I have or by one had not but what all were when we there can
an your which their said if do will each about how up out them then she many some so these would other into has more her two like him see time could no make
than first been its who now people my made over did down only way find use may water long little very after words called just where most know weather minutes
train station doctor question window morning report city government river because different number important children country house letter table"""
LANGUAGES = ["en", "en-us", "de", "fr", "es", "it", "en-gb-scotland", "pt", "nl", "pl"]


def speak(rng: random.Random, seconds: float) -> np.ndarray:
    """Return speech by espeak-ng, at least `seconds` of it by repetition."""
    said = ". ".join(" ".join(rng.choices(WORDS.split(), k=rng.randint(4, 11))) for _ in range(max(2, int(seconds / 3))))
    voice = rng.choice(LANGUAGES) + rng.choice(["", "+f2", "+f3", "+m1", "+m3", "+m7", "+f4"])
    command = ["espeak-ng", "-v", voice, "-s", str(rng.randint(120, 210)), "-p", str(rng.randint(20, 80)), "--stdout", said]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(raw)) as f:
        x, rate = np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float64), f.getframerate()
    x = np.interp(np.arange(0, len(x), rate / RATE), np.arange(len(x)), x)
    return np.resize(x, round(seconds * RATE)) / (np.abs(x).max() + 1e-9)


def _wander(gen: np.random.Generator, n: int, every: float) -> np.ndarray:
    """Return a smooth random curve between 0 and 1."""
    knots = gen.random(int(n / RATE / every) + 3)
    return np.interp(np.arange(n) / RATE / every, np.arange(len(knots)), knots)


def _band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return signal.sosfilt(signal.butter(2, [low, high], "band", fs=RATE, output="sos"), x)


def sound(kind: str, rng: random.Random, gen: np.random.Generator, n: int) -> np.ndarray:
    """Return n samples of a kind."""
    t, white = np.arange(n) / RATE, gen.standard_normal(n)
    if kind == "white":
        return white if rng.random() < 0.5 else _band(white, rng.uniform(50, 1000), rng.uniform(2000, 15000))
    if kind == "brown":
        return signal.lfilter([1], [1, -0.99], white)
    if kind == "wind":
        return _band(white, 60, 350) * (0.2 + _wander(gen, n, 1.5)) + 0.5 * _band(white, 350, rng.uniform(600, 1600)) * _wander(gen, n, 0.8) ** 2
    if kind == "engine":
        f = rng.uniform(20, 90) * (1 + 0.1 * _wander(gen, n, 2))
        return signal.sawtooth(2 * np.pi * np.cumsum(f) / RATE) * 0.5 + _band(white, 80, 1500) * rng.uniform(0.3, 1.5)
    if kind in ("rain", "applause", "clicks"):
        rate = {"rain": rng.uniform(200, 2000), "applause": rng.uniform(40, 400), "clicks": rng.uniform(0.1, 3)}[kind]
        x = np.zeros(n)
        hits = gen.integers(0, n, max(1, int(rate * n / RATE)))
        np.add.at(x, hits, gen.exponential(1, len(hits)))
        decay = {"rain": 0.002, "applause": 0.015, "clicks": 0.004}[kind]
        tail = gen.standard_normal(int(decay * 6 * RATE)) * np.exp(-np.arange(int(decay * 6 * RATE)) / RATE / decay)
        return signal.fftconvolve(x, tail)[:n] + (0.02 * white if kind != "clicks" else 0.002 * white)
    if kind == "hum":
        f = rng.choice([50, 60])
        return sum(np.sin(2 * np.pi * f * k * t) / k ** rng.uniform(0.5, 2) for k in (1, 2, 3, 5)) + rng.choice([0.01, 0.1]) * white
    f = 440 * 2 ** rng.uniform(-3, 3)
    if kind == "sine":
        x = np.sin(2 * np.pi * f * t) + rng.choice([0, 0.3]) * np.sin(4 * np.pi * f * t)
        return x * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0, 6) * t)) + rng.choice([0, 0.01]) * white
    if kind == "sweep":
        return np.sin(2 * np.pi * np.cumsum(f * 2 ** (rng.uniform(-2, 2) * (t % rng.uniform(2, 25)) / 10)) / RATE)
    if kind == "beeps":
        every, long = rng.uniform(0.4, 4), rng.uniform(0.1, 0.6)
        return np.sin(2 * np.pi * f * t) * (t % every < every * long) + 0.005 * white
    return np.zeros(n)


def make(rng: random.Random, longest: float) -> tuple[np.ndarray, dict]:
    """Make a clip of 3 s to `longest` with its label."""
    kind = rng.choices(list(KINDS), [1 if k != "speech" else 5 for k in KINDS])[0]
    n = int(rng.uniform(3, longest) * RATE)
    gen = np.random.default_rng(rng.randrange(2**32))
    if kind == "speech":
        x = speak(rng, n / RATE)
    elif kind == "crowd":
        x = sum(np.roll(speak(rng, n / RATE), int(gen.integers(n))) for _ in range(4))
    else:
        x = sound(kind, rng, gen, n)
    if kind in ("speech", "crowd") and rng.random() < 0.5:
        x = x + 10 ** rng.uniform(-3, -1) * gen.standard_normal(n)
    peak = np.abs(x).max()
    pcm = np.zeros(n) if peak == 0 else x / peak * rng.uniform(0.02, 0.9) * 32767
    return pcm.astype(np.int16), {"music": False, "noise": kind, "sound": KINDS[kind]}
