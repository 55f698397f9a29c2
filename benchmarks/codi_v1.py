"""What codi-v1's exact savings save, on the full-width audio UNet with random weights, as Markdown on stdout.

    python benchmarks/codi_v1.py [--quick] [--rounds 3] [--device cpu]

A guided step is two passes, one with the null prompt and one with the prompt. Times are taken in turns, and a ratio is
the median over the rounds of the ratio within each round. Peak memory is that of a process of its own for each variant.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from measure import ratio, seconds, table
from torch import nn

from codi.backbones.codi_v1.branch import Branch, branch
from codi.backbones.codi_v1.layers import OneTokenAttention
from codi.backbones.codi_v1.modes import PARTNER
from codi.backbones.codi_v1.release import CONFIG
from codi.backbones.codi_v1.unet_parts import recipes

OURS, LIBRARY = "codi-v1", "diffusers' UNet2DConditionModel"
LATENT = (8, 256, 16)


@dataclass(frozen=True)
class Size:
    """What is measured: the UNet's configuration in the release's words, and the latent."""

    config: dict[str, Any]
    latent: tuple[int, ...]


FULL = Size({"context_dim": CONFIG["context_dim"], "unet_audio": CONFIG["unet_audio"]}, LATENT)
QUICK = Size(
    {"context_dim": 32, "unet_audio": {**CONFIG["unet_audio"], "model_channels": 64, "connector_output_channel": 64}},
    (8, 32, 8),
)


class Guided:
    """A guided step of one variant."""

    def __init__(self, size: Size, device: str, one_token: bool = True, joint: bool = False) -> None:
        torch.manual_seed(0)
        kept = ["audio_denoiser", *(["audio_environment", "audio_readers"] if joint else [])]
        parts = recipes(size.config, {}, one_token, PARTNER)
        self.modules: dict[str, nn.Module] = {name: filled(parts[name].build, device) for name in kept}
        self.joint, self.device = joint, device
        self.latent = torch.randn(1, *size.latent, device=device)
        self.time = torch.tensor([501.0], device=device)
        width = size.config["context_dim"]
        self.prompts = [torch.randn(1, 1, width, device=device) for _ in ("null", "prompt")]

    @torch.no_grad()
    def step(self) -> torch.Tensor:
        """The guided noise."""
        side: Branch = branch("audio", self.modules)
        tokens = side.show(self.latent, self.time) if self.joint else None
        null, prompt = (side.predict(self.latent, self.time, context, tokens) for context in self.prompts)
        return null + 7.5 * (prompt - null)


class Eager(Guided):
    """Attention without SDPA: the whole matrix of weights stands in memory."""

    def __init__(self, size: Size, device: str) -> None:
        super().__init__(size, device)
        self.modules["audio_denoiser"].base.set_attn_processor(AttnProcessor())  # type: ignore[union-attr, operator]


class Forgetful(Guided):
    """The prompt's cross-attention is computed anew in every step."""

    @torch.no_grad()
    def step(self) -> torch.Tensor:
        for module in self.modules["audio_denoiser"].modules():
            if isinstance(module, OneTokenAttention):
                module.forget()
        return super().step()


class Library(Guided):
    """The same base and weights through diffusers' own forward."""

    def __init__(self, size: Size, device: str) -> None:
        super().__init__(size, device, one_token=False)
        self.base: UNet2DConditionModel = self.modules["audio_denoiser"].base  # type: ignore[assignment]

    @torch.no_grad()
    def step(self) -> torch.Tensor:
        null, prompt = (self.base(self.latent, self.time, context).sample for context in self.prompts)
        return null + 7.5 * (prompt - null)


def filled(build: Callable[[], nn.Module], device: str) -> nn.Module:
    """A module whose weights are a function of their names, so that variants share them, and stand in memory once."""
    with init_empty_weights(include_buffers=False):
        module = build()
    module.to_empty(device=device)
    for name, parameter in module.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if parameter.ndim > 1:
            drawn = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
            parameter.data.copy_(drawn)
        else:
            parameter.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return module.eval().requires_grad_(False)


VARIANTS: dict[str, Callable[[Size, str], Guided]] = {
    OURS: Guided,
    "prompt attended anew in every step": Forgetful,
    "dead projections stored and multiplied": lambda size, device: Guided(size, device, one_token=False),
    "attention without SDPA": Eager,
    "environment encoder and readers on": lambda size, device: Guided(size, device, joint=True),
    LIBRARY: Library,
}


def peak(name: str, size: Size, device: str, results: Any) -> None:
    """Bytes that one variant takes at most, in a process of its own."""
    guided = VARIANTS[name](size, device)
    guided.step()
    if device.startswith("cuda"):
        results.put(torch.cuda.max_memory_allocated())
    else:
        results.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def peaks(size: Size, device: str) -> dict[str, int]:
    context = multiprocessing.get_context("spawn")
    found: dict[str, int] = {}
    for name in VARIANTS:
        results = context.Queue()
        child = context.Process(target=peak, args=(name, size, device, results))
        child.start()
        found[name] = results.get()
        child.join()
    return found


def timings(size: Size, device: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, tuple[int, float]]]:
    """By variant, in one process: seconds of a guided step by round; parameters and the difference from OURS."""
    seen: dict[str, tuple[int, float]] = {}
    kept: dict[str, list[float]] = {name: [] for name in VARIANTS}
    made = {name: build(size, device) for name, build in VARIANTS.items()}
    wanted = made[OURS].step()
    for name, guided in made.items():
        parameters = sum(p.numel() for module in guided.modules.values() for p in module.parameters())
        difference = (guided.step() - wanted).abs().max() / wanted.std()
        seen[name] = (parameters, float(difference))
    for _ in range(rounds):
        for name, guided in made.items():
            kept[name].append(seconds(guided.step))
    return kept, seen


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What codi-v1's exact savings save.")
    parser.add_argument("--quick", action="store_true", help="a narrow UNet and one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    size, rounds = (QUICK, 1) if given.quick else (FULL, given.rounds)
    memory = peaks(size, given.device)
    times, seen = timings(size, given.device, rounds)
    rows = [
        [
            name,
            f"{seen[name][0] / 1e6:.1f}",
            f"{median(times[name]):.3g}",
            ratio(times[name], times[OURS]),
            f"{memory[name] / 2**20:.0f}",
            "its own noise" if "readers" in name else f"{seen[name][1]:.1e}",
        ]
        for name in VARIANTS
    ]
    heads = ["", "parameters, M", "seconds", "of codi-v1's", "peak MiB", "largest difference"]
    shape = " x ".join(map(str, size.latent))
    note = f"Latent {shape}, float32, {given.device}, {torch.get_num_threads()} threads, {rounds} rounds."
    table("A guided step of the audio UNet", note, heads, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
