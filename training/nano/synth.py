"""Rendering MIDI to 16-bit mono PCM through libfluidsynth, offline and faster than real time."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct

import numpy as np

RATE = 44100
BLOCK = 4096
FETCHED = os.path.join(os.environ.get("LARK_TRAIN_DIR", os.path.join(os.path.dirname(__file__), "..", "build")), "instruments")  # what `recordings` fetched
SOUNDFONTS = {
    "fluidr3": "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "timgm6mb": "/usr/share/sounds/sf2/TimGM6mb.sf2",
    "opl3": "/usr/share/sounds/sf2/OPL-3_FM_128M.sf2",
    "musescore": "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "merlin": os.path.join(FETCHED, "Merlin.sf2"),
    "generaluser": os.path.join(FETCHED, "GeneralUser.sf2"),
}
_POINTER = ctypes.c_void_p


def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("fluidsynth") or "libfluidsynth.so.3"
    lib = ctypes.CDLL(name)
    for f in ("new_fluid_settings", "new_fluid_synth", "new_fluid_player"):
        getattr(lib, f).restype = _POINTER
    lib.new_fluid_synth.argtypes = [_POINTER]
    lib.new_fluid_player.argtypes = [_POINTER]
    lib.fluid_settings_setnum.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_double]
    lib.fluid_settings_setint.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_int]
    lib.fluid_settings_setstr.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_char_p]
    lib.fluid_synth_sfload.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_int]
    lib.fluid_synth_write_s16.argtypes = [_POINTER, ctypes.c_int, _POINTER, ctypes.c_int, ctypes.c_int, _POINTER, ctypes.c_int, ctypes.c_int]
    lib.fluid_player_add_mem.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_size_t]
    for f in ("fluid_player_play", "fluid_player_stop", "fluid_player_get_status", "delete_fluid_player", "fluid_synth_system_reset"):
        getattr(lib, f).argtypes = [_POINTER]
    return lib


class Synth:
    """One FluidSynth instance with one soundfont loaded."""

    def __init__(self, soundfont: str, reverb: bool = True, chorus: bool = True):
        self._lib = lib = _library()
        settings = lib.new_fluid_settings()
        lib.fluid_settings_setnum(settings, b"synth.sample-rate", RATE)
        lib.fluid_settings_setnum(settings, b"synth.gain", 0.5)
        lib.fluid_settings_setint(settings, b"synth.reverb.active", int(reverb))
        lib.fluid_settings_setint(settings, b"synth.chorus.active", int(chorus))
        lib.fluid_settings_setint(settings, b"synth.lock-memory", 0)
        lib.fluid_settings_setstr(settings, b"player.timing-source", b"sample")
        self._synth = lib.new_fluid_synth(settings)
        if lib.fluid_synth_sfload(self._synth, SOUNDFONTS[soundfont].encode(), 1) < 0:
            raise OSError(f"loading soundfont {soundfont}: {SOUNDFONTS[soundfont]}")

    def render(self, midi: bytes, start: float, seconds: float) -> np.ndarray:
        """Return int16 mono samples at 44.1 kHz of `seconds` from `start`; peak at 0.85 of full scale."""
        lib = self._lib
        player = lib.new_fluid_player(self._synth)
        lib.fluid_player_add_mem(player, midi, len(midi))
        lib.fluid_player_play(player)
        first, last = int(start * RATE), int((start + seconds) * RATE)
        stereo = np.zeros((last // BLOCK + 1) * BLOCK * 2, np.int16)
        for at in range(0, last, BLOCK):
            place = stereo.ctypes.data + at * 4
            lib.fluid_synth_write_s16(self._synth, BLOCK, place, 0, 2, place, 1, 2)
        lib.fluid_player_stop(player)
        lib.delete_fluid_player(player)
        lib.fluid_synth_system_reset(self._synth)
        mono = stereo.reshape(-1, 2).astype(np.float32).mean(1)[first:last]
        peak = float(np.abs(mono).max())
        return (mono * (0.85 * 32767 / peak)).astype(np.int16) if peak > 50 else np.zeros(last - first, np.int16)


def write_wav(path: str, pcm: np.ndarray) -> None:
    """Write int16 mono samples as a 44.1 kHz wav file."""
    data = pcm.astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    with open(path, "wb") as f:
        f.write(head + b"data" + struct.pack("<I", len(data)) + data)
