"""Write the weighted mean of an encoder's weights before and after a training that went on from them: python -m nano.average BEFORE.npz AFTER.npz --share 0.75 --out encoder.npz.

What was learnt from new data is kept and less of the old is lost (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). The share is that of AFTER.
"""

from __future__ import annotations

import argparse

from . import encoder
from .train_encoder import grown, load, save


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("before")
    args.add_argument("after")
    args.add_argument("--share", type=float, default=0.75)
    args.add_argument("--out", required=True)
    a = args.parse_args()
    before, after = grown(encoder.init(1), load(a.before)), load(a.after)
    save(a.out, {name: (1 - a.share) * before[name] + a.share * value for name, value in after.items()})


if __name__ == "__main__":
    main()
