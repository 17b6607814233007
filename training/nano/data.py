"""Clips in memory, their labels as arrays, and augmented batches."""

from __future__ import annotations

import glob
import json
import os
from dataclasses import dataclass

import numpy as np

from .labels import FAMILIES, METRES, MODES, SOUNDS, TEMPO_MAX, TEMPO_MIN, TONICS

FRAMES, SEMITONES, MEL, MEL_BANDS = 269, 84, 80, 40
LAGS, GROUPS, PER_TEMPOGRAM, LAGS_PER_OCTAVE = 104, 4, 16, 24
PULSE_LAGS, PULSE_COLS, SHORTEST_LAG = 136, 8, 0.2
KEY_COLS = 56  # what engine/mir hears of the keys on a tonic
FRAME_RATE = 44100 / 2 / 2048
PER_CHORD = 4  # frames per harmony step
FIRST_PITCH_CLASS = 6  # the semitone bank starts at F#
NO_CHORD = -1
SUFFIX_QUALITY = {"": 0, "M7": 0, "7": 0, "m": 1, "m7": 1, "m7b5": 2}
COMPRESSION = 1000.0
DEAF = 0.1  # share of augmented windows without what engine/mir hears
SHORTER = 0.15  # share of augmented windows that lose the long lags of their pulse


@dataclass
class Batch:
    """Inputs and targets of a batch. Pitch classes count from F#; -1 marks targets that do not apply."""

    semitones: np.ndarray  # [B, T, 84]
    mel: np.ndarray  # [B, T, 80]
    tempograms: np.ndarray  # [B, T/16, 104, 4]
    pulse: np.ndarray  # [B, 136, 8]
    keys: np.ndarray  # [B, 12, 56]
    beats: np.ndarray  # [B, 136]
    tempo: np.ndarray  # [B] beats a minute, 0 where there is no music
    key: np.ndarray  # [B] 2 * pitch class + mode
    metre: np.ndarray  # [B] place in METRES
    drums: np.ndarray  # [B] 0 or 1
    families: np.ndarray  # [B, 12] 0 or 1
    music: np.ndarray  # [B] 0 or 1
    whole: np.ndarray  # [B] 1 where everything about the music is labelled; of recordings only tempo (0 if not) and key (-1 if not) are
    sound: np.ndarray  # [B] place in SOUNDS
    chords: np.ndarray  # [B, T/4] 3 * pitch class + quality
    active: np.ndarray  # [B, T/4, 12] the families that sound in each harmony step


def key_index(tonic: int, mode: int) -> int:
    """Return the class of a key: tonic counts from C, mode is 0 for major."""
    return 2 * ((tonic - FIRST_PITCH_CLASS) % 12) + mode


def key_of(index: int) -> tuple[int, int]:
    """Return (tonic from C, mode) of a key class."""
    return (index // 2 + FIRST_PITCH_CLASS) % 12, index % 2


def chord_steps(chords: list[list]) -> np.ndarray:
    """Return the chord class at each harmony step of a 25 s clip."""
    steps = np.full(-(-FRAMES // PER_CHORD), NO_CHORD, np.int32)
    centre = (np.arange(len(steps)) + 0.5) * PER_CHORD / FRAME_RATE
    for start, end, root, suffix in chords:
        steps[(centre >= start) & (centre < end)] = 3 * ((root - FIRST_PITCH_CLASS) % 12) + SUFFIX_QUALITY[suffix]
    return steps


def active_steps(label: dict) -> np.ndarray:
    """Return the families that sound at each harmony step, [68, 12]."""
    bits = np.array(label.get("steps", [0] * -(-FRAMES // PER_CHORD)), np.int64)
    return (bits[:, None] >> np.arange(len(FAMILIES)) & 1).astype(np.float32)


def _fill(x: np.ndarray, rows: int) -> np.ndarray:
    return x if len(x) >= rows else np.concatenate([x] * (rows // len(x) + 1))[:rows]


class Clips:
    """All clips of some folders, as f16. Clips shorter than 25 s (noise only) are repeated to that length."""

    def __init__(self, *folders: str):
        self.folders = folders
        self._seen: set[str] = set()
        self.semitones: list[np.ndarray] = []
        self.mel: list[np.ndarray] = []
        self.tempograms: list[np.ndarray] = []
        self.pulse: list[np.ndarray] = []
        self.keys: list[np.ndarray] = []
        self.beats: list[np.ndarray] = []
        self.labels: list[dict] = []
        self.chords: list[np.ndarray] = []
        self.active: list[np.ndarray] = []
        self.refresh()

    def __len__(self) -> int:
        return len(self.labels)

    def refresh(self) -> None:
        """Read the clips that arrived since the last call."""
        for folder in self.folders:
            for last in sorted(glob.glob(os.path.join(folder, "*.tempogram.npy"))):
                if last not in self._seen:
                    self._seen.add(last)
                    self._read(last[: -len(".tempogram.npy")])

    def _read(self, base: str) -> None:
        with open(base + ".json", encoding="ascii") as f:
            label = json.load(f)
        self.labels.append(label)
        self.chords.append(chord_steps(label.get("chords", [])))
        self.active.append(active_steps(label))
        tempograms = -(-FRAMES // PER_TEMPOGRAM)
        self.semitones.append(_fill(np.load(base + ".semitones.npy"), FRAMES).astype(np.float16))
        self.mel.append(_fill(np.load(base + ".mel.npy"), FRAMES).astype(np.float16))
        self.pulse.append(np.load(base + ".pulse.npy").astype(np.float16))
        self.keys.append(np.load(base + ".keys.npy").astype(np.float16))
        self.beats.append(np.load(base + ".beats.npy").astype(np.float16))
        self.tempograms.append(_fill(np.load(base + ".tempogram.npy"), tempograms).astype(np.float16))


def _centres() -> tuple[np.ndarray, np.ndarray]:
    semitone = np.log2(46.249 * 2 ** (np.arange(SEMITONES) / 12))
    low, high = (2595 * np.log10(1 + f / 700) for f in (30.0, 10500.0))
    mel = low + (high - low) / (MEL_BANDS + 1) * np.arange(1, MEL_BANDS + 1)
    return semitone, np.log2(700 * (10 ** (mel / 2595) - 1))


SEMITONE_OCTAVE, MEL_OCTAVE = _centres()
EQ_KNOTS = np.linspace(5.0, 13.5, 6)


def equalise(semitones: np.ndarray, mel: np.ndarray, rng: np.random.Generator) -> None:
    """Apply a random smooth equaliser and a noise floor, in place, in the compressed domain."""
    decibels = rng.normal(0, 4, len(EQ_KNOTS))
    floor = 10 ** rng.uniform(-4.5, -2.7) if rng.random() < 0.4 else 0.0
    for x, octave in ((semitones, SEMITONE_OCTAVE), (mel[:, :MEL_BANDS], MEL_OCTAVE)):
        gain = 10 ** (np.interp(octave, EQ_KNOTS, decibels) / 20)
        x[:] = np.log1p(np.expm1(x) * gain + floor * COMPRESSION * rng.uniform(0.7, 1.3, x.shape).astype(np.float32))
    mel[:, MEL_BANDS:] *= rng.uniform(0.6, 1.15)


def shift_pitch(semitones: np.ndarray, steps: int) -> np.ndarray:
    """Move the spectrogram up by `steps` semitones."""
    out = np.zeros_like(semitones)
    if steps > 0:
        out[:, steps:] = semitones[:, :-steps]
    elif steps < 0:
        out[:, :steps] = semitones[:, -steps:]
    else:
        out[:] = semitones
    return out


def stretch_lags(x: np.ndarray, factor: float) -> np.ndarray:
    """Return tempograms or a pulse [..., lags, columns] of the same music at `factor` times its tempo: a shift on the log-lag axis."""
    lags = x.shape[-2]
    at = np.clip(np.arange(lags) + LAGS_PER_OCTAVE * np.log2(factor), 0, lags - 1.001)
    low = at.astype(int)
    part = (at - low).astype(np.float32)[:, None]
    return x[..., low, :] * (1 - part) + x[..., low + 1, :] * part


def make_batch(clips: Clips, which: np.ndarray, frames: int, rng: np.random.Generator | None) -> Batch:
    """Cut `frames` frames (a multiple of 16, or all 269) of each clip; augmented if rng is given."""
    n, grams, steps = len(which), -(-frames // PER_TEMPOGRAM), -(-frames // PER_CHORD)
    b = Batch(
        np.zeros((n, frames, SEMITONES), np.float32), np.zeros((n, frames, MEL), np.float32),
        np.zeros((n, grams, LAGS, GROUPS), np.float32), np.zeros((n, PULSE_LAGS, PULSE_COLS), np.float32), np.zeros((n, 12, KEY_COLS), np.float32), np.zeros((n, PULSE_LAGS), np.float32), np.zeros(n, np.float32), np.full(n, -1, np.int32),
        np.full(n, -1, np.int32), np.zeros(n, np.float32), np.zeros((n, len(FAMILIES)), np.float32),
        np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.int32), np.full((n, steps), NO_CHORD, np.int32), np.zeros((n, steps, len(FAMILIES)), np.float32),
    )  # fmt: skip
    for row, i in enumerate(which):
        _fill_row(b, row, clips, int(i), frames, rng)
    return b


def _fill_row(b: Batch, row: int, clips: Clips, i: int, frames: int, rng: np.random.Generator | None) -> None:
    label, first = clips.labels[i], 0
    if rng is not None:
        first = PER_TEMPOGRAM * int(rng.integers(0, (FRAMES - frames) // PER_TEMPOGRAM + 1))
    semitones = clips.semitones[i][first : first + frames].astype(np.float32)
    mel = clips.mel[i][first : first + frames].astype(np.float32)
    gram = first // PER_TEMPOGRAM
    tempograms = clips.tempograms[i][gram : gram + b.tempograms.shape[1]].astype(np.float32)
    chords = clips.chords[i][first // PER_CHORD : first // PER_CHORD + b.chords.shape[1]]
    pulse, keys, beats = (x[i].astype(np.float32) for x in (clips.pulse, clips.keys, clips.beats))
    shift, factor = 0, 1.0
    if rng is not None and label.get("music", True):
        shift = int(rng.integers(-5, 7))
        semitones, keys = shift_pitch(semitones, shift), np.roll(keys, shift, 0)
        equalise(semitones, mel, rng)
        if rng.random() < 0.8 and "tempo_bpm" in label:
            tempo = label["tempo_bpm"]
            factor = float(np.clip(np.exp(rng.uniform(-0.25, 0.25)), 46 / tempo, 214 / tempo))
            tempograms, pulse = stretch_lags(tempograms, factor), stretch_lags(pulse, factor)
            beats = stretch_lags(beats[:, None], factor)[:, 0]
        tempograms = tempograms + rng.normal(0, 0.02, tempograms.shape).astype(np.float32)
        pulse = pulse + rng.normal(0, 0.02, pulse.shape).astype(np.float32)
        if rng.random() < DEAF:  # the branches must go on seeing for themselves
            keys, beats = np.zeros_like(keys), np.zeros_like(beats)
        if rng.random() < SHORTER:  # a short window has no long lags
            pulse[int(rng.integers(PULSE_LAGS // 2, PULSE_LAGS)) :] = 0
    b.semitones[row], b.mel[row], b.tempograms[row], b.pulse[row], b.keys[row], b.beats[row] = semitones, mel, tempograms, pulse, keys, beats
    if not label.get("music", True):
        b.sound[row] = SOUNDS.index(label["sound"])
        return
    b.music[row] = 1
    if "tempo_bpm" in label:
        b.tempo[row] = np.clip(label["tempo_bpm"] * factor, TEMPO_MIN, TEMPO_MAX)
    if "key" in label:
        b.key[row] = key_index(TONICS.index(label["key"]) + shift, MODES.index(label["mode"]))
    if "families" not in label:
        return
    b.whole[row], b.drums[row] = 1, label["drums"]
    b.active[row] = clips.active[i][first // PER_CHORD : first // PER_CHORD + b.chords.shape[1]]
    b.metre[row] = METRES.index(label["metre"])
    b.families[row] = [f in label["families"] for f in FAMILIES]
    b.chords[row] = np.where(chords >= 0, (chords + 3 * shift) % 36, NO_CHORD)
