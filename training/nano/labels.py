"""Closed vocabularies of lark-nano's answers and the mapping from General MIDI programs to instrument families."""

from __future__ import annotations

# Pitch classes, index 0 = C. These spellings are the only ones that labels and answers use.
TONICS = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
MODES = ["major", "minor"]
METRES = ["4/4", "3/4", "2/4", "6/8", "5/4", "7/8"]
FAMILIES = ["piano", "mallets", "organ", "guitar", "bass", "strings", "choir", "brass", "reeds", "flutes", "synth", "folk"]

# What a window holds: music, or what it is instead.
SOUNDS = ["music", "silence", "noise", "speech", "tone"]

TEMPO_MIN, TEMPO_MAX = 40, 220
CHORD_QUALITIES = ["major", "minor", "diminished"]


def family(program: int) -> str | None:
    """Return the instrument family of a General MIDI program (0..127), None where it is a sound effect."""
    if 48 <= program <= 51:
        return "strings"
    if 52 <= program <= 54:
        return "choir"
    if program == 55 or program >= 112:
        return None
    by_eight = ["piano", "mallets", "organ", "guitar", "bass", "strings", None, "brass", "reeds", "flutes", "synth", "synth", "synth", "folk"]
    return by_eight[program // 8]


def programs_of(name: str) -> list[int]:
    """Return the General MIDI programs that belong to a family."""
    return [p for p in range(128) if family(p) == name]
