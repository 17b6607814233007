"""A small reader and in-place editor of Standard MIDI files: enough to label a piece and to vary its instruments."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from .labels import family

DRUM_CHANNEL = 9
_META, _TEMPO = 0xFF, 0x51


@dataclass
class Note:
    """A note start: time in seconds, channel, key number, velocity and the program sounding on the channel."""

    seconds: float
    channel: int
    key: int
    velocity: int
    program: int


@dataclass
class Event:
    """A channel or tempo event. `offset` is the place of its first data byte in the file."""

    tick: int
    kind: int
    channel: int
    data: bytes
    offset: int


@dataclass
class Score:
    """A parsed file: ticks per quarter note, events in time order, and the bytes they were read from."""

    division: int
    events: list[Event] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)


def _varlen(buf: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte = buf[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at


def _track(buf: bytes, at: int, end: int, out: list[Event]) -> None:
    tick, status = 0, 0
    while at < end:
        delta, at = _varlen(buf, at)
        tick += delta
        if buf[at] & 0x80:
            status = buf[at]
            at += 1
        if status == _META:
            kind = buf[at]
            size, at = _varlen(buf, at + 1)
            if kind == _TEMPO:
                out.append(Event(tick, _TEMPO, -1, bytes(buf[at : at + size]), at))
            at += size
        elif status in (0xF0, 0xF7):
            size, at = _varlen(buf, at)
            at += size
        else:
            size = 1 if status & 0xF0 in (0xC0, 0xD0) else 2
            out.append(Event(tick, status & 0xF0, status & 0x0F, bytes(buf[at : at + size]), at))
            at += size


def parse(raw: bytes) -> Score:
    """Parse a MIDI file. Raises ValueError where it is not one."""
    if len(raw) < 14 or raw[:4] != b"MThd":
        raise ValueError("reading MIDI: no MThd header")
    tracks, division = struct.unpack(">HH", raw[10:14])
    score, at = Score(division, [], bytearray(raw)), 14
    for _ in range(tracks):
        if raw[at : at + 4] != b"MTrk":
            raise ValueError("reading MIDI: a track without MTrk header")
        size = struct.unpack(">I", raw[at + 4 : at + 8])[0]
        try:
            _track(raw, at + 8, at + 8 + size, score.events)
        except IndexError as err:
            raise ValueError("reading MIDI: track cut short") from err
        at += 8 + size
    score.events.sort(key=lambda e: e.tick)
    return score


def tempi(score: Score) -> list[float]:
    """Return every tempo of the file in beats per minute, in order."""
    return [60e6 / int.from_bytes(e.data, "big") for e in score.events if e.kind == _TEMPO]


def notes(score: Score) -> list[Note]:
    """Return the note starts of a file. The times assume the file's first tempo throughout."""
    per_tick = 60.0 / (tempi(score) or [120.0])[0] / score.division
    program, out = [0] * 16, []
    for e in score.events:
        if e.kind == 0xC0:
            program[e.channel] = e.data[0]
        elif e.kind == 0x90 and e.data[1] > 0:
            out.append(Note(e.tick * per_tick, e.channel, e.data[0], e.data[1], program[e.channel]))
    return out


@dataclass
class Sounding:
    """A sounding note: start and end in seconds, instrument family ("drums" for drums, None for effects), velocity."""

    start: float
    end: float
    family: str | None
    velocity: int


def sounding(score: Score, start: float) -> list[Sounding]:
    """Return every note of a file with its end, in seconds from `start`. The times assume the file's first tempo throughout."""
    per_tick = 60.0 / (tempi(score) or [120.0])[0] / score.division
    program, open_notes, out = [0] * 16, {}, []
    for e in score.events:
        at = e.tick * per_tick - start
        if e.kind == 0xC0:
            program[e.channel] = e.data[0]
        elif e.kind in (0x80, 0x90):
            place = (e.channel, e.data[0])
            if place in open_notes:
                open_notes.pop(place).end = at
            if e.kind == 0x90 and e.data[1] > 0:
                name = "drums" if e.channel == DRUM_CHANNEL else family(program[e.channel])
                open_notes[place] = Sounding(at, at + 1, name, e.data[1])
                out.append(open_notes[place])
    return out


def _variable(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def write(parts: list, quarter: float) -> bytes:
    """Return a MIDI file of the parts of `arrange`, a quarter lasting `quarter` seconds."""
    division, events, channel = 960, [], 0
    for part in parts:
        on = DRUM_CHANNEL if part.family == "drums" else channel
        if on == channel:
            channel += 2 if channel == DRUM_CHANNEL - 1 else 1
            events.append((0, 0, bytes([0xC0 | on, part.program])))
        for n in part.notes:
            events.append((round(n.at * division), 2, bytes([0x90 | on, n.key & 127, n.velocity & 127])))
            events.append((round((n.at + n.length) * division), 1, bytes([0x80 | on, n.key & 127, 0])))
    track, tick = b"\0\xff\x51\3" + round(quarter * 1e6).to_bytes(3, "big"), 0
    for at, _, data in sorted(events, key=lambda e: e[:2]):
        track += _variable(at - tick) + data
        tick = at
    track += b"\0\xff\x2f\0"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, division)
    return head + b"MTrk" + struct.pack(">I", len(track)) + track


def silence(score: Score, channel: int) -> None:
    """Make a channel silent: every note start becomes a note end (velocity 0)."""
    for i, e in enumerate(score.events):
        if e.kind == 0x90 and e.channel == channel:
            score.raw[e.offset + 1] = 0
            score.events[i] = Event(e.tick, e.kind, e.channel, bytes([e.data[0], 0]), e.offset)


def reprogram(score: Score, mapping: dict[tuple[int, int], int]) -> None:
    """Replace programs: mapping[(channel, old program)] = new program."""
    for i, e in enumerate(score.events):
        if e.kind == 0xC0 and (e.channel, e.data[0]) in mapping:
            new = mapping[e.channel, e.data[0]]
            score.raw[e.offset] = new
            score.events[i] = Event(e.tick, e.kind, e.channel, bytes([new]), e.offset)
