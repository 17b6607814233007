"""Questions put together from parts: the same frames around many nouns, so that the model learns which word decides."""

from __future__ import annotations

import random

SUBJECTS = "this|this song|this piece|this track|the music|the song|this music|the piece|it|this clip|the recording|this tune|this recording|the track".split("|")
ABOUT = """what is the {n} of {s}|what's the {n} of {s}|what is the {n}|what's the {n}|what {n} is {s}|what {n} is {s} in|what {n} does {s} have|which {n} does {s} have|which {n} is {s}
tell me the {n} of {s}|tell me the {n}|the {n} of {s}|{n}|estimate the {n} of {s}|determine the {n}|give me the {n} of {s}|give the {n}|can you tell me the {n}|can you name the {n}|find the {n} of {s}
i need the {n} of {s}|i want to know the {n}|do you know the {n} of {s}|name the {n} of {s}|identify the {n}|which {n} do you hear|what {n} do you hear|what would you say is the {n}|could you find the {n}"""
PRESENT = """is there {n} in {s}|are there {n} in {s}|is there any {n}|do you hear {n}|do you hear {n} in {s}|does {s} have {n}|does {s} use {n}|can {n} be heard|can you hear {n}|is {n} playing|are {n} playing
are {n} present|is {n} present|tell me whether there is {n}|tell me if there are {n}|does {s} contain {n}|are any {n} used|is {n} used in {s}|i hear {n}, right|{n} in {s}|are {n} audible|with or without {n}"""

NOUNS = {
    "tempo": "tempo|speed|bpm|pace|beats per minute|number of beats per minute|metronome marking|metronome speed|pulse rate|tempo in bpm|exact tempo|rough tempo|beat rate",
    "key": "key|key and mode|musical key|tonality|home key|key signature|scale|tonic|home note|mode|harmonic centre|tonal centre|root note",
    "metre": "metre|meter|time signature|beat grouping|number of beats per bar|number of beats in a bar|bar length|time",
    "instruments": "instruments|instrumentation|instrument families|list of instruments|line-up|ensemble|players|arrangement|sounds|instruments used",
    "describe": "description|summary|caption|character|overall sound|general picture|short summary",
    "tempo_key": "key and tempo|tempo and key|bpm and key|key and bpm|tempo and the key",
    "cannot": "artist|composer|singer|band|producer|label|title|name|year|album|lyrics|songwriter|release date|price|genre|mood|language|country|studio|text|history|age|singer's name|conductor|film|author|story",
    "drums": "drums|percussion|a drum kit|drum kit|drumming|cymbals|a drummer|snare drums|a drum set|drum parts",
}  # fmt: skip
OWN = {
    "tempo": "how fast is {s}|how quick is {s}|how slow is {s}|how fast does {s} go|how many beats per minute does {s} have|how many bpm is {s}|how fast should i clap to {s}|at what speed does {s} run|what do i set my metronome to",
    "key": "is {s} in major or minor|in which key is {s}|in what key is {s} played|what key should i sing {s} in|which scale fits {s}|what note is the home of {s}",
    "metre": "is {s} in three or four|how many beats are in a bar of {s}|how do you count {s}|is {s} in triple or duple metre",
    "instruments": "which instruments play in {s}|what plays in {s}|what instruments are heard in {s}|list all instruments in {s}|name all the instruments|what is {s} played on|which instruments make {s}|what can you hear playing in {s}",
    "describe": "describe {s}|summarise {s}|summarize {s}|characterise {s}|caption {s}|tell me about {s}|what is {s} like|describe {s} in a sentence|what can you say about {s}|sum up {s}|describe how {s} sounds",
    "tempo_key": "how fast is {s} and in what key|in what key and how fast is {s}|how fast and in which key is {s}",
    "cannot": """who wrote {s}|who composed {s}|who sings {s}|who made {s}|who performed {s}|who recorded {s}|who produced {s}|who plays guitar on {s}|who plays bass in {s}|who is playing {s}|who is behind {s}|when was {s} made
when was {s} written|when was {s} released|when did {s} come out|where was {s} made|where was {s} recorded|where does {s} come from|what year was {s} written|what is {s} called|what does {s} mean|what is {s} about
which artist made {s}|which band made {s}|which album is {s} on|which film is {s} in|how many people bought {s}|how famous is {s}|where can i buy {s}|why was {s} written|for whom was {s} written|how old is {s}
who plays the piano|who plays the guitar in {s}|who plays the violin|who plays the trumpet|who is on bass|who is the guitarist|which song am i hearing|is {s} sad|is {s} cheerful|how does {s} make you feel""",
    "drums": "is {s} with drums|is someone playing the drums|are there drum sounds|does a drummer play in {s}|has {s} got drums|do drums keep the beat in {s}",
}  # fmt: skip


def _pick(rng: random.Random, text: str) -> str:
    return rng.choice([w for line in text.split("\n") for w in line.split("|")])


def question(rng: random.Random, kind: str, asked: str = "") -> str:
    """Return a question of the kind; `asked` is the instrument of the kind `has`."""
    if kind == "has":
        frame, noun = _pick(rng, PRESENT), rng.choice(["", "", "a ", "any "]) + asked
    else:
        own = rng.random() < (0.5 if kind == "cannot" else 0.3)
        frame = _pick(rng, OWN[kind]) if own else _pick(rng, PRESENT if kind == "drums" else ABOUT)
        noun = _pick(rng, NOUNS[kind])
    return frame.replace("{n}", noun).replace("{s}", rng.choice(SUBJECTS))
