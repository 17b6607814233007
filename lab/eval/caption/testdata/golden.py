"""Golden values of caption_test.go: pip install pycocoevalcap nltk; python golden.py > golden.json.

The texts hold words and single spaces only, so that tokenizers do not matter.
"""

import contextlib
import io
import json

from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import single_meteor_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

CASES = [
    ("a slow piano ballad in a minor key with soft strings", ["a slow ballad for piano with strings in a minor key", "soft strings accompany a sad piano"]),
    ("the drummers are playing a fast beat", ["a drummer plays the fast beats of a rock song"]),
    ("the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
    ("electronic dance music with a heavy synthesized bass line and driving drums", ["this is an energetic electronic dance track with heavy bass and drums"]),
    ("guitar", ["a solo acoustic guitar plays a gentle melody slowly", "guitar"]),
    ("nothing in common here", ["orchestral music swelling towards a climax"]),
    ("an accordion plays a waltz in three four time for dancing couples", ["an accordion waltz in three four time", "dancers waltz to an accordion"]),
]


class NoSynonyms:
    """Stands for WordNet: no word has another."""

    @staticmethod
    def synsets(_word):
        return []


def main() -> None:
    got = {i: [c] for i, (c, _) in enumerate(CASES)}
    refs = {i: r for i, (_, r) in enumerate(CASES)}
    stemmer = PorterStemmer(mode=PorterStemmer.ORIGINAL_ALGORITHM)
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(refs, got)
        _, rouge = Rouge().compute_score(refs, got)
        _, cider = Cider().compute_score(refs, got)
    meteor = [
        max(single_meteor_score(r.split(), c.split(), stemmer=stemmer, wordnet=NoSynonyms()) for r in rs) for c, rs in CASES
    ]
    print(json.dumps({
        "cases": [{"got": c, "refs": r} for c, r in CASES],
        "bleu": bleu, "rouge_l": [float(v) for v in rouge], "cider": [float(v) for v in cider], "meteor": meteor,
    }, indent=1))


if __name__ == "__main__":
    main()
