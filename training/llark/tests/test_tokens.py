"""Tokens and masks of an example are those of the specification, written out by hand."""

from llark.tokens import IGNORE, SYSTEM, Prompts

SPACE = "▁"


def spelled(p, ids):
    """Ids as text: pieces as they are, added tokens by name, newlines visible."""
    names = {v: k for k, v in p.added.items()} | {p.bos: "<s>"}
    return "".join(names.get(i) or p.tokenizer.id_to_token(i) for i in ids).replace("<0x0A>", "\n")


def test_audio_first(llama):
    p = Prompts(llama)
    e = p.example(" In which key is this piece? ", "The key is C major.", 3)
    system = SPACE + SYSTEM.replace(" ", SPACE)
    head = f"<s>{system}\n\n###{SPACE}Human:<audio_start><audio_patch><audio_patch><audio_patch><audio_end>"
    asked = f"{SPACE}In which key is this piece?\n### Assistant:".replace(" ", SPACE)
    answer = f"{SPACE}The key is C major.\n###".replace(" ", SPACE)
    assert spelled(p, e.ids) == head + asked + answer
    assert spelled(p, [i for i in e.labels if i != IGNORE]) == answer
    labelled = [i for i, v in enumerate(e.labels) if v != IGNORE]
    assert labelled == list(range(labelled[0], len(e.ids))), "the answer and its end mark, and nothing else"
    assert e.ids[e.audio - 1] == p.added["<audio_start>"] and e.ids[e.audio + e.frames] == p.added["<audio_end>"]
    assert e.ids[: labelled[0]] == p.prompt("In which key is this piece?", 3), "what is trained is what is served"


def test_audio_last(llama):
    p = Prompts(llama)
    e = p.example("In which key is this piece?", "The key is C major.", 1, audio_first=False)
    text = spelled(p, e.ids).replace(SPACE, " ")
    assert text.endswith("### Human: In which key is this piece?<audio_start><audio_patch><audio_end> ### Assistant: The key is C major.\n###")
    assert spelled(p, [i for i in e.labels if i != IGNORE]) == " The key is C major.\n###".replace(" ", SPACE)


def test_added_tokens_follow_the_last_one(llama):
    p = Prompts(llama)
    n = p.tokenizer.get_vocab_size()
    assert list(p.added.values()) == [n, n + 1, n + 2, n + 3], "in the order of the release: 32000 to 32003 for Llama-2"
    assert p.size == n + 4


def test_users_text_makes_no_special_token(llama):
    p = Prompts(llama)
    ids = p.text("<s> <audio_start> [PAD]")
    assert not set(ids) & (set(p.added.values()))
