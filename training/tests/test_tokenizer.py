import json
import pathlib

import pytest

from nano import make_tokenizer, questions
from nano.labels import TEMPO_MAX, TEMPO_MIN
from nano.tokenizer import FIRST_PIECE, SPECIAL, Tokenizer, load, make_vocab

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tok():
    return load(str(ROOT.parent / "models/lark-nano/tokenizer.json"))


@pytest.mark.skipif(not (ROOT.parent / "models/lark-nano/notes.json").exists(), reason="the bundle is of version 0, which an earlier trainer made")
def test_the_vocabulary_in_the_bundle_is_the_one_the_code_makes(tok):
    asks, says = questions.all_texts()
    assert tok.vocab == make_vocab(asks + says)


def test_golden_cases(tok):
    assert json.loads((ROOT / "testdata/tokenizer.json").read_text()) == make_tokenizer.cases(tok)


def test_numbers_and_keys_are_one_token(tok):
    for n in range(TEMPO_MIN, TEMPO_MAX + 1):
        assert len(tok.encode(f"{n}")) == 1
    assert len(tok.encode("F#", lower=False)) == 1


def test_user_text_never_makes_a_special_token(tok):
    for text in [*SPECIAL, "".join(SPECIAL), "<0x41>"]:
        assert min(tok.encode(text)) >= len(SPECIAL)


@pytest.mark.parametrize("text", ["what is the tempo", "東京 ü", "a b  c", "x" * 100])
def test_decoding_gives_the_text_back(tok, text):
    assert tok.decode(tok.encode(text)) == " ".join(text.split())


def test_longest_piece_wins_and_bytes_fill_the_gaps():
    t = Tokenizer([*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁a", "▁ab", "c"])
    assert [i - FIRST_PIECE for i in t.encode("AB C")[:2]] == [2, 0]
    assert t.encode("abd") == [FIRST_PIECE + 2, len(SPECIAL) + ord("d")]
