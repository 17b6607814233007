"""Train a LLark of one's own: python -m llark.train --shards DIR --decoder DIR --out DIR, or the same behind torchrun. docs/training.md has the recipe.

A run can be stopped at any time: the same command goes on from its last saved step, with the same order of examples. Equal seeds and sizes give equal runs;
the number of processes changes only the rounding of sums.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from . import data, model
from .tokens import STOP, Prompts

PRESETS = os.path.join(os.path.dirname(__file__), "configs")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--config", help="JSON file of these options, or the name of one in llark/configs; options on the command line go before it")
    p.add_argument("--shards", help="folder of lark dataset export --format webdataset")
    p.add_argument("--decoder", help="Hugging Face folder: config.json, safetensors, tokenizer.json")
    p.add_argument("--out", help="folder for checkpoints, metrics.jsonl and tensorboard")
    p.add_argument("--train", choices=["reference", "projector", "lora", "all"], default="reference", help="what is trained; reference is LLark's choice")
    p.add_argument("--lora-rank", type=int, default=16)
    p.add_argument("--lora-alpha", type=float, default=32)
    p.add_argument("--steps", type=int, default=100_000)
    p.add_argument("--batch", type=int, default=32, help="examples of a step, over all processes")
    p.add_argument("--micro", type=int, default=2, help="examples of a process at once")
    p.add_argument("--lr", type=float, default=5e-5)
    p.add_argument("--warmup", type=float, default=0.03, help="share of the steps")
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    p.add_argument("--most-tokens", type=int, default=2048)
    p.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    p.add_argument("--gradient-checkpointing", action="store_true")
    p.add_argument("--fraction", type=float, default=1.0, help="share of the clips")
    p.add_argument("--families", nargs="*", help="only these families")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints")
    p.add_argument("--keep", type=int, default=2, help="checkpoints that stay")
    p.add_argument("--validate-every", type=int, default=1000)
    p.add_argument("--validate-batches", type=int, default=20)
    p.add_argument("--samples", type=int, default=4, help="held-out questions that are answered at each validation")
    p.add_argument("--tensorboard", action="store_true")
    p.add_argument("--stop-at", type=int, help="save and end at this step, as if stopped; the schedule is that of --steps")
    first, _ = p.parse_known_args(argv)
    if first.config:
        path = first.config if os.path.exists(first.config) else os.path.join(PRESETS, first.config + ".json")
        with open(path, encoding="utf-8") as f:
            given = json.load(f)
        if unknown := set(given) - set(vars(first)):
            p.error(f"{path} has unknown options: {', '.join(sorted(unknown))}")
        p.set_defaults(**given)
    a = p.parse_args(argv)
    for name in ("shards", "decoder", "out"):
        if not getattr(a, name):
            p.error(f"--{name} is needed")
    return a


class Run:
    """One process of a training run."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a, self.rank, self.world = a, int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
        if self.world > 1:
            dist.init_process_group("nccl" if cuda else "gloo")
        if a.batch % (self.world * a.micro):
            raise SystemExit(f"--batch {a.batch} is no multiple of {self.world} processes times --micro {a.micro}")
        torch.manual_seed(a.seed)  # the projector, where the decoder's folder has none
        self.prompts = Prompts(a.decoder)
        self.shards = data.Shards(a.shards, "train", a.fraction, a.seed, a.families)
        self.held = data.Shards(a.shards, "validation", 1.0, a.seed, a.families)
        if not self.shards.pairs:
            raise SystemExit(f"{a.shards} has no training pairs that --fraction and --families leave")
        self.order = data.Order(len(self.shards.pairs), a.seed)
        self.model = self.build()
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=a.lr, weight_decay=a.weight_decay)
        self.step, self.board = 0, None
        os.makedirs(a.out, exist_ok=True)
        if a.tensorboard and self.rank == 0:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(os.path.join(a.out, "tensorboard"))

    def build(self) -> model.Llark:
        a = self.a
        net = model.load(a.decoder, self.shards.width, self.prompts)
        if a.train == "lora":
            model.add_lora(net, a.lora_rank, a.lora_alpha)
        model.freeze(net, a.train)
        net.gradient_checkpointing = a.gradient_checkpointing
        net.to(self.device).train()
        if self.world > 1:
            half = torch.bfloat16 if a.precision == "bf16" else None
            policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
            for block in net.model.layers:
                fully_shard(block, mp_policy=policy)
            fully_shard(net, mp_policy=policy)
        return net

    def autocast(self):
        if self.a.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (transformers' get_cosine_schedule_with_warmup)."""
        warm = math.ceil(self.a.steps * self.a.warmup)
        if step < warm:
            return self.a.lr * step / max(1, warm)
        return self.a.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.a.steps - warm)))

    def micro_batches(self, step: int) -> list[dict[str, torch.Tensor]]:
        """This process' part of a step. Example i of a step is the same whatever the number of processes."""
        a, first = self.a, step * self.a.batch
        mine = range(first + self.rank * a.batch // self.world, first + (self.rank + 1) * a.batch // self.world)
        chosen = [self.order.at(i) for i in mine]
        return [data.batch(self.prompts, self.shards, chosen[i : i + a.micro], a.most_tokens, self.device) for i in range(0, len(chosen), a.micro)]

    def total(self, value: torch.Tensor) -> torch.Tensor:
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def train_step(self) -> tuple[float, float]:
        """Loss, as the mean over all labelled tokens of the step, and the norm of the gradient."""
        batches = self.micro_batches(self.step)
        tokens = self.total(sum((b["labels"][:, 1:] != data.IGNORE).sum() for b in batches).float())
        loss = torch.zeros((), device=self.device)
        for i, b in enumerate(batches):
            if self.world > 1:
                self.model.set_requires_gradient_sync(i + 1 == len(batches))
            part = self.loss(b)[0] / tokens
            (part * self.world).backward()  # FSDP takes the mean over processes
            loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.a.clip)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return self.total(loss).item(), norm.item()

    def loss(self, b: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        with self.autocast():
            logits = self.model(b["ids"], b["audio"], b["frames"], b["counts"])
        return model.loss_sum(logits, b["labels"])

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean loss of held-out answers, audio first."""
        pairs = self.held.pairs
        if not pairs:
            return None
        self.model.eval()
        total, tokens, size = torch.zeros((), device=self.device), torch.zeros((), device=self.device), self.a.micro * self.world
        for k in range(min(self.a.validate_batches, math.ceil(len(pairs) / size))):
            # All processes take part in every batch; one that has run out takes the first pair and does not count it.
            mine = list(range(k * size + self.rank * self.a.micro, k * size + (self.rank + 1) * self.a.micro))
            chosen = [(i, True) for i in mine if i < len(pairs)]
            loss, n = self.loss(data.batch(self.prompts, self.held, chosen or [(0, True)], self.a.most_tokens, self.device))
            if chosen:
                total, tokens = total + loss, tokens + n
        self.model.train()
        return (self.total(total) / self.total(tokens)).item()

    @torch.no_grad()
    def samples(self) -> list[dict[str, str]]:
        """Greedy answers to held-out questions, as they are served."""
        out, pairs = [], self.held.pairs
        self.model.eval()
        for k in range(min(self.a.samples, len(pairs))):
            p = pairs[k * len(pairs) // self.a.samples]
            frames = self.held.frames(p).float()
            ids = self.prompts.prompt(p.question, frames.shape[0])
            audio = ids.index(self.prompts.added["<audio_start>"]) + 1
            # With several processes each token takes all of them: they stop at the same count, not at the answer's end.
            with self.autocast():
                got = self.model.answer(ids, audio, frames, 24, (lambda t: False) if self.world > 1 else lambda t: STOP in self.prompts.tokenizer.decode(t))
            out.append({"clip": p.clip, "question": p.question, "wanted": p.answer, "answer": self.prompts.decode(got)})
        self.model.train()
        return out

    def log(self, row: dict) -> None:
        if self.rank:
            return
        with open(os.path.join(self.a.out, "metrics.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
        if self.board:
            for name, value in row.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, row["step"])
            self.board.flush()

    def settings(self) -> dict:
        """What a checkpoint must agree on with the run that goes on from it."""
        ignored = {
            "config", "out", "shards", "decoder", "save_every", "keep", "validate_every", "validate_batches", "samples", "tensorboard", "stop_at", "micro",
        }  # fmt: skip
        return {k: v for k, v in vars(self.a).items() if k not in ignored} | {"pairs": len(self.shards.pairs), "encoder": self.shards.encoder}

    def save(self) -> None:
        """Writes step-N whole or not at all, and forgets the oldest."""
        name = os.path.join(self.a.out, f"step-{self.step:08d}")
        weights, moments = get_state_dict(self.model, self.optimizer)
        dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=name + ".part", no_dist=self.world == 1)
        if self.rank == 0:
            with open(os.path.join(name + ".part", "run.json"), "w", encoding="utf-8") as f:
                json.dump({"step": self.step, "settings": self.settings()}, f)
            shutil.rmtree(name, ignore_errors=True)
            os.rename(name + ".part", name)
            for old in checkpoints(self.a.out)[: -self.a.keep]:
                shutil.rmtree(old)
        if self.world > 1:
            dist.barrier()

    def resume(self) -> None:
        found = checkpoints(self.a.out)
        if not found:
            return
        with open(os.path.join(found[-1], "run.json"), encoding="utf-8") as f:
            run = json.load(f)
        differ = {k: (run["settings"].get(k), v) for k, v in self.settings().items() if run["settings"].get(k) != v}
        if differ:
            raise SystemExit(f"{found[-1]} was trained with other settings, {differ}: name another --out, or use the same ones")
        weights, moments = get_state_dict(self.model, self.optimizer)
        dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=found[-1], no_dist=self.world == 1)
        set_state_dict(self.model, self.optimizer, model_state_dict=weights, optim_state_dict=moments)
        self.step = run["step"]

    def run(self) -> None:
        self.resume()
        end = min(self.a.steps, self.a.stop_at or self.a.steps)
        begun = time.monotonic()
        while self.step < end:
            loss, norm = self.train_step()
            self.log({"step": self.step, "loss": loss, "gradient": norm, "lr": self.rate(self.step)})
            if self.step % self.a.validate_every == 0 or self.step == end:
                self.report(loss, begun)
            if self.step % self.a.save_every == 0 or self.step == end:
                self.save()
        if self.world > 1:
            dist.destroy_process_group()

    def report(self, loss: float, begun: float) -> None:
        held, answers = self.validate(), self.samples()
        self.log({"step": self.step, "validation": held, "samples": answers})
        if self.rank == 0:
            text = "" if held is None else f", held-out {held:.4f}"
            print(f"step {self.step} of {self.a.steps}: loss {loss:.4f}{text}, {time.monotonic() - begun:.0f} s", flush=True)


def checkpoints(out: str) -> list[str]:
    """Whole checkpoints, the oldest first."""
    if not os.path.isdir(out):
        return []
    return sorted(os.path.join(out, n) for n in os.listdir(out) if n.startswith("step-") and not n.endswith(".part"))


def main(argv: list[str] | None = None) -> int:
    Run(arguments(argv)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
