"""What the decoder notes about a window before it reads any question, and the sentences that those notes allow.

The notes are a line of tokens behind the audio: for each slot its label, the value, and for some slots the runner-up and whether the value is sure.
Every answer consists of sentences whose conditions the notes meet, so that list, description and yes/no cannot contradict each other.
`write` puts both into notes.json of the bundle, which the Go engine reads; docs/lark-nano.md, section 8, describes it.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field

from .labels import FAMILIES, METRES, MODES, SOUNDS, TEMPO_MAX, TEMPO_MIN, TONICS

MARK = "▁"
KEYS = [f"{t} {m}" for t in TONICS for m in MODES]
SURE = {"tempo", "key", "metre"}  # slots that say whether they are sure
NEAR = 0.04  # tempi within this part of each other are the same
COUNT_WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"]


def values_of(slot: str) -> list[str]:
    """Return the values of a slot as text."""
    if slot == "tempo":
        return [str(n) for n in range(TEMPO_MIN, TEMPO_MAX + 1)]
    return {"sound": SOUNDS, "key": KEYS, "metre": METRES}.get(slot, ["yes", "no"])


SLOTS = ["sound", "tempo", "key", "metre", "drums", *FAMILIES]


def piece(text: str) -> str:
    """Return the vocabulary's piece of a value: each slot takes one token."""
    return MARK + text.replace(" ", MARK)


@dataclass
class Notes:
    """The notes of a window: value, runner-up of the key, and the slots that are not sure."""

    value: dict[str, str]
    second: str = "C major"
    unsure: frozenset[str] = frozenset()

    @property
    def heard(self) -> list[str]:
        """The families that are there."""
        return [f for f in FAMILIES if self.value[f] == "yes"]

    @property
    def all(self) -> list[str]:
        """The families that are there, and drums."""
        return self.heard + (["drums"] if self.value["drums"] == "yes" else [])

    def line(self) -> list[tuple[str, str]]:
        """Return the tokens of the line as (what it is, piece). What is "label", "second" and "sure" is not the model's to choose."""
        out = []
        for slot in SLOTS:
            out += [("label", piece(slot)), (slot, piece(self.value[slot]))]
            if slot == "key":
                out.append(("second", piece(self.second)))
            if slot in SURE:
                out.append(("sure", piece("unsure" if slot in self.unsure else "sure")))
        return out


def of_label(label: dict, rng: random.Random) -> Notes:
    """Return the notes that a label gives, some slots being unsure at random."""
    if not label.get("music", True):
        notes = invented(rng)
        notes.value["sound"] = label["sound"]
        return notes
    yes = lambda b: "yes" if b else "no"  # noqa: E731
    tempo = min(max(round(label["tempo_bpm"]), TEMPO_MIN), TEMPO_MAX)
    value = {"sound": "music", "tempo": str(tempo), "key": f"{label['key']} {label['mode']}", "metre": label["metre"], "drums": yes(label["drums"])}
    value |= {f: yes(f in label["families"]) for f in FAMILIES}
    return Notes(value, rng.choice(KEYS), frozenset(s for s in sorted(SURE) if rng.random() < 0.15))


def invented(rng: random.Random) -> Notes:
    """Return notes of no window, so that answers are learnt from notes alone."""
    share = rng.choice([0.1, 0.25, 0.25, 0.5])
    value = {s: rng.choice(values_of(s)) for s in ("tempo", "key", "metre", "drums")}
    value |= {"sound": "music" if rng.random() < 0.93 else rng.choice(SOUNDS)} | {f: "yes" if rng.random() < share else "no" for f in FAMILIES}
    if not any(value[f] == "yes" for f in FAMILIES):
        value[rng.choice(FAMILIES)] = "yes"
    return Notes(value, rng.choice(KEYS), frozenset(s for s in sorted(SURE) if rng.random() < 0.15))


@dataclass
class Sentence:
    """A sentence with its conditions: values of slots, slots that must be sure or not, a range of tempo, how many instruments, and how the
    tempo, key or metre stands to what the question asks about ("faster", "slower", "near", "far", "key", "other key",
    "no key", "metre", "other metre")."""

    text: str
    when: dict[str, list[str]] = field(default_factory=dict)
    sure: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    tempo: list[int] = field(default_factory=lambda: [0, 999])
    count: list[int] = field(default_factory=lambda: [0, 99])
    asked: str = ""
    words: list[str] = field(default_factory=list)  # one of which the question has, unless it has none of any sentence

    def data(self) -> dict:
        """Return the sentence as notes.json holds it; what is as usual is left out."""
        usual = Sentence("")
        return {k: v for k, v in vars(self).items() if k == "text" or v != getattr(usual, k)}


NAMED = ["exactly", "around", "roughly", "approximately"]  # with these words a tempo is named; a question with "faster" or "slower" compares
FASTER, SLOWER = ["faster", "quicker", "above", "over", "more", "higher"], ["slower", "below", "under", "less", "lower"]
SAID = {  # by which a question that wants a yes or a no names what it asks about
    "fast": "fast quick uptempo", "slow": "slow ballad", "major": "major", "minor": "minor", "waltz": "waltz three triple", "solo": "solo one single alone unaccompanied just only",
    "energetic": "energetic lively exciting energy party dance danceable running powerful", "calm": "calm relaxing relax peaceful quiet soothing gentle mellow chill sleeping studying",
    "key": "major minor maj min key", "metre": "time metre meter count beat",
}  # fmt: skip
WORDS = {  # by which a question names a family
    "piano": "piano pianos harpsichord rhodes clavinet", "mallets": "mallet mallets vibraphone vibes marimba xylophone glockenspiel bells",
    "organ": "organ organs accordion harmonica", "guitar": "guitar guitars guitarist ukulele", "bass": "bass basses contrabass bassist",
    "strings": "string strings violin violins cello cellos viola violas", "choir": "choir choirs choral chorus voices",
    "brass": "brass trumpet trumpets trombone trombones horn horns tuba tubas", "reeds": "reed reeds sax saxes saxophone saxophones clarinet clarinets oboe oboes bassoon",
    "flutes": "flute flutes piccolo recorder recorders whistle", "synth": "synth synths synthesizer synthesizers synthesiser synthesisers",
    "folk": "folk banjo sitar bagpipe bagpipes fiddle koto", "drums": "drum drums drummer drumming drumset drumkit percussion percussive cymbal cymbals snare",
}  # fmt: skip

MUSIC = {"sound": ["music"]}
YES, NO = {"drums": ["yes"]}, {"drums": ["no"]}
CANNOT = "I can't tell that from the audio."
NO_MUSIC = "I hear no music here"


def _keys(mode: str) -> dict:
    return {"key": [k for k in KEYS if k.endswith(mode)]}


def _catalogue() -> dict[str, Sentence]:
    s = {
        "cannot": Sentence(CANNOT),
        "language": Sentence("I understand English only: please ask in English."),
        "help": Sentence("Ask me about the tempo, key, metre, instruments or drums of this music."),
        "alone": Sentence("I answer each question on its own: please ask it in full."),
        "silence": Sentence(NO_MUSIC + ", only silence.", {"sound": ["silence"]}),
        "noise": Sentence(NO_MUSIC + ", only noise.", {"sound": ["noise"]}),
        "speech": Sentence(NO_MUSIC + ", only speech.", {"sound": ["speech"]}),
        "tone": Sentence(NO_MUSIC + ", only a tone.", {"sound": ["tone"]}),
        "music": Sentence("This is music.", MUSIC),
        "tempo": Sentence("The tempo is about $tempo BPM.", MUSIC, sure=["tempo"]),
        "tempo?": Sentence("I'm not sure of the tempo; it may be about $tempo BPM.", MUSIC, unsure=["tempo"]),
        "fast": Sentence("It is fast, about $tempo BPM.", MUSIC, tempo=[126, 999]),
        "moderate": Sentence("It is of moderate speed, about $tempo BPM.", MUSIC, tempo=[77, 125]),
        "slow": Sentence("It is slow, about $tempo BPM.", MUSIC, tempo=[0, 76]),
        "yes fast": Sentence("Yes, it is fast, about $tempo BPM.", MUSIC, tempo=[126, 999], words=SAID["fast"].split()),
        "no fast": Sentence("No, it is not fast, about $tempo BPM.", MUSIC, tempo=[0, 125], words=SAID["fast"].split()),
        "yes slow": Sentence("Yes, it is slow, about $tempo BPM.", MUSIC, tempo=[0, 76], words=SAID["slow"].split()),
        "no slow": Sentence("No, it is not slow, about $tempo BPM.", MUSIC, tempo=[77, 999], words=SAID["slow"].split()),
        "yes faster": Sentence("Yes, it is faster than that, about $tempo BPM.", MUSIC, asked="faster", words=FASTER),
        "no faster": Sentence("No, it is not faster than that, about $tempo BPM.", MUSIC, asked="not faster", words=FASTER),
        "yes slower": Sentence("Yes, it is slower than that, about $tempo BPM.", MUSIC, asked="slower", words=SLOWER),
        "no slower": Sentence("No, it is not slower than that, about $tempo BPM.", MUSIC, asked="not slower", words=SLOWER),
        "yes tempo": Sentence("Yes, the tempo is about $tempo BPM.", MUSIC, asked="near", words=NAMED),
        "no tempo": Sentence("No, the tempo is about $tempo BPM.", MUSIC, asked="far", words=NAMED),
        "key": Sentence("The key is $key.", MUSIC, sure=["key"]),
        "key?": Sentence("I'm not sure of the key; it may be $key, or else $second.", MUSIC, unsure=["key"]),
        "yes key": Sentence("Yes, the key is $key.", MUSIC, asked="key", words=SAID["key"].split()),
        "no key": Sentence("No, the key is $key.", MUSIC, asked="other key", words=SAID["key"].split()),
        "yes major": Sentence("Yes, it is in major: $key.", MUSIC | _keys("major"), asked="no key", words=SAID["major"].split()),
        "no major": Sentence("No, it is in minor: $key.", MUSIC | _keys("minor"), asked="no key", words=SAID["major"].split()),
        "yes minor": Sentence("Yes, it is in minor: $key.", MUSIC | _keys("minor"), asked="no key", words=SAID["minor"].split()),
        "no minor": Sentence("No, it is in major: $key.", MUSIC | _keys("major"), asked="no key", words=SAID["minor"].split()),
        "metre": Sentence("The metre is $metre.", MUSIC, sure=["metre"]),
        "metre?": Sentence("I'm not sure of the metre; it may be $metre.", MUSIC, unsure=["metre"]),
        "yes metre": Sentence("Yes, the metre is $metre.", MUSIC, asked="metre", words=SAID["metre"].split()),
        "no metre": Sentence("No, the metre is $metre.", MUSIC, asked="other metre", words=SAID["metre"].split()),
        "yes waltz": Sentence("Yes, it counts in three: $metre.", MUSIC | {"metre": ["3/4"]}, words=SAID["waltz"].split()),
        "no waltz": Sentence("No, it does not count in three: $metre.", MUSIC | {"metre": [m for m in METRES if m != "3/4"]}, words=SAID["waltz"].split()),
        "yes drums": Sentence("Yes, there are drums.", MUSIC | YES, words=WORDS["drums"].split()),
        "no drums": Sentence("No, I hear no drums.", MUSIC | NO, words=WORDS["drums"].split()),
        "instruments": Sentence("I hear $all.", MUSIC, count=[1, 99]),
        "no instruments": Sentence("I hear music, but no instrument that I can name.", MUSIC, count=[0, 0]),
        "count": Sentence("I hear $count kinds of instruments: $all.", MUSIC, count=[2, 99]),
        "count one": Sentence("I hear one kind of instrument: $all.", MUSIC, count=[1, 1]),
        "yes solo": Sentence("Yes, I hear only $all.", MUSIC, count=[1, 1], words=SAID["solo"].split()),
        "no solo": Sentence("No, I hear more than one: $all.", MUSIC, count=[2, 99], words=SAID["solo"].split()),
        "describe with": Sentence("A piece in $key, in $metre at about $tempo BPM, with $all.", MUSIC | YES),
        "describe": Sentence("A piece in $key, in $metre at about $tempo BPM, with $heard and no drums.", MUSIC | NO),
        "tags": Sentence("$tempo BPM, $key, $metre, $all.", MUSIC, count=[1, 99]),
        "json with": Sentence('{"tempo_bpm": $tempo, "key": "$key", "metre": "$metre", "instruments": [$quoted], "drums": true}', MUSIC | YES),
        "json": Sentence('{"tempo_bpm": $tempo, "key": "$key", "metre": "$metre", "instruments": [$quoted], "drums": false}', MUSIC | NO),
        "energetic": Sentence("It sounds energetic: about $tempo BPM, with drums.", MUSIC | YES, tempo=[116, 999]),
        "calm": Sentence("It sounds calm: about $tempo BPM, without drums.", MUSIC | NO, tempo=[0, 95]),
        "between": Sentence("It sounds neither very calm nor very energetic, at about $tempo BPM.", MUSIC | YES, tempo=[0, 115]),
        "between without": Sentence("It sounds neither very calm nor very energetic, at about $tempo BPM.", MUSIC | NO, tempo=[96, 999]),
        "yes energetic": Sentence("Yes, it sounds energetic: about $tempo BPM, with drums.", MUSIC | YES, tempo=[116, 999], words=SAID["energetic"].split()),
        "no energetic": Sentence("No, it is not very energetic, at about $tempo BPM.", MUSIC | YES, tempo=[0, 115], words=SAID["energetic"].split()),
        "no energetic without": Sentence("No, it is not very energetic, at about $tempo BPM.", MUSIC | NO, words=SAID["energetic"].split()),
        "yes calm": Sentence("Yes, it sounds calm: about $tempo BPM, without drums.", MUSIC | NO, tempo=[0, 95], words=SAID["calm"].split()),
        "no calm": Sentence("No, it is not very calm, at about $tempo BPM.", MUSIC | YES, words=SAID["calm"].split()),
        "no calm without": Sentence("No, it is not very calm, at about $tempo BPM.", MUSIC | NO, tempo=[96, 999], words=SAID["calm"].split()),
    }
    for f in FAMILIES:
        s["yes " + f] = Sentence(f"Yes, I hear {f}.", MUSIC | {f: ["yes"]}, words=WORDS[f].split())
        s["no " + f] = Sentence(f"No, I hear no {f}.", MUSIC | {f: ["no"]}, words=WORDS[f].split())
    return s


SENTENCES = _catalogue()


def join(parts: list[str]) -> str:
    """Join a list as English does: a, b and c."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def say(name: str, notes: Notes) -> str:
    """Return a sentence of the catalogue with the notes filled in."""
    fill = {
        "tempo": notes.value["tempo"], "key": notes.value["key"], "second": notes.second, "metre": notes.value["metre"],
        "all": join(notes.all) if notes.all else "", "heard": join(notes.heard or ["music"]), "count": COUNT_WORDS[len(notes.all)],
        "quoted": ", ".join(f'"{f}"' for f in notes.heard),
    }  # fmt: skip
    return re.sub(r"\$([a-z]+)", lambda m: fill[m[1]], SENTENCES[name].text)


METRE_IN = re.compile(r"\b([2-9]|12)\s?/\s?(2|4|8)\b")
NUMBER_IN = re.compile(r"\b[0-9]{2,3}(?:\.[0-9]+)?")
KEY_IN = re.compile(r"(?i)\b([a-g])(#|b|♯|♭|\s?sharp|\s?flat)?\s+(major|minor|maj|min)\b(\s+(?:key|scale|mode|tonality)\b)?")
NATURALS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


def named(question: str) -> tuple[float, list[str], list[str]]:
    """Return the last number, the keys and the metres that a question names; 0 where it names no number."""
    metres = [f"{a}/{b}" for a, b in METRE_IN.findall(question)]
    numbers = [float(n) for n in NUMBER_IN.findall(METRE_IN.sub(" ", question))]
    keys = []
    for letter, sign, mode, noun in KEY_IN.findall(question):
        if letter == "a" and not sign and noun:  # "a major key" has an article
            continue
        step = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}.get(sign.strip().lower(), 0)
        keys.append(f"{TONICS[(NATURALS[letter.lower()] + step) % 12]} {mode.lower().removesuffix('or')}or")
    return (numbers or [0.0])[-1], keys, metres


def holds(relation: str, notes: Notes, question: str) -> bool:
    """Tell whether a relation of Sentence.asked is true."""
    number, keys, metres = named(question)
    tempo, key, metre = int(notes.value["tempo"]), notes.value["key"], notes.value["metre"]
    if relation in ("faster", "not faster", "slower", "not slower", "near", "far") and not number:
        return False
    near = number * (1 - NEAR) <= tempo <= number * (1 + NEAR)
    return {
        "": True, "faster": tempo > number, "not faster": tempo <= number, "slower": tempo < number, "not slower": tempo >= number, "near": near, "far": not near,
        "key": key in keys, "other key": bool(keys) and key not in keys, "no key": not keys,
        "metre": metre in metres, "other metre": bool(metres) and metre not in metres,
    }[relation]  # fmt: skip


def allowed(notes: Notes, question: str) -> list[str]:
    """Return the names of the sentences that may answer a question, as the Go engine finds them."""
    tempo, count = int(notes.value["tempo"]), len(notes.all)
    have = set(re.findall(r"[a-z]+", question.lower())) & {w for s in SENTENCES.values() for w in s.words}
    return [
        name for name, s in SENTENCES.items()
        if all(notes.value[slot] in values for slot, values in s.when.items())
        and not set(s.sure) & notes.unsure and set(s.unsure) <= notes.unsure
        and s.tempo[0] <= tempo <= s.tempo[1] and s.count[0] <= count <= s.count[1] and holds(s.asked, notes, question)
        and (not have or not s.words or have & set(s.words))
    ]  # fmt: skip


MOST_SENTENCES = 4


def write(path: str, judged: dict[str, dict]) -> None:
    """Write notes.json. `judged` holds for each slot how scores become confidence, and from where on a value counts."""
    slots = []
    for slot in SLOTS:
        slots.append({"name": slot, "label": piece(slot), "values": [piece(v) for v in values_of(slot)], "second": slot == "key"} | judged.get(slot, {}))
    data = {
        "near": NEAR, "sure": piece("sure"), "unsure": piece("unsure"), "most_sentences": MOST_SENTENCES, "slots": slots,
        "sentences": [s.data() for s in SENTENCES.values()],
    }  # fmt: skip
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False, indent=0)
        f.write("\n")


def texts() -> list[str]:
    """Return every form of words of notes and answers, for the vocabulary."""
    plain = [re.sub(r"\$[a-z]+", " ", s.text) for s in SENTENCES.values()]
    plain += [" ".join(FAMILIES), ", ".join(FAMILIES) + ",", *COUNT_WORDS, " ".join(SLOTS), "sure unsure yes no", " ".join(METRES), " ".join(SOUNDS)]
    return plain
