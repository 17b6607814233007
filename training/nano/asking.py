"""Questions about more than one noun: comparisons, yes or no, several facts at once, forms of output, other languages, small talk.

Each kind has wordings, of which every sixth is kept for the test, and a rule that names the sentences of the answer.
"""

from __future__ import annotations

import random

from .facts import KEYS, NEAR, Notes
from .labels import FAMILIES, METRES

FLATS = {"F#": ["f sharp", "gb", "f#", "g flat"], "Db": ["c#", "c sharp", "db", "d flat"], "Eb": ["eb", "e flat", "d#"], "Ab": ["ab", "a flat", "g#"], "Bb": ["bb", "b flat", "a#"]}

FASTER = """is it faster than {n}|faster than {n}|is this faster than {n} bpm|is the tempo above {n}|is it over {n} bpm|above {n} bpm|does it go faster than {n}|is the bpm higher than {n}|more than {n} bpm
is this song faster than {n} beats per minute|is the speed over {n}|would you say it is faster than {n}|quicker than {n}|is the track quicker than {n}|is it more than {n}|higher than {n} bpm"""
SLOWER = """is it slower than {n}|slower than {n}|is this slower than {n} bpm|is the tempo below {n}|is it under {n} bpm|below {n} bpm|does it go slower than {n}|is the bpm lower than {n}|less than {n} bpm
is this song slower than {n} beats per minute|is the speed under {n}|would you say it is slower than {n}|is it less than {n}|lower than {n} bpm|is the track slower than {n}"""
IS_TEMPO = """is it {n} bpm|is the tempo {n}|{n} bpm|is this {n} bpm|is it about {n} bpm|is the tempo around {n}|would {n} bpm be right|is {n} the right tempo|so it is {n} bpm, right|does it run at {n} bpm
is it roughly {n}|is the bpm {n}|can i mix it at {n} bpm|is this at {n}|is it near {n} beats per minute|i think it is {n} bpm"""
FAST = """is it fast|is this fast|is the music fast|is this a fast song|is it quick|would you call it fast|is this an up-tempo song|is it uptempo|is that fast|does it move fast
is it a quick piece|is the tempo high|fast|is the song quick|is it a fast track|fast song or not"""
SLOW = """is it slow|is this slow|is the music slow|is this a slow song|would you call it slow|is it a ballad tempo|is that slow|is the tempo low|slow|does it move slowly
is it a slow piece|is it a slow track|is the song slow|slow song or not"""
SPEED = """is it fast or slow|fast or slow|is this slow or fast|is the song fast or slow|slow or fast|would you call it fast or slow|is it a fast or a slow piece|is the music slow, moderate or fast
is the tempo fast, medium or slow|how would you call the speed in words|is it slow, medium or fast|is it quick or slow"""
IS_KEY = """is it in {k}|is this in {k}|is the key {k}|{k}|is this song in {k}|so it's in {k}, right|would {k} be right|is {k} the key|is it {k}|could it be {k}|can i play {k} over this|does it stand in {k}
is the piece in {k}|i think it is in {k}|does this use the key of {k}|is the music in the key of {k}|tell me if it is in {k}|does {k} fit"""
MAJOR = """is it major|is this major|is it in a major key|is this song in major|does it have a major key|is the key major|is the mode major|major|is the piece in a major key|so it is major|is the scale major
would you say it is in major|is it a major scale|is this a major key"""
MINOR = """is it minor|is this minor|is it in a minor key|is this song in minor|does it have a minor key|is the key minor|is the mode minor|minor|is the piece in a minor key|so it is minor|is the scale minor
would you say it is in minor|is it a minor scale|is this a minor key"""
IS_METRE = """is it in {m}|is this in {m}|is the time signature {m}|{m}|is this song in {m}|is the metre {m}|is the meter {m}|is it {m}|could it be {m}|so it's in {m}, right|does it count in {m}
is the piece in {m}|i think it is {m}|would {m} be right|is the beat {m}|is the music in {m} time"""
WALTZ = """is this a waltz|is it a waltz|does it count in three|can i dance a waltz to it|could you waltz to this|is it in three|waltz|is it triple time|is this in triple metre|three beats in a bar, right
does it have three beats per bar|is it a slow waltz|does this have three counts"""
SOLO = """is it a solo|is it only one instrument|is this played by one instrument|is there just one instrument|solo|is it one instrument alone|is it a solo piece|does one instrument play alone|is only one instrument playing
is it unaccompanied|just one instrument|is this solo|single instrument or several"""
COUNT = """how many instruments are there|how many instruments|number of instruments|how many different instruments do you hear|count the instruments|how many kinds of instruments|how many instruments play
how many sounds are there|how large is the band|how big is the ensemble|is it a big band or a small one|how many instruments can you hear|how full is the arrangement|how thick is the texture"""
TAGS = """tags for this|tags|give me tags|tag this|tag this track|some tags please|keywords|give me keywords for this|list tags|make tags|can you tag this song|tags please|short tags|what tags fit
give me the facts in short|metadata|just the facts|facts only|key facts|list the facts"""
JSON = """as json|json|give me json|output json|answer as json|describe it as json|everything as json|tempo and key as json|return a json object|in json format|json please|all facts as json|make a json of this
can you give me that in json|json output please|format as json|put it into json"""
ENERGY = """how energetic is it|what is the energy|energy|energy level|is it calm or energetic|calm or energetic|how lively is it|how relaxing is it|is it high or low energy|what energy does it have|how intense is the music
how calm is this|is it a lively or a quiet piece|is it relaxing or exciting|how much energy does the song have"""
ENERGETIC = """is it energetic|is this lively|does it sound energetic|is it exciting|is this an energetic song|energetic|is it a lively piece|does it have energy|is it high energy|can i work out to this|is it good for running
is it good for a party|is this dance music|can i dance to it|is it danceable|is it powerful"""
CALM = """is it calm|is this relaxing|does it sound relaxing|is it quiet and calm|is this a calm song|calm|relaxing|is it peaceful|does it sound calm|is it soothing|is it good for sleeping|can i relax to this|is it good for studying
is it a gentle piece|is it mellow|is it chill|is it rather calm"""
MUSIC = """is this music|is there music|do you hear music|is it music at all|music or speech|is this music or noise|is there any music|is that even music|does this contain music|do you hear anything|is there any sound
what is this|what am i listening to|is anything playing|is someone speaking|is this speech|is it silence|is there silence|is it just noise|is this noise"""
HELP = """help|what can you do|what can i ask|what can you tell me|what do you know|how does this work|what questions can i ask|hello|hi|hi there|hey|good morning|good evening|who are you|what are you|what is your name
are you a robot|thanks|thank you|ok|okay|cool|nice|great|goodbye|bye|test|hello there|what are you able to hear|what do you understand"""
ALONE = """are you sure|really|why|why not|how do you know|and now|and|what else|anything else|no it isn't|that's wrong|are you certain|you are wrong|and before|say that again|again|repeat that|what do you mean
can you explain that|more|tell me more|go on|and the other one|no|yes|sure|i don't think so|what did you say"""
LANGUAGE = """wie schnell ist das|welche tonart ist das|was ist das tempo|welche instrumente spielen|gibt es schlagzeug|beschreibe die musik|in welcher tonart steht das stück|ist das ein walzer|wie heißt das lied
wer spielt das|ist es schnell oder langsam|hörst du ein klavier|wie viele schläge pro minute|kannst du mir die tonart sagen|was für ein takt ist das|welcher takt ist das|spielt da eine gitarre|wie ist das tempo
cuál es el tempo|qué tonalidad es|qué instrumentos suenan|hay batería|describe la música por favor|qué compás es|es rápido o lento|quién canta|cómo se llama la canción|en qué tono está|oyes un piano|hay guitarra
quel est le tempo|quelle est la tonalité|quels instruments jouent|y a-t-il une batterie|décris la musique|quelle est la mesure|c'est rapide ou lent|qui chante|entends-tu un piano|est-ce une valse|dans quelle tonalité
qual è il tempo|che tonalità è|quali strumenti suonano|c'è la batteria|descrivi la musica|è veloce o lento|che tempo è|chi canta|senti un pianoforte|qual é o andamento|qual é o tom|quais instrumentos tocam|há bateria
wat is het tempo|welke toonsoort is dit|welke instrumenten hoor je|zijn er drums|beschrijf de muziek|hoe snel is dit|jakie jest tempo|jaka to tonacja|jakie instrumenty słychać|czy jest perkusja|opisz muzykę
hur snabb är den|vilken tonart är det|vilka instrument hörs|hvad er tempoet|hvilken toneart|mikä on tempo|mikä sävellaji|ποιο είναι το τέμπο|какой темп|какая тональность|какие инструменты звучат|есть ли барабаны
опиши музыку|テンポは何ですか|キーは何ですか|どんな楽器ですか|速度是多少|什么调|有哪些乐器|템포가 뭐예요|어떤 악기가 있나요|ما هو الإيقاع|tempo nedir|hangi ton|milyen hangnem|jaké je tempo|jaká je tónina"""
STARTS = """guten tag|bitte|danke|por favor|s'il vous plaît|per favore|hallo|hola|bonjour|ciao"""

BANKS = {
    "faster": FASTER, "slower": SLOWER, "is_tempo": IS_TEMPO, "fast": FAST, "slow": SLOW, "speed": SPEED, "is_key": IS_KEY, "major": MAJOR, "minor": MINOR,
    "is_metre": IS_METRE, "waltz": WALTZ, "solo": SOLO, "count": COUNT, "tags": TAGS, "json": JSON, "energy": ENERGY, "energetic": ENERGETIC, "calm": CALM,
    "music": MUSIC, "help": HELP, "alone": ALONE, "language": LANGUAGE,
}  # fmt: skip


def is_near(a: float, b: float) -> bool:
    """Tell whether two tempi are the same to a listener."""
    return abs(a / b - 1) <= NEAR


def energy(notes: Notes) -> str:
    """Return the sentence that says how energetic the music is."""
    tempo, drums = int(notes.value["tempo"]), notes.value["drums"] == "yes"
    if drums:
        return "energetic" if tempo >= 116 else "between"
    return "calm" if tempo <= 95 else "between without"


def speed(notes: Notes) -> str:
    """Return the sentence that says the speed in a word."""
    tempo = int(notes.value["tempo"])
    return "fast" if tempo >= 126 else "slow" if tempo <= 76 else "moderate"


def spell_key(rng: random.Random, key: str) -> str:
    """Return a key as people type it."""
    tonic, mode = key.split()
    name = rng.choice(FLATS.get(tonic, [tonic.lower()]))
    return f"{name} {mode}"


def spell_metre(rng: random.Random, metre: str) -> str:
    """Return a metre as people type it."""
    return metre if rng.random() < 0.8 else metre + " time"


def fill(rng: random.Random, kind: str, text: str, notes: Notes) -> tuple[str, list[str]]:
    """Return the question with its values, near the truth half the time, and the sentences that answer it."""
    v = notes.value
    if kind in ("faster", "slower", "is_tempo"):
        tempo = int(v["tempo"])
        close = rng.random() < 0.5
        n = max(30, round(tempo * rng.uniform(0.75, 1.3))) if close else rng.choice([60, 70, 80, 90, 100, 110, 120, 128, 130, 140, 150, 160, 180, 200])
        n = tempo if kind == "is_tempo" and rng.random() < 0.45 else min(n, 999)
        if kind == "is_tempo":
            return text.replace("{n}", str(n)), ["yes tempo" if is_near(tempo, n) else "no tempo"]
        holds = tempo > n if kind == "faster" else tempo < n
        return text.replace("{n}", str(n)), [("yes " if holds else "no ") + kind]
    if kind == "is_key":
        key = v["key"] if rng.random() < 0.5 else rng.choice([*KEYS, notes.second])
        return text.replace("{k}", spell_key(rng, key)), ["yes key" if key == v["key"] else "no key"]
    if kind == "is_metre":
        metre = v["metre"] if rng.random() < 0.5 else rng.choice(METRES)
        return text.replace("{m}", spell_metre(rng, metre)), ["yes metre" if metre == v["metre"] else "no metre"]
    return text, [answer(kind, notes)]


def answer(kind: str, notes: Notes) -> str:
    """Return the sentence that answers a kind whose question holds no value."""
    v = notes.value
    tempo, yes = int(v["tempo"]), {True: "yes ", False: "no "}
    if kind in ("fast", "slow"):
        return yes[tempo >= 126 if kind == "fast" else tempo <= 76] + kind
    if kind in ("major", "minor"):
        return yes[v["key"].endswith(kind)] + kind
    if kind in ("energetic", "calm"):
        fits = energy(notes) == kind
        return yes[fits] + kind + ("" if fits or v["drums"] == "yes" else " without")
    if kind == "waltz":
        return yes[v["metre"] == "3/4"] + kind
    if kind == "solo":
        return yes[len(notes.all) == 1] + kind
    if kind == "count":
        return "count one" if len(notes.all) == 1 else "count"
    if kind in ("json", "describe"):
        return kind + (" with" if v["drums"] == "yes" else "")
    if kind in ("speed", "energy"):
        return {"speed": speed, "energy": energy}[kind](notes)
    if kind in ("tempo", "key", "metre"):
        return kind + ("?" if kind in notes.unsure else "")
    if kind == "drums":
        return yes[v["drums"] == "yes"] + kind
    if kind == "instruments":
        return kind if notes.all else "no instruments"
    return {"unknowable": "cannot", "off_topic": "cannot"}.get(kind, kind)


# Nouns and clauses of questions about several facts.
ASKED = {
    "tempo": "tempo|bpm|speed|the tempo|the bpm|how fast is it|how fast|what's the bpm|what is the tempo|beats per minute|the speed|tempo in bpm",
    "key": "key|the key|what key|what's the key|which key|what key is it in|key and mode|the musical key|in which key",
    "metre": "metre|meter|time signature|the metre|the time signature|what metre|what's the time signature|the meter|which time signature",
    "drums": "drums|are there drums|any drums|is there percussion|does it have drums|if there are drums|percussion or not|drums yes or no|whether there are drums",
    "instruments": "instruments|the instruments|which instruments|what instruments|instrumentation|what plays|list the instruments|what instruments are playing|all instruments",
}  # fmt: skip
JOINS = [", ", " and ", " + ", " & ", ", and ", " / ", " ", "; ", "? and ", "? "]
LEADS = ["", "", "", "", "what's the ", "give me ", "tell me ", "i need ", "i want ", "what are the ", "please give me the ", "name "]
TAILS = ["", "", "", " please", " of this", " of this song", "?", " for this track", " pls", " thx"]


def several(rng: random.Random, notes: Notes, has: str) -> tuple[str, list[str]]:
    """Return a question about two to four facts, and its sentences in the order asked. `has` is a question whether a family plays."""
    kinds = rng.sample(list(ASKED), rng.choice([2, 2, 2, 3, 3, 4]))
    joint = rng.choice(JOINS)
    parts = [rng.choice(ASKED[k].split("|")) for k in kinds]
    text = joint.join(parts[:-1]) + rng.choice([joint, " and ", ", "]) + parts[-1]
    return rng.choice(LEADS) + text + rng.choice(TAILS), [answer(k, notes) for k in kinds]


def families(rng: random.Random, notes: Notes, words: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Return a question whether two or three families play, and a sentence for each."""
    pool = [*FAMILIES, "drums"]
    heard = [f for f in pool if notes.value[f] == "yes"]
    names = rng.sample(pool, rng.choice([2, 2, 3]))
    if heard and rng.random() < 0.5 and not set(names) & set(heard):
        names[0] = rng.choice(heard)
    said = [rng.choice(words.get(n, [n])) for n in names]
    text = ", ".join(said[:-1]) + rng.choice([" and ", " or ", ", "]) + said[-1]
    frame = rng.choice(["is there {i}", "are there {i}", "do you hear {i}", "{i}", "any {i}", "can you hear {i}", "does it have {i}", "does this use {i}", "is it {i}", "do {i} play"])
    return frame.replace("{i}", text), [("yes " if notes.value[n] == "yes" else "no ") + n for n in names]
