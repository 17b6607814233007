"""Tags the files of a folder as people do, or prints as JSON what mutagen reads in them: the fields that lark writes, and digests of all else."""
import hashlib
import json
import os
import sys

import mutagen
from mutagen import flac, id3, mp3

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20
OURS = {"TBPM": "tempo", "TKEY": "key", "TCON": "genre", "TMOO": "mood", "TXXX:MOOD": "mood", "TXXX:INSTRUMENTS": "instruments",
        "TXXX:METRE": "metre", "TXXX:DESCRIPTION": "description"}
COMMENTS = {"bpm": "tempo", "initialkey": "key", "genre": "genre", "mood": "mood", "instrument": "instruments", "metre": "metre",
            "description": "description"}


def tag(path):
    if path.endswith(".flac"):
        f = flac.FLAC(path)
        f["title"], f["bpm"], f["comment"] = "Lerche", "90", ["one", "two"]
        p = flac.Picture()
        p.data, p.mime, p.type = PICTURE, "image/jpeg", 3
        f.add_picture(p)
        f.save()
        return
    t = id3.ID3()
    if not path.endswith("none.mp3"):
        t.add(id3.TIT2(encoding=1, text="Lerche ü"))
        t.add(id3.TBPM(encoding=0, text="90"))
        t.add(id3.TCON(encoding=3, text=["Jazz", "Rock"]))
        t.add(id3.APIC(encoding=0, mime="image/jpeg", type=3, desc="cover", data=PICTURE))
        t.add(id3.TXXX(encoding=1, desc="INITIALKEY", text="8A"))
        t.add(id3.COMM(encoding=3, lang="eng", desc="", text="hello"))
        t.add(id3.POPM(email="a@b", rating=200, count=3))
        t.save(path, v2_version=3 if path.endswith("v3.mp3") else 4, v1=2)
    else:
        mp3.MP3(path).delete()


def read(path):
    out, others = {}, {}
    if path.endswith(".flac"):
        f = flac.FLAC(path)
        for name in sorted({k.lower() for k, _ in f.tags}):
            target = out if name in COMMENTS else others
            target[COMMENTS.get(name, name)] = "; ".join(f[name])
        others["picture"] = hashlib.sha256(f.pictures[0].write()).hexdigest()
        others["vendor"] = f.tags.vendor
        others["md5"] = f.info.md5_signature
        start = sum(4 + len(b.write()) for b in f.metadata_blocks) + 4
        raw = open(path, "rb").read()
        audio = raw[raw.index(b"\xff\xf8", start - 8192 if start > 8192 else 0):]
    else:
        f = mp3.MP3(path)
        t = id3.ID3(path, translate=False) if f.tags else {}
        for name, frame in sorted(t.items()):
            if name in OURS:
                out[OURS[name]] = "; ".join(str(x) for x in frame.text)
            else:
                others[name] = hashlib.sha256(repr(frame).encode()).hexdigest()
        raw = open(path, "rb").read()
        size = 0
        if raw[:3] == b"ID3":
            size = 10 + (raw[6] << 21 | raw[7] << 14 | raw[8] << 7 | raw[9])
        audio = raw[size:]
    out["others"], out["audio"], out["length"] = others, hashlib.sha256(audio).hexdigest(), f.info.length
    return out


names = sorted(os.listdir(sys.argv[2]))
if sys.argv[1] == "tag":
    for n in names:
        tag(os.path.join(sys.argv[2], n))
else:
    print(json.dumps({n: read(os.path.join(sys.argv[2], n)) for n in names}))
