"""Numeric parity with the official CoDi modules, part by part, on any folder of fixtures.

    python tests/parity/check.py tests/parity/codi_v1 --seed 0

A folder holds `config.json`, for each part a key table `<part>.keys.tsv`, its constant buffers, and inputs and outputs
of the official modules at random weights (`<part>.io.safetensors`). Weights are drawn anew from the key table, each by
numpy's frozen legacy generator, seeded by the CRC of "seed:source", rounded to half precision.

An error is the largest absolute difference over the standard deviation of the reference.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from codi.backbones.codi_v1 import from_official
from codi.backbones.codi_v1.branch import Branch, branches
from codi.backbones.codi_v1.encoders import audio_token, log_mel, picture_token, text_token
from codi.backbones.codi_v1.scheduler import scheduler

MIX = {"text": 1.0, "image": 2.0, "audio": 0.5}
SCALE, STEPS = 7.5, 5
BOUND, DDIM_BOUND = 1e-4, 1e-3

Tensors = dict[str, torch.Tensor]
Errors = Iterator[tuple[str, float]]


@cache
def drawn(folder: Path, part: str, seed: int) -> Tensors:
    """A state dict under official names, float32; shared, not to be changed."""
    constants = folder / f"{part}.buffers.safetensors"
    state = load_file(constants) if constants.exists() else {}
    with (folder / f"{part}.keys.tsv").open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["std"]:
                generator = np.random.RandomState(zlib.crc32(f"{seed}:{row['source']}".encode()))
                noise = generator.standard_normal(ast.literal_eval(row["shape"]))
                value = np.asarray(float(row["mean"]) + float(row["std"]) * noise, np.float16)
                state[row["key"]] = torch.from_numpy(value.astype(np.float32))
    return state


def weights(folder: Path, part: str, seed: int) -> Tensors:
    """A copy of that state dict, which shares its tensors."""
    return dict(drawn(folder, part, seed))


def error(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference over the reference's standard deviation; infinite where the shapes differ."""
    if made.shape != wanted.shape:
        return float("inf")
    return float((made - wanted).abs().max() / wanted.std())


class Fixtures:
    """A folder of fixtures at one seed."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        self.config = json.loads((folder / "config.json").read_text())
        self.missing: dict[str, list[str]] = {}
        self.unused: dict[str, list[str]] = {}

    def io(self, part: str) -> Tensors:
        """Inputs and outputs."""
        return load_file(self.folder / f"{part}.io.safetensors")

    def build(self, part: str, one_token: bool = False):
        """The part with the drawn weights."""
        built = from_official(part, self.config, weights(self.folder, part, self.seed), one_token=one_token)
        self.missing[part], self.unused[part] = built.report.missing, built.report.unused
        return built

    def part(self, part: str) -> Errors:
        """The errors of a part, by what was compared."""
        with torch.no_grad():
            yield from CHECKS[part](self)


def predicted(branch: Branch, latent: torch.Tensor, time: torch.Tensor, context: torch.Tensor, joint: bool):
    """The noise as the release predicts it: with its own environment token among others."""
    return branch.predict(latent, time, context, branch.show(latent, time) if joint else None)


def contexts(io: Tensors) -> Tensors:
    """The conditionings of the UNets by name: one input, a weighted mean of several, several tokens."""
    mixed = sum(weight * io[f"cond.{name}"] for name, weight in MIX.items()) / sum(MIX.values())
    return {**{key.removeprefix("cond."): value for key, value in io.items() if key.startswith("cond.")}, "mix": mixed}


def check_unet(fixtures: Fixtures, one_token: bool = False) -> Errors:
    io, made = fixtures.io("unet"), branches(fixtures.build("unet", one_token).modules)
    for key in sorted(key for key in io if key.startswith("out.")):
        _, outputs, condition, name = key.split(".")
        context = contexts(io)[condition]
        if context.shape[1] > 1 and one_token:
            continue
        noise = predicted(made[name], io[f"x.{name}"], io["t"], context, "+" in outputs)
        yield f"{outputs} {condition} -> {name}", error(noise, io[key])


def check_dead(fixtures: Fixtures) -> Errors:
    """The same without the projections that a prompt of one token makes dead."""
    return check_unet(fixtures, one_token=True)


def check_ddim(fixtures: Fixtures) -> Errors:
    io, made, grid = fixtures.io("ddim"), branches(fixtures.build("unet").modules), scheduler()
    for key in ("betas", "alphas_cumprod"):
        yield key, error(getattr(grid, key), io[f"sched.{key}"])
    for key in sorted(key for key in io if key.startswith("ddim.") and key.endswith(".timesteps")):
        steps = int(key.split(".")[1])
        grid.set_timesteps(steps)
        times = grid.timesteps.flip(0)
        yield f"{steps} steps", 0.0 if torch.equal(times, io[key]) else float("inf")
        before = torch.cat([grid.final_alpha_cumprod[None], grid.alphas_cumprod[times][:-1]])
        yield f"alphas of {steps} steps", error(grid.alphas_cumprod[times], io[f"ddim.{steps}.alphas"])
        yield f"alphas before {steps} steps", error(before.double(), io[f"ddim.{steps}.alphas_prev"])
    for run in sorted({key[3:].rsplit(".", 1)[0] for key in io if key.startswith("xT.")}):
        for name, latent in sampled(run, io, made).items():
            yield f"{run} -> {name}", error(latent, io[f"z.{run}.{name}"])


def sampled(run: str, io: Tensors, made: dict[str, Branch]) -> Tensors:
    """The latents after STEPS steps of a run such as `video+audio.eta0.5`."""
    outputs, eta = run.split(".eta")
    names, grid = outputs.split("+"), scheduler()
    grid.set_timesteps(STEPS)
    latents = {name: io[f"xT.{run}.{name}"] for name in names}
    torch.manual_seed(0)
    for time in grid.timesteps:
        noise = {name: guided(made[name], latents[name], time, io["cond"], len(names) > 1) for name in names}
        latents = {
            name: grid.step(
                noise[name], time, latent, eta=float(eta), variance_noise=torch.randn_like(latent)
            ).prev_sample
            for name, latent in latents.items()
        }
    return latents


def guided(branch: Branch, latent: torch.Tensor, time: torch.Tensor, both: torch.Tensor, joint: bool) -> torch.Tensor:
    null, prompt = (predicted(branch, latent, time.repeat(len(latent)), half, joint) for half in both.chunk(2))
    return null + SCALE * (prompt - null)


def check_kl(fixtures: Fixtures) -> Errors:
    io, model = fixtures.io("kl"), fixtures.build("kl")["picture_autoencoder"]
    for prefix in ("", "video_"):
        pictures = io["video" if prefix else "x"]
        folded = pictures.transpose(1, 2).flatten(0, 1) if prefix else pictures

        def unfolded(made: torch.Tensor, like: torch.Tensor = pictures, clip: bool = bool(prefix)) -> torch.Tensor:
            return made.unflatten(0, (like.shape[0], -1)).transpose(1, 2) if clip else made

        moments = model.encode(folded).latent_dist.parameters
        yield f"{prefix}moments", error(unfolded(moments), io[f"{prefix}moments"])
        yield f"{prefix}rec", error(unfolded(model.decode(moments.chunk(2, 1)[0]).sample), io[f"{prefix}rec"])


def check_audioldm(fixtures: Fixtures) -> Errors:
    io, built = fixtures.io("audioldm"), fixtures.build("audioldm")
    model, vocoder = built["mel_autoencoder"], built["audio_vocoder"]
    yield "fbank", error(log_mel(io["wave"], io["fbank"].shape[2]), io["fbank"])
    yield "moments", error(model.encode(io["fbank"]).latent_dist.parameters, io["moments"])
    yield "mel", error(model.decode(io["z"]).sample, io["mel"])
    for key in (key for key in io if key.startswith("wav_in_scaled_mel_")):
        scaled = float(key.rsplit("_", 1)[1]) * io["mel"][:, 0]
        yield "waveform", error(vocoder(scaled)[:, None], io[key])


def check_clip(fixtures: Fixtures) -> Errors:
    io, built = fixtures.io("clip"), fixtures.build("clip")
    text, vision = built["clip_text"], built["clip_vision"]
    yield "text states", error(text(input_ids=io["ids"]).last_hidden_state, io["text_last"])
    yield "text", error(text_token(text, io["ids"]), io["text"])
    yield "image", error(picture_token(vision, io["image"]), io["image_out"])
    yield "video", error(built["clip_frames"](vision, io["video"]), io["video_out"])


def check_clap(fixtures: Fixtures) -> Errors:
    io, built = fixtures.io("clap"), fixtures.build("clap")
    yield "sound", error(audio_token(built["clap"], io["wave"][:, 0]), io["out"])
    yield "silence", error(audio_token(built["clap"], torch.zeros_like(io["wave"][:, 0])), io["silent_out"])


def check_optimus(fixtures: Fixtures) -> Errors:
    io, built = fixtures.io("optimus"), fixtures.build("optimus")
    encoder, decoder = built["optimus_encoder"], built["optimus_decoder"]
    mean, log_variance = encoder(io["bert_ids"])
    yield "pooled", error(encoder.pooled(io["bert_ids"]), io["pooled"])
    yield "mean", error(mean, io["mu"])
    yield "log variance", error(log_variance, io["logvar"])
    yield "logits", error(decoder(io["gpt_ids"], io["mu"]), io["logits"])


CHECKS: dict[str, Callable[[Fixtures], Errors]] = {
    "unet": check_unet,
    "unet, one token": check_dead,
    "ddim": check_ddim,
    "kl": check_kl,
    "audioldm": check_audioldm,
    "clip": check_clip,
    "clap": check_clap,
    "optimus": check_optimus,
}


def bound(part: str) -> float:
    return DDIM_BOUND if part == "ddim" else BOUND


def main(arguments: list[str]) -> int:
    """Check every part of a folder; 1 where one is beyond its bound, 2 where there are no fixtures."""
    parser = argparse.ArgumentParser(description="Numeric parity with the official CoDi modules.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if not (given.folder / "config.json").is_file():
        print(f"{given.folder}: holds no config.json; give a folder of fixtures", file=sys.stderr)  # noqa: T201
        return 2
    fixtures, failed = Fixtures(given.folder, given.seed), False
    for part in CHECKS:
        what, largest = max(fixtures.part(part), key=lambda pair: float("inf") if np.isnan(pair[1]) else pair[1])
        good = largest <= bound(part)
        failed = failed or not good
        verdict = "ok" if good else f"beyond {bound(part):g}"
        print(f"{part:16} largest relative error {largest:.2e} ({what}): {verdict}")  # noqa: T201
    for label, table in (("missing", fixtures.missing), ("unused", fixtures.unused)):
        for part, names in table.items():
            if names:
                failed = failed or label == "missing"
                print(f"{part}: {len(names)} {label} keys, {', '.join(names[:3])} ...")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
