"""Tunes that people composed, as nano.tunes sets them."""

import json
import random

import pytest
from nano import arrange, tunes

# Eight bars of a jig with a pick-up, its key note first in every bar, and a chord symbol a bar.
JIG = {
    "name": "jig", "key": "D", "mode": "major", "metre": "6/8", "pickup": 0.5,
    "parts": [[[0.0, 0.5, [69]]] + [[0.5 + 3 * bar + k * 0.5, 0.5, [62 if k == 0 else 66]] for bar in range(8) for k in range(6)]],
    "chords": [[0.5 + 3 * bar, 3.0, 2, [2, 6, 9]] for bar in range(8)],
}  # fmt: skip


@pytest.fixture
def known(tmp_path):
    path = tmp_path / "tunes.jsonl"
    path.write_text(json.dumps(JIG) + "\n" + json.dumps(JIG | {"key": "C#", "mode": "minor", "metre": "3/4", "chords": []}) + "\n")
    return tunes.read(str(path))


def test_sharps_are_read_as_the_labels_spell_them(known):
    assert {m: [(t.tonic, t.mode) for t in ts] for m, ts in known.items()} == {"6/8": [(2, "major")], "3/4": [(1, "minor")]}


def test_notes_move_with_the_key(known):
    jigs, seen = {"6/8": known["6/8"]}, set()
    for seed in range(40):
        p = tunes.write_piece(random.Random(seed), jigs, 25.0)
        moved = (p.tonic - 2) % 12
        seen.add(p.tonic)
        assert (p.metre, p.mode) == ("6/8", "major") and 40 <= p.tempo <= 220
        assert {n.key % 12 for n in p.parts[0].notes} <= {(k + moved) % 12 for k in (62, 66, 69)}
        for part in p.parts[1:]:
            if part.family != "drums":
                assert {n.key % 12 for n in part.notes} <= {(c + moved) % 12 for c in (2, 6, 9)}, part.family
    assert len(seen) > 8


def test_a_tune_goes_round_until_the_time_is_full(known):
    for seed in range(40):
        p = tunes.write_piece(random.Random(seed), known, 25.0)
        bar = arrange.BARS[p.metre][0] * p.quarter_seconds
        for part in p.parts[:1]:
            at = sorted(n.at * p.quarter_seconds for n in part.notes)
            assert at[0] >= 0 and at[-1] > 25.0 - bar
            assert max(b - a for a, b in zip(at, at[1:])) <= bar, "no gap where the tune begins again"


def test_bars_lie_alike_wherever_the_tune_begins(known):
    """The key note begins every bar: its notes are whole bars apart in every round."""
    for seed in range(40):
        p = tunes.write_piece(random.Random(seed), {"6/8": known["6/8"]}, 25.0)
        firsts = sorted(n.at for n in p.parts[0].notes if n.key % 12 == p.tonic)
        assert all(abs((b - a) / 3.0 - round((b - a) / 3.0)) < 1e-9 for a, b in zip(firsts, firsts[1:]))
