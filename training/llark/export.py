"""Write a Hugging Face folder of a checkpoint: python -m llark.export --run OUT --decoder DIR --to DIR. `lark model import llama --hf DIR` reads it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

from . import model
from .tokens import ADDED, Prompts
from .train import checkpoints

TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def weights(net: model.Llark) -> dict[str, torch.Tensor]:
    """Tensors by Hugging Face's names: low-rank additions are merged, and the rows of <audio_start> and <audio_end> stand in the table."""
    out: dict[str, torch.Tensor] = {}
    for name, p in net.named_parameters():
        if ".lora_" not in name and name != "model.audio_rows":
            out[name.replace(".base.", ".")] = p.detach().clone()
    for name, child in net.named_modules():
        if isinstance(child, model.LoRA):
            out[name + ".weight"] = child.merged().detach()
    out["model.embed_tokens.weight"][[net.start, net.end]] = net.model.audio_rows.detach()
    if net.shape.tied:
        out.pop("lm_head.weight", None)
    return out


def restore(run: str, decoder: str) -> tuple[model.Llark, Prompts]:
    """The model of the last whole checkpoint of a run."""
    found = checkpoints(run)
    if not found:
        raise SystemExit(f"{run} holds no whole checkpoint")
    with open(os.path.join(found[-1], "run.json"), encoding="utf-8") as f:
        settings = json.load(f)["settings"]
    prompts = Prompts(decoder)
    metadata = dcp.FileSystemReader(found[-1]).read_metadata().state_dict_metadata
    width = metadata["model.model.mm_projector.weight"].size[1]
    net = model.load(decoder, width, prompts)
    if settings["train"] == "lora":
        model.add_lora(net, settings["lora_rank"], settings["lora_alpha"])
    state = {"model": get_model_state_dict(net)}
    dcp.load(state, checkpoint_id=found[-1], no_dist=True)
    set_model_state_dict(net, state["model"])
    return net.eval(), prompts


def write(net: model.Llark, prompts: Prompts, decoder: str, to: str, dtype: str) -> None:
    os.makedirs(to, exist_ok=True)
    save_file({k: v.to(TYPES[dtype]).contiguous() for k, v in weights(net).items()}, os.path.join(to, "model.safetensors"), {"format": "pt"})
    named = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[dtype]
    config = net.shape.config | {"vocab_size": net.shape.vocab, "mm_hidden_size": net.width, "mm_use_audio_start_end": True, "torch_dtype": named}
    with open(os.path.join(to, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json"):
        if os.path.exists(os.path.join(decoder, name)):
            shutil.copy(os.path.join(decoder, name), to)
    with open(os.path.join(to, "added_tokens.json"), "w", encoding="utf-8") as f:
        json.dump({name: prompts.added[name] for name in ADDED}, f, indent=1)


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--run", required=True, help="the trainer's --out")
    p.add_argument("--decoder", required=True, help="the trainer's --decoder")
    p.add_argument("--to", required=True, help="folder to write")
    p.add_argument("--dtype", choices=TYPES, default="bf16")
    a = p.parse_args(argv)
    net, prompts = restore(a.run, a.decoder)
    write(net, prompts, a.decoder, a.to, a.dtype)
    print(f"wrote {a.to}: next, lark model import llama --hf {a.to} --encoder BUNDLE --out llark")
    return 0


if __name__ == "__main__":
    sys.exit(main())
