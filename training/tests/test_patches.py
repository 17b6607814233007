"""Patch files: notes sound at their pitch, as long as they are held, with the envelope of the file."""

import os
import struct

import numpy as np
import pytest

from nano import patches
from nano.wavetable import RATE


def patch(tmp_path, modes: int, envelope=(63, 63, 63), levels=(255, 255, 255), period=100, rate=44100):
    """Write a patch file with one sine, 20 periods of it, of which all but the first five are looped."""
    x = (20000 * np.sin(2 * np.pi * np.arange(20 * period) / period)).astype("<i2").tobytes()
    head = patches.SAMPLE.pack(
        0, len(x), 10 * period, len(x), rate, 20_000, 20_000_000, round(1000 * rate / period), 0, 0, bytes([*envelope, 63, 63, 63]), bytes([*levels, 0, 0, 0]), modes, 60, 1024
    )
    path = tmp_path / "000_Sine.pat"
    top = bytearray(b"GF1PATCH110\0ID#000002\0".ljust(patches.HEADER, b"\0"))
    top[198] = 1
    path.write_bytes(bytes(top) + head + x)
    return str(path)


def voice(path: str) -> patches.Voice:
    v = patches.Voice.__new__(patches.Voice)
    v.samples, v.half = patches.samples(path), np.inf
    return v


@pytest.mark.parametrize("key", [60, 69, 81])
def test_a_looped_note_sounds_at_its_pitch_for_as_long_as_it_is_held(tmp_path, key):
    y = voice(patch(tmp_path, patches.SIXTEEN_BITS | patches.LOOPED)).sound(key, 2.0, 100)
    held = y[: 2 * RATE]
    hz = np.abs(np.fft.rfft(held * np.hanning(len(held)))).argmax() / 2
    assert abs(hz - 440 * 2 ** ((key - 69) / 12)) <= 1
    assert np.abs(held[-RATE // 10 :]).max() > 0.9 * np.abs(held).max()
    assert np.abs(y[-20:]).max() < 0.02 * np.abs(held).max()


def test_a_note_without_a_loop_ends_with_its_recording(tmp_path):
    y = voice(patch(tmp_path, patches.SIXTEEN_BITS)).sound(69, 2.0, 100)
    assert y[: RATE // 50].any() and not y[RATE // 10 :].any()


def test_the_envelope_of_the_file_is_followed(tmp_path):
    path = patch(tmp_path, patches.SIXTEEN_BITS | patches.LOOPED, envelope=(63, 3 << 6 | 40, 63), levels=(255, 128, 128))
    y = voice(path).sound(69, 4.0, 100)
    loud = [np.sqrt((y[int(a * RATE) : int((a + 0.1) * RATE)] ** 2).mean()) for a in (0.05, 0.5, 3.0)]
    assert loud[0] > 2 * loud[1] > 2 * loud[2]
    assert loud[2] == pytest.approx(0.5 / 8, rel=0.05)  # half of the levels' scale is three of its six octaves


def test_what_is_no_patch_file_is_refused(tmp_path):
    path = tmp_path / "000_Text.pat"
    path.write_bytes(struct.pack("<I", 7) * 100)
    with pytest.raises(ValueError, match="no patch file"):
        patches.samples(str(path))


def test_each_key_of_the_percussion_has_a_stroke_of_its_own(tmp_path, monkeypatch):
    folder = tmp_path / "freepats" / "Drum_000"
    folder.mkdir(parents=True)
    for key, period in ((36, 400), (42, 20)):
        os.replace(patch(tmp_path, patches.SIXTEEN_BITS, period=period), folder / f"{key:03}_Drum.pat")
    monkeypatch.setattr(patches, "FETCHED", str(tmp_path))
    patches.numbered.cache_clear()
    kit = patches.Kit(np.random.default_rng(1))
    low, high, between = (kit.sound(k, 0.1, 100) for k in (36, 42, 41))
    assert len(low) > 10 * len(high) and len(between) == len(high)
    patches.numbered.cache_clear()
