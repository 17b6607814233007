import random
import re

from nano import compose, generate, questions
from nano.labels import FAMILIES, TONICS, family, programs_of


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


def test_noise_is_labelled_as_no_music():
    pcm, label = generate.make_noise(random.Random(1))
    assert label["music"] is False
    assert 3 * 44100 <= len(pcm) <= 25 * 44100


LABEL = {"tempo_bpm": 121, "key": "F#", "mode": "minor", "metre": "3/4", "families": ["piano", "bass"], "drums": False}


def test_answers_say_what_the_label_says():
    rng = random.Random(0)
    say = lambda kind, asked="": questions.answer(kind, LABEL, rng, asked)  # noqa: E731
    assert say("tempo") == "The tempo is about 121 BPM."
    assert say("key") == "The key is F# minor."
    assert say("metre") == "The metre is 3/4."
    assert say("drums") == "No, I hear no drums."
    assert say("instruments") == "I hear piano and bass."
    assert say("has", "bass") == "Yes, I hear bass."
    assert say("has", "organ") == "No, I hear no organ."
    assert say("describe") == "A piece in F# minor, in 3/4 at about 121 BPM, with piano and bass and no drums."
    assert questions.answer("key", {"music": False}, rng) == questions.NO_MUSIC
    assert questions.answer("cannot", {"music": False}, rng) == questions.CANNOT


def test_test_wordings_are_not_trained_on():
    for kind in questions.BANKS:
        held, own = set(questions.wordings(kind, "test")), set(questions.wordings(kind, "train"))
        assert held
        assert len(own) >= 10
        assert not held & own, held & own


def test_built_questions_never_repeat_a_wording_of_the_test():
    rng = random.Random(8)
    for kind in questions.KINDS:
        names = ["unknowable", "off_topic"] if kind == "cannot" else [kind]
        held = {w for n in names for w in questions.wordings(n, "test")}
        drawn = {questions.draw(rng, kind, LABEL)[0].rstrip(" ?.") for _ in range(2000)}
        assert len(drawn) > 500
        assert not drawn & held, (kind, drawn & held)
