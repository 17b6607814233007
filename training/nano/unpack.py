"""Write the weights of a bundle as the trainers keep them, to go on training from (--resume): python -m nano.unpack BUNDLE --encoder encoder.npz --decoder decoder.npz."""

from __future__ import annotations

import argparse
import os

import numpy as np
from safetensors.numpy import load_file

from .train_encoder import save


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("bundle")
    args.add_argument("--encoder", required=True)
    args.add_argument("--decoder", required=True)
    a = args.parse_args()
    encoder, projector, llm = (load_file(os.path.join(a.bundle, n + ".safetensors")) for n in ("encoder", "projector", "llm"))
    save(a.encoder, encoder)
    save(a.decoder, {k: v.astype(np.float32) for k, v in (projector | llm).items()})


if __name__ == "__main__":
    main()
