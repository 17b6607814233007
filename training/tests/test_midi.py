import struct

import pytest

from nano import midi


def build(events: bytes, division: int = 480) -> bytes:
    """Return a MIDI file of one track."""
    track = events + b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, division) + b"MTrk" + struct.pack(">I", len(track)) + track


# 100 bpm; program 40 on channel 0; C4 at once, E4 a beat later by running status, a drum half a beat after that.
EVENTS = (
    b"\x00\xff\x51\x03" + (600000).to_bytes(3, "big") + b"\x00\xc0\x28\x00\x90\x3c\x64\x83\x60\x40\x50\x81\x70\x99\x24\x7f\x00\x99\x24\x00"
)


def test_tempo_and_notes_are_read():
    score = midi.parse(build(EVENTS))
    assert midi.tempi(score) == [100.0]
    got = [(round(n.seconds, 6), n.channel, n.key, n.velocity, n.program) for n in midi.notes(score)]
    assert got == [(0.0, 0, 60, 100, 40), (0.6, 0, 64, 80, 40), (0.9, 9, 36, 127, 0)]


def test_silenced_channels_stay_silent_in_the_bytes():
    score = midi.parse(build(EVENTS))
    midi.silence(score, midi.DRUM_CHANNEL)
    assert [n.channel for n in midi.notes(score)] == [0, 0]
    assert [n.channel for n in midi.notes(midi.parse(bytes(score.raw)))] == [0, 0]


def test_programs_are_replaced_in_the_bytes():
    score = midi.parse(build(EVENTS))
    midi.reprogram(score, {(0, 40): 73})
    assert {n.program for n in midi.notes(midi.parse(bytes(score.raw))) if n.channel == 0} == {73}


@pytest.mark.parametrize("raw", [b"", b"RIFF" + bytes(20), build(EVENTS)[:10], build(EVENTS)[:18] + b"XXXX" + bytes(8), build(b"\x00\x90\x3c")[:25]])
def test_what_is_not_midi_is_refused(raw):
    with pytest.raises((ValueError, struct.error)):
        midi.parse(raw)
