import collections
import random
import re

import numpy as np

from nano import arrange, asking, compose, facts, generate, grammar, midi, nomusic, questions
from nano.labels import FAMILIES, SOUNDS, TONICS, family, programs_of


def test_every_family_has_programs_that_map_back():
    for name in FAMILIES:
        assert programs_of(name)
        assert {family(p) for p in programs_of(name)} == {name}
    assert family(120) is None


def test_chords_follow_key_and_mode():
    def at(numeral, tonic):
        c = compose.parse_chord(numeral, TONICS.index(tonic), "major")
        return c.symbol, c.root

    assert at("V7", "D") == ("A7", 9)
    assert at("bVII", "C") == ("Bb", 10)
    assert at("ii0", "A") == ("Bm7b5", 11)
    assert at("IM7", "F#") == ("F#M7", 6)


def test_training_never_draws_a_test_progression():
    rng = random.Random(3)
    for mode, text in (("major", compose.TEST_MAJOR), ("minor", compose.TEST_MINOR)):
        held = compose._rotations(compose._bank(text))
        drawn = {tuple(compose.progression(rng, mode, "train")) for _ in range(3000)}
        assert not drawn & held
        assert {tuple(compose.progression(rng, mode, "test")) for _ in range(200)} <= held


def test_melodies_fill_their_bars():
    rng, units = random.Random(5), {"2": 8, "2.": 12, "4": 4, "4.": 6, "8": 2}
    for beats in (3, 4):
        chords = [compose.parse_chord(n, 2, "minor") for n in ("i", "iv", "V7", "bVI") * 10]
        for bar in filter(None, compose.melody(rng, chords, 2, "minor", beats)):
            lengths = [re.match(r"\d+\.?", n).group() for n in bar.strip("{};").split(";")]
            assert sum(units[n] for n in lengths) == 4 * beats


def test_every_kind_of_noise_is_labelled_as_no_music():
    for kind in nomusic.KINDS:
        if kind in ("speech", "crowd"):
            continue  # espeak-ng need not be installed where tests run
        rng = random.Random(kind)
        x = nomusic.sound(kind, rng, np.random.default_rng(1), 44100)
        assert len(x) == 44100
        assert np.isfinite(x).all()
        assert x.any() == (kind != "silence"), kind
    assert set(nomusic.KINDS.values()) == set(SOUNDS) - {"music"}


def test_pieces_keep_to_their_metre_and_key():
    for seed in range(40):
        rng = random.Random(seed)
        p = arrange.write_piece(rng, "train", 20.0)
        bar = arrange.BARS[p.metre][0]
        assert len(p.chords) * bar * p.quarter_seconds >= 20
        scale = set(arrange.scale_of(p.tonic, p.mode, False)) | set(arrange.scale_of(p.tonic, p.mode, True))
        keys = [n.key % 12 for part in p.parts if part.family != "drums" for n in part.notes]
        assert sum(k in scale for k in keys) > 0.7 * len(keys)
        for part in p.parts:
            assert part.family == "drums" or family(part.program) == part.family
            assert all(0 <= n.key < 128 and 0 < n.velocity < 128 for n in part.notes)


def test_written_midi_reads_back():
    rng = random.Random(4)
    p = arrange.write_piece(rng, "train", 10.0)
    score = midi.parse(midi.write(p.parts, p.quarter_seconds))
    heard = collections.Counter(n.family for n in midi.sounding(score, 0.0))
    want = collections.Counter({part.family: 0 for part in p.parts})
    for part in p.parts:
        want[part.family] += len({(round(n.at * 960), n.key) for n in part.notes})
    assert set(heard) == {f for f, n in want.items() if n}
    first = min(n.at for part in p.parts for n in part.notes) * p.quarter_seconds
    assert abs(min(n.start for n in midi.sounding(score, 0.0)) - first) < 0.01


def test_a_sharp_clip_is_faster():
    label = {"tempo_bpm": 100, "chords": [[0, 10, 0, ""], [10, 25, 5, "m"]]}
    got = generate.sped_up(label, 2 ** (50 / 1200))
    assert got["tempo_bpm"] == 102.93
    assert got["chords"][0][1] == 9.715


LABEL = {"tempo_bpm": 121, "key": "F#", "mode": "minor", "metre": "3/4", "families": ["piano", "bass"], "drums": False}


def notes(**changes):
    got = facts.of_label(LABEL | changes, random.Random(0))
    got.unsure = frozenset()
    return got


def test_answers_say_what_the_notes_say():
    say = lambda kind, n: facts.say(asking.answer(kind, n), n)  # noqa: E731
    n = notes()
    assert say("tempo", n) == "The tempo is about 121 BPM."
    assert say("key", n) == "The key is F# minor."
    assert say("metre", n) == "The metre is 3/4."
    assert say("drums", n) == "No, I hear no drums."
    assert say("instruments", n) == "I hear piano and bass."
    assert say("instruments", notes(drums=True)) == "I hear piano, bass and drums."
    assert say("waltz", n) == "Yes, it counts in three: 3/4."
    assert say("describe", n) == "A piece in F# minor, in 3/4 at about 121 BPM, with piano and bass and no drums."
    n.unsure, n.second = frozenset({"key"}), "A major"
    assert say("key", n) == "I'm not sure of the key; it may be F# minor, or else A major."


def test_every_answer_is_among_those_that_its_notes_allow():
    rng, missed, drawn = random.Random(11), 0, 0
    for kind in questions.KINDS:
        for split in ("train", "test"):
            for _ in range(60):
                drawn += 1
                n = facts.invented(rng)
                asked, answered = questions.draw(rng, kind, n, split)
                allowed = {facts.say(s, n) for s in facts.allowed(n, asked)}
                whole = {a for a in allowed if a in answered}
                rest = answered
                for a in sorted(whole, key=len, reverse=True):
                    rest = rest.replace(a, "")
                missed += bool(rest.strip())
                # A typing error may hide the word or the key that a question names, and nothing else.
                typed = set(re.findall(r"[a-z]+", asked.lower()))
                hidden = [facts.say(name, n) for name, s in facts.SENTENCES.items() if s.words and not typed & set(s.words) or kind == "is_key" and s.asked.endswith("key")]
                for a in sorted(hidden, key=len, reverse=True):
                    rest = rest.replace(a, "")
                assert not rest.replace("Yes,", "").strip(), (kind, asked, answered, rest)
    assert missed < drawn / 100


def test_a_question_that_names_a_family_is_answered_about_it():
    n = facts.invented(random.Random(3))
    names = {f: {s for s in facts.allowed(n, f"is there a {word}?") if s.split()[0] in ("yes", "no")} for f, word in (("brass", "trumpet"), ("piano", "piano"))}
    for family, said in names.items():
        assert f"{'yes' if n.value[family] == 'yes' else 'no'} {family}" in said
        assert not said & {f"{answer} {f}" for answer in ("yes", "no") for f in facts.FAMILIES if f != family}
    assert not {"yes key", "no key", "yes metre", "no metre"} & set(facts.allowed(n, "is it good?"))


def test_where_there_is_no_music_nothing_is_said_of_it():
    n = facts.of_label({"music": False, "sound": "speech"}, random.Random(2))
    said = {facts.say(s, n) for s in facts.allowed(n, "is it faster than 100?")}
    assert "I hear no music here, only speech." in said
    assert not any("BPM" in s or "Yes" in s for s in said)


def test_test_wordings_are_not_trained_on():
    for kind in questions.BANKS:
        held, own = set(questions.wordings(kind, "test")), set(questions.wordings(kind, "train"))
        assert held
        assert len(own) >= 8
        assert not held & own, held & own


def test_built_questions_never_repeat_a_wording_of_the_test():
    rng = random.Random(8)
    for kind in set(questions.KINDS) & {*grammar.NOUNS, "has", "cannot"}:
        names = ["unknowable", "off_topic"] if kind == "cannot" else [kind]
        held = {w for n in names for w in questions.wordings(n, "test")}
        drawn = {questions.draw(rng, kind, facts.invented(rng))[0].rstrip(" ?.!") for _ in range(1000)}
        assert len(drawn) > 300
        assert not drawn & held, (kind, drawn & held)
